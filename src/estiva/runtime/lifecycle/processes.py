"""Signals to the processes of a container, whether or not init is left: the `kill` operation."""

from __future__ import annotations

import _signal
import os

from estiva.runtime.lifecycle import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.lifecycle.containers import Container


def own_pids(made: Container) -> bool:
    """Whether it has a pid namespace of its own, whose processes all end with init."""
    spaces = (made.config().get("linux") or {}).get("namespaces") or ()
    return any(entry.get("type") == "pid" and not entry.get("path") for entry in spaces)


def kill(made: Container) -> None:
    """SIGKILL, which ends all of its processes: also those that have no pid namespace of their own, and so
    outlive init. Raises Conflict when none is left."""
    group = made.cgroup
    if group is None or own_pids(made):
        made.signal(_signal.SIGKILL)
        if group is not None and group.frozen():
            group.thaw()  # a frozen process of cgroup v1 does not die
        return
    if not made.alive and not group.occupied():
        raise containers.not_running(made.id)
    group.kill()


def signal_all(made: Container, number: int) -> None:
    """To every process of its cgroup, also when init is gone (it had no pid namespace of its own)."""
    group = made.cgroup
    if group is None:
        made.signal(number)
    elif number == _signal.SIGKILL:
        group.kill()
    else:
        for pid in group.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
