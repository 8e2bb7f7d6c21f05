"""The build cache: what a step's inputs amount to -> the layer that it made; a finished config -> its image.

A layer's key covers everything that may change the result: the layers below, the expanded command,
environment and ARG values, and the content of what is copied or mounted. Times, proxy settings and secrets
are in no key (K14). A metadata instruction costs nothing, so it has no entry: it is applied anew, and the
finished config is looked up without the times that this build gave it, so that an unchanged build ends in
the very image it made before.

Entries are rows of build_cache that point to images; a layer's is a hidden one.
"""

from __future__ import annotations

import time

from estiva import fastjson
from estiva.builder.struct import struct
from estiva.oci import digest as digests
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from estiva.store import Store
    from estiva.store.images import Image

VERSION = 3  # of the keys: a change of what they cover, or of what steps make of it, starts afresh


def key(kind: str, inputs: dict[str, Any]) -> str:
    """The key of a step: its kind and everything that it depends on, as JSON of sorted keys."""
    text = fastjson.text([VERSION, inputs], sort_keys=True, ascii=True)
    return f"{kind}:{digests.sha256(text.encode('ascii')).removeprefix('sha256:')}"


@struct
class Found:
    """A layer in the cache: when it was made (RFC 3339), by which key and hidden image it is kept."""

    diff_id: str
    created: str
    key: str
    image: str


class Cache:
    """The cache of one store. With `off`, nothing is found, but results are still kept for the next build.

    `used` is for who looks up much: it gets when what was found, to be written down at once by `touch`.
    """

    def __init__(self, store: Store, *, off: bool = False, used: dict[str, float] | None = None) -> None:
        self.store = store
        self.off = off
        self.used = used

    def layer(self, keys: Iterable[str]) -> Found | None:
        """The layer kept under one of `keys`."""
        for name in [] if self.off else keys:
            image = self._find(name)
            if image is not None and image.diff_ids and self.store.layers.has(image.diff_ids[-1]):
                created = str(image.config.get("created") or "")
                return Found(image.diff_ids[-1], created, name, image.id)
        return None

    def defines(self) -> bool:
        """Whether there may be results of stages that are not here themselves (solver/definition.py)."""
        return bool(
            self.store.db.read("SELECT 1 FROM build_cache WHERE key > 'defined-' AND key < 'defined.'")
        )

    def keys_with(self, key: str) -> tuple[str, ...]:
        """All keys of the step that is kept under one: a copy has one of its sources' layers, too."""
        rows = self.store.db.read(
            "SELECT key FROM build_cache WHERE image = (SELECT image FROM build_cache WHERE key = ?)", (key,)
        )
        return tuple(found for (found,) in rows)

    def keep_layer(
        self, keys: list[str], diff_id: str, created: str, created_by: str, platform: dict[str, str]
    ) -> str:
        """Remember a layer under each of `keys`; the id of the hidden image that they point to."""
        config = {
            **platform,
            "created": created,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "created_by": created_by}],
        }
        image = self.store.images.add(encode(config), hidden=True)
        for name in keys:
            self._keep(name, image.id)
        return image.id

    def image(self, config: dict[str, Any], inherited: int, *, hidden: bool = False) -> Image:
        """The image of a finished config: the one that an equal build made, or a new one.

        The first `inherited` entries of the history are the base image's; only later times are left out.
        """
        history = config["history"]
        made = [_timeless(entry) for entry in history[inherited:]]
        timeless = {**_timeless(config), "history": [*history[:inherited], *made]}
        name = key("image", timeless)
        known = None if self.off else self._find(name)
        if known is not None and all(self.store.layers.has(diff_id) for diff_id in known.diff_ids):
            # listed again, should it have been removed
            return self.store.images.add(known.config_bytes, hidden=hidden)
        image = self.store.images.add(encode(config), hidden=hidden)
        self._keep(name, image.id)
        return image

    def _find(self, name: str) -> Image | None:
        rows = self.store.db.read("SELECT image FROM build_cache WHERE key = ?", (name,))
        if not rows:
            return None
        if self.used is None:
            touch(self.store, {name: time.time()})
        else:
            self.used[name] = time.time()
        return self.store.images.find(rows[0][0])

    def _keep(self, name: str, image_id: str) -> None:
        now = time.time()
        with self.store.db.write() as transaction:
            transaction.execute(
                "INSERT OR REPLACE INTO build_cache (key, image, created, used) VALUES (?, ?, ?, ?)",
                (name, image_id, now, now),
            )


def touch(store: Store, used: dict[str, float]) -> None:
    """Write down when entries were used, by their keys: those that were not for long go first."""
    if not used:
        return
    with store.db.write() as transaction:
        for name, when in used.items():
            transaction.execute("UPDATE build_cache SET used = ? WHERE key = ?", (when, name))


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "created"}


def encode(config: dict[str, Any]) -> bytes:
    """A config as the bytes that its digest covers."""
    return fastjson.text(config).encode("utf-8", "replace")


def timestamp(epoch: int | None) -> str:
    """Now, or SOURCE_DATE_EPOCH, as RFC 3339 text."""
    return rfc3339(None if epoch is None else epoch * 1_000_000_000, short=True)
