"""SOURCE_DATE_EPOCH: an image in which nothing that the build made is later than that.

What its base brought stays as it came, layers and history, as in BuildKit (docs/build-repro.md).
"""

from __future__ import annotations

from estiva.builder.cache.local import encode, key, timestamp
from estiva.timestamps import seconds_of_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from estiva.builder.cache.local import Cache
    from estiva.store.images import Image


def base_of(image: Image, among: Iterable[Image]) -> Image | None:
    """The image whose layers and history another one begins with, if it is among these."""
    history = image.config.get("history") or []
    fitting = [
        base
        for base in among
        if base.diff_ids == image.diff_ids[: len(base.diff_ids)]
        and (base.config.get("history") or []) == history[: len(base.config.get("history") or [])]
    ]
    return max(fitting, key=lambda base: len(base.config.get("history") or []), default=None)


def clamp(cache: Cache, image: Image, base: Image | None, epoch: int) -> Image:
    """The image whose own layers, history and time are `epoch` (seconds) at most; itself if it is so."""
    import copy

    config: dict[str, Any] = copy.deepcopy(image.config)
    own = len(base.diff_ids) if base is not None else 0
    diff_ids = config["rootfs"]["diff_ids"]
    diff_ids[own:] = [_layer(cache, diff_id, epoch) for diff_id in diff_ids[own:]]
    inherited = len(base.config.get("history") or []) if base is not None else 0
    for step in (config.get("history") or [])[inherited:]:
        _cap(step, epoch)
    if base is None or config.get("created") != base.config.get("created"):
        _cap(config, epoch)
    if config == image.config:
        return image
    return cache.store.images.add(encode(config), hidden=True)


def _layer(cache: Cache, diff_id: str, epoch: int) -> str:
    name = key("clamp", {"layer": diff_id, "epoch": epoch})
    known = cache.layer([name])
    if known is not None:
        return known.diff_id
    from estiva.store.layers.clamp import clamp as clamp_layer

    made = clamp_layer(cache.store.layers, diff_id, epoch)
    cache.keep_layer([name], made, timestamp(epoch), "SOURCE_DATE_EPOCH", {})
    return made


def _cap(document: dict[str, Any], epoch: int) -> None:
    if seconds_of_document(document.get("created")) > epoch:
        document["created"] = timestamp(epoch)
