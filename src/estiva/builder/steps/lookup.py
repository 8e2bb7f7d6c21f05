"""What steps have made before: here, or in a cache elsewhere, whose layer comes while the build goes on."""

from __future__ import annotations

from estiva.builder.cache.inputs import Inputs
from estiva.builder.cache.remote import Record
from estiva.builder.steps.written import Fetched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from estiva.builder.cache.local import Cache
    from estiva.builder.cache.remote import Remote
    from estiva.builder.steps.written import Layer


class Lookup:
    """That of one stage."""

    def __init__(self, cache: Cache, remote: Remote | None) -> None:
        self.cache = cache
        self.inputs = Inputs(cache.store.paths)
        self.remote = remote

    def find(
        self, keys: Iterable[str], place: str, by: str, platform: dict[str, str]
    ) -> tuple[Layer, str] | None:
        """The layer that is kept under one of `keys`, and when it was made. `place`: see cache/inputs.py."""
        if self.remote is None:
            found = self.cache.layer(keys)
            if found is None:
                return None
            self.inputs.found(place, found.image)
            return found.diff_id, found.created
        if self.cache.off:
            return None
        asked: list[str] = []
        for name in keys:  # to make the next may take a stage to be built
            asked.append(name)
            found = self.cache.layer([name])
            if found is not None:
                self.inputs.found(place, found.image)
                names = tuple(dict.fromkeys((*self.cache.keys_with(found.key), *asked)))
                self.remote.note(Record(names, found.diff_id, found.created, by))
                return found.diff_id, found.created
            record = self.remote.find([name])
            if record is not None:
                return self._elsewhere(self.remote, record, by, platform, asked)
        return None

    def _elsewhere(
        self, remote: Remote, record: Record, by: str, platform: dict[str, str], asked: list[str]
    ) -> tuple[Layer, str]:
        """What a cache elsewhere has for one of the keys `asked`."""
        record = Record(record.keys, record.diff_id, record.created, by)
        if self.cache.store.layers.has(record.diff_id):
            self.keep(record, platform, asked)
            return record.diff_id, record.created
        coming = remote.fetch(record)
        return Fetched(record.diff_id, coming, lambda: self.keep(record, platform, asked)), record.created

    def keep(self, record: Record, platform: dict[str, str], asked: Container[str] | None = None) -> str:
        """Remember a layer that is here, if it has any keys: by which hidden image.

        `asked`: of a record from elsewhere, the keys that it was found by. It is believed for those alone: by
        any others it would be what builds get that never named its cache, for steps that it was not asked of.
        """
        if not record.keys:
            return ""
        if self.remote is not None:
            self.remote.note(record)
        keys = [key for key in record.keys if asked is None or key in asked]
        return self.cache.keep_layer(keys, record.diff_id, record.created, record.by, platform)
