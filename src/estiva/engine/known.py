"""The names that there are, for who completes a command line: quick, and without a trace on the disk."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine


def names(engine: Engine, kind: str) -> list[str]:
    """Names of a kind: container, running, stopped (as their rows say), image, volume, network, list (of
    images), capability. None without a database. Raises EstivaError and OSError where it can't be read."""
    if kind == "capability":
        from estiva.runtime.security.capabilities import ALL_CAPABILITIES

        return sorted(name.removeprefix("CAP_") for name in ALL_CAPABILITIES)
    if not os.path.exists(engine.paths.database):
        return []
    if kind == "image":
        return engine.store.images.all_names()
    if kind == "volume":
        return [volume.name for volume in engine.store.volumes.list() if not volume.anonymous]
    if kind == "network":
        from estiva.network import networks

        return [network.name for network in networks.every(engine.db)]
    if kind == "list":
        from estiva.engine.images import manifest_lists

        return manifest_lists.names(engine)
    from estiva.store import containers

    rows = containers.names(engine.db)
    if kind == "container":
        return [name for name, _ in rows]
    return [name for name, status in rows if (status == "running") == (kind == "running")]
