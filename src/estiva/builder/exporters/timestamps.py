"""SOURCE_DATE_EPOCH: an image in which nothing that the build made is later than that.

What its base brought stays as it came, layers and history, as in BuildKit (docs/build-repro.md).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from estiva.builder.cache.local import encode, timestamp
from estiva.store.layers.clamp import clamp as clamp_layer
from estiva.timestamps import seconds_of_document

if TYPE_CHECKING:
    from estiva.store import Store
    from estiva.store.images import Image


def clamp(store: Store, image: Image, base: Image | None, epoch: int) -> Image:
    """The image whose own layers, history and time are `epoch` (seconds) at most; itself if it is so."""
    config: dict[str, Any] = copy.deepcopy(image.config)
    own = len(base.diff_ids) if base is not None else 0
    diff_ids = config["rootfs"]["diff_ids"]
    diff_ids[own:] = [clamp_layer(store.layers, diff_id, epoch) for diff_id in diff_ids[own:]]
    inherited = len(base.config.get("history") or []) if base is not None else 0
    for step in (config.get("history") or [])[inherited:]:
        _cap(step, epoch)
    if base is None or config.get("created") != base.config.get("created"):
        _cap(config, epoch)
    if config == image.config:
        return image
    return store.images.add(encode(config), hidden=True)


def _cap(document: dict[str, Any], epoch: int) -> None:
    if seconds_of_document(document.get("created")) > epoch:
        document["created"] = timestamp(epoch)
