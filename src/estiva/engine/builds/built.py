"""What a build has made for one platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiva.builder.exporters import timestamps
from estiva.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.store import Store
    from estiva.store.images import Image


class Built:
    """One platform's image, its times capped at `epoch` (seconds), and the images that it was built from."""

    def __init__(self, store: Store, image: Image, bases: Sequence[Image], epoch: int | None) -> None:
        self.platform = Platform.of(image.config)
        self.bases = bases
        self.epoch = epoch
        self.base = _base(image, bases)
        self.image = image if epoch is None else timestamps.clamp(store, image, self.base, epoch)


def _base(image: Image, bases: Sequence[Image]) -> Image | None:
    """The one whose layers and history the image begins with, if any."""
    history = image.config.get("history") or []
    fitting = [
        base
        for base in bases
        if base.diff_ids == image.diff_ids[: len(base.diff_ids)]
        and (base.config.get("history") or []) == history[: len(base.config.get("history") or [])]
    ]
    return max(fitting, key=lambda base: len(base.config.get("history") or []), default=None)
