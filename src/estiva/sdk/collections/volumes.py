"""Volumes of an engine."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from estiva.engine import volumes
from estiva.sdk import values
from estiva.sdk.objects.contents import written
from estiva.sdk.objects.shown import Pruned
from estiva.sdk.told import told

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from estiva.engine import Engine


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume; `path` is where its files are on the host, `created` RFC 3339."""

    name: str
    labels: Mapping[str, str]
    options: Mapping[str, str]
    path: str
    created: str
    engine: Engine = field(repr=False, compare=False)

    @told
    def remove(self, *, force: bool = False) -> None:
        """Remove it with its files. Raises Conflict while a container has it; NotFound unless `force`."""
        volumes.remove(self.engine, self.name, force=values.flag("force", force))

    @told
    def export(self, target: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write what it holds, as a tar, to a file."""
        with written(target) as out:
            volumes.export(self.engine, self.name, out)

    @told
    def load(self, data: bytes | IO[bytes]) -> None:
        """Unpack a tar, plain or compressed, into it."""
        stream = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
        if not callable(getattr(stream, "read", None)):
            raise values.wrong("data", "bytes or a file", data)
        volumes.load(self.engine, self.name, stream)


class Volumes:
    """Volumes of an engine: `estiva.Engine().volumes`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @told
    def create(
        self,
        name: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or take the one of that name that is there.

        data = engine.volumes.create("data", labels={"of": "job"})
        """
        made = volumes.create(
            self.engine,
            values.text("name", name) or None,
            values.table("labels", labels),
            driver=values.text("driver", driver, "local"),
            options=values.table("options", options),
        )
        return self.get(made)

    @told
    def get(self, name: str) -> Volume:
        """Raises NotFound."""
        return self._volume(volumes.inspect(self.engine, values.name("volume", name)))

    @told
    def list(self, *, filters: Mapping[str, Any] | None = None) -> builtins.list[Volume]:
        """All volumes, by name. Filters are Docker's: name, label, dangling, driver."""
        return [self._volume(one) for one in volumes.listing(self.engine, values.filters(filters))]

    @told
    def prune(self, *, all: bool = False, filters: Mapping[str, Any] | None = None) -> Pruned:
        """Remove volumes without a name (`all`: with one, too) that no container has: which."""
        removed, freed = volumes.prune(
            self.engine, all=values.flag("all", all), filters=values.filters(filters)
        )
        return Pruned(tuple(removed), freed)

    def _volume(self, one: dict[str, Any]) -> Volume:
        return Volume(
            one["Name"],
            one["Labels"] or {},
            one["Options"] or {},
            one["Mountpoint"],
            one["CreatedAt"],
            self.engine,
        )
