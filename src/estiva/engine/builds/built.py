"""What a build has made for one platform."""

from __future__ import annotations

import time

from estiva.builder.exporters import timestamps
from estiva.builder.solver.job import epoch as epoch_of
from estiva.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.builder.cache.local import Cache
    from estiva.builder.request import Request
    from estiva.store.images import Image


class Built:
    """One platform's image, the images that it was built from, and SOURCE_DATE_EPOCH (seconds), if there is
    one: it caps the image's times."""

    def __init__(
        self, cache: Cache, image: Image, request: Request, found: Sequence[tuple[str, Image]], started: int
    ) -> None:
        """`found`: names of base images with the images; `started`: in nanoseconds since 1970."""
        bases = [base for _, base in found]
        epoch = epoch_of(request)
        self.request = request
        self.found = found
        self.started, self.finished = started, time.time_ns()
        self.platform = Platform.of(image.config)
        self.epoch = epoch
        self.base = timestamps.base_of(image, bases)
        self.image = image if epoch is None else timestamps.clamp(cache, image, self.base, epoch)
