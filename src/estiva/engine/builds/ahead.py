"""What a build begins before it needs it: the process that will be a command's monitor, or fork that, and the
modules that are needed after a command, while that runs.
"""

from __future__ import annotations

from estiva.engine.launch import prefork
from estiva.engine.monitor.protocol import single_threaded
from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine

_done = False  # whether `modules` were imported


def monitor(engine: Engine, *, bridge: bool) -> None:
    """Soon a command's container is to be launched, in one of the ways that engine/launch/launch.py has.

    `bridge`: a guess whether it will be on one. Whatever fails here is told by the launch.
    """
    if engine.direct and single_threaded():
        from estiva.engine.state import teardown

        engine.close_database()
        teardown.close_databases()
        prefork.fork(bridge=bridge)
    else:
        spawner()


def spawner() -> None:
    """Soon one is to be launched by a process with several threads."""
    from estiva.builder import threads

    try:
        threads.start(_spawner, "estiva-ahead")
    except RuntimeError:  # there can be no more threads
        pass


def _spawner() -> None:
    from estiva.engine.launch import spawner

    try:
        spawner.ready()
    except (OSError, EngineError):
        pass


def modules() -> None:
    """Import what is needed once a command has ended. For a moment in which there is nothing to do."""
    global _done
    if _done:
        return
    _done = True
    import hashlib  # noqa: F401
    import json  # noqa: F401

    from estiva.builder.files import direct  # noqa: F401
    from estiva.engine.images import events  # noqa: F401
    from estiva.oci import image  # noqa: F401
    from estiva.store.layers import pack, sink  # noqa: F401
