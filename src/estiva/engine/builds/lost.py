"""What a killed build may have left of its steps."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine


def end_lost(engine: Engine) -> None:
    """End what is left of steps that were killed with their monitors: cgroups, addresses, run folders.

    A killed build alone leaves none: its monitors see to that.
    """
    paths = engine.paths
    try:
        there = os.listdir(paths.run_containers)
    except FileNotFoundError:
        return
    if not there:
        return
    from estiva.engine.state import locks
    from estiva.engine.state.life import reconcile
    from estiva.store import containers

    for name in there:
        if len(name) == 64 and not locks.held(paths, name) and not containers.status(engine.db, name):
            reconcile.reconcile(paths, engine.db, name)
