"""A build cache that travels: a field in the config of an image whose layers are the steps'.

    "io.estiva.buildcache.v1": {"version": 3, "records": [
        {"keys": ["run:...", ...], "layer": its place in diff_ids, "created": "...", "by": "RUN ..."}]}

A cache of its own (`--cache-to type=registry` or `local`) is an image that nobody runs; `inline` is the same
field in the config of the image that was built. Keys are made of diff_ids and contents (cache/local.py), so
they mean the same on every machine. Whoever names a cache trusts it: its layers are taken for the result of
the steps that it says, but only of those that were looked up. Of a record's other keys nothing is kept on
this machine, or builds that never named the cache would get what it says. A layer is fetched when a step
wants it.
"""

from __future__ import annotations

from estiva.builder.cache.local import VERSION, encode
from estiva.builder.struct import struct
from estiva.errors import InvalidInput
from estiva.oci import config as configs
from estiva.timestamps import seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from estiva.oci.platform import Platform

FIELD = "io.estiva.buildcache.v1"
MOST = 20_000  # keys of one cache
_TIME = frozenset("0123456789-:.+TZ")  # the characters of a time


@struct
class Record:
    """A step's layer, and the keys that it is kept under. `by` is its line of history."""

    keys: tuple[str, ...]
    diff_id: str
    created: str
    by: str


if TYPE_CHECKING:

    class Coming(Protocol):
        """What is on its way: a concurrent.futures.Future, or a Promise of builder/once.py."""

        def result(self) -> None:
            """Wait for it. Raises what kept it from coming."""

    class Remote(Protocol):
        """Caches elsewhere, as a build uses them. `whole`: one is to be written that has every stage."""

        @property
        def whole(self) -> bool: ...

        def config(self, image: str, platform: Platform) -> dict[str, Any] | None:
            """The config of an image that is not here, None if it can't be had. Its layers stay elsewhere."""

        def find(self, keys: Sequence[str]) -> Record | None:
            """What is kept under one of the keys."""

        def fetch(self, record: Record) -> Coming:
            """Have its layer brought here."""

        def note(self, record: Record) -> None:
            """What the build has used or made, for a cache that is to be written."""

        def inline(self, diff_ids: Sequence[str]) -> dict[str, Any] | None:
            """FIELD of the image itself, if it is to have it."""


def field(records: Sequence[Record], diff_ids: Sequence[str]) -> dict[str, Any]:
    """The field of a config that has these layers, of the records whose layer is one of them."""
    places = {diff_id: place for place, diff_id in enumerate(diff_ids)}
    listed = [
        {"keys": list(each.keys), "layer": places[each.diff_id], "created": each.created, "by": each.by}
        for each in records
        if each.diff_id in places
    ]
    return {"version": VERSION, "records": listed}


def document(records: Sequence[Record], platform: dict[str, str]) -> bytes:
    """The config of an image that is a cache of the records, in their order."""
    config = configs.new(platform["architecture"], platform["os"], platform.get("variant", ""))
    config["rootfs"]["diff_ids"] = list(dict.fromkeys(each.diff_id for each in records))
    config[FIELD] = field(records, config["rootfs"]["diff_ids"])
    return encode(config)


def read(config: dict[str, Any]) -> list[Record]:
    """The records in a config; none where there is no cache, or one of another version.

    Raises InvalidInput.
    """
    found = config.get(FIELD)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return []
    diff_ids = config["rootfs"]["diff_ids"]
    records, count = [], 0
    try:
        for each in found["records"]:
            keys, place = tuple(each["keys"]), each["layer"]
            count += len(keys)
            if count > MOST:
                raise InvalidInput(f"the cache has more than {MOST} keys")
            if not isinstance(place, int) or not 0 <= place < len(diff_ids):
                raise ValueError(place)
            texts = (*keys, each["created"], each["by"])
            if not all(isinstance(text, str) and len(text) <= 1 << 16 for text in texts):
                raise ValueError(texts)
            if seconds(each["created"]) < 0 or not _TIME.issuperset(each["created"]):
                raise ValueError(each["created"])  # it becomes the image's, which people look at
            records.append(Record(keys, diff_ids[place], each["created"], each["by"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the cache is damaged", hint="write it again with --cache-to") from error
    return records
