"""What a container's mounts name: other containers (--volumes-from), images (type=image)."""

from __future__ import annotations

from estiva.engine.state import lookup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import MountPoint


class Others:
    """points.py's Known."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def mounts_of(self, container: str) -> list[MountPoint]:
        """What a container has mounted, whether it runs or not. Raises NotFound."""
        return lookup.resolve(self.engine, container)["Mounts"]

    def image_id(self, reference: str) -> str:
        """Raises NotFound."""
        return self.engine.store.images.resolve(reference).id
