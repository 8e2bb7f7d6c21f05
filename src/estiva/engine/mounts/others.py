"""What a container's mounts name: other containers (--volumes-from), images (type=image)."""

from __future__ import annotations

from estiva.engine.state import lookup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine import Engine
    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.types import MountPoint


class Others:
    """points.py's Known."""

    def __init__(self, engine: Engine, host_config: HostConfig, find: Callable[[str], str]) -> None:
        """Finds the images by `find`, which may pull them and gives their ids. Raises what it raises."""
        self.engine = engine
        self.images = {
            mount["Source"]: find(mount["Source"])
            for mount in host_config.get("Mounts") or ()
            if mount.get("Type") == "image" and mount.get("Source")
        }

    def mounts_of(self, container: str) -> list[MountPoint]:
        """What a container has mounted, whether it runs or not. Raises NotFound."""
        return lookup.resolve(self.engine, container)["Mounts"]

    def image_id(self, reference: str) -> str:
        """Of an image that `HostConfig.Mounts` names."""
        return self.images[reference]
