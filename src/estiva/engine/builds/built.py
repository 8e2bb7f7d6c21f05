"""What a build has made for one platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiva.builder.exporters import timestamps
from estiva.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.store.images import Image


class Built:
    """One platform's image, the images that it was built from, and SOURCE_DATE_EPOCH (seconds)."""

    def __init__(self, image: Image, bases: Sequence[Image], epoch: int | None) -> None:
        self.image = image
        self.platform = Platform.of(image.config)
        self.bases = bases
        self.epoch = epoch
        self.base = timestamps.base_of(image, bases)
