"""What a build has made for one platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiva.builder.exporters import timestamps
from estiva.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.builder.cache.local import Cache
    from estiva.store.images import Image


class Built:
    """One platform's image, the images that it was built from, and SOURCE_DATE_EPOCH (seconds), if there is
    one: it caps the image's times."""

    def __init__(self, cache: Cache, image: Image, bases: Sequence[Image], epoch: int | None) -> None:
        self.platform = Platform.of(image.config)
        self.bases = bases
        self.epoch = epoch
        self.base = timestamps.base_of(image, bases)
        self.image = image if epoch is None else timestamps.clamp(cache, image, self.base, epoch)
