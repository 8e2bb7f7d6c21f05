"""A run that has ended, which its monitor tells nobody: somebody has stopped it (SIGSTOP, a tracer).

It holds the container's lock and has settled nothing yet. Looks at such a container say what is so; `stop`,
`kill` and `rm` let the monitor go on.
"""

from __future__ import annotations

import os
from _signal import SIGCONT

from estiva.engine.state import locks, runstate
from estiva.errors import Conflict
from estiva.linux import procinfo
from estiva.runtime import state
from estiva.timestamps import ZERO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import RunState, State
    from estiva.paths import Paths

KILLED = 137


def monitor(live: RunState) -> int:
    """The pid of the monitor, if it is stopped and the run is over; 0 else."""
    return 0 if state.alive(live["pid"], live["start_time"]) else runstate.stopped_monitor(live)


def outcome(where: Paths, live: RunState, pid: int) -> State:
    """What a State says of a run whose monitor `pid` is stopped. Nobody knows when it has ended."""
    left = locks.left(where, live["id"])
    code = left[0] if left is not None else procinfo.exit_code(live["pid"], live["start_time"])
    return {
        "ExitCode": KILLED if code is None else code,
        "Error": f"its monitor, process {pid}, is stopped",
        "StartedAt": live["started"],
        "FinishedAt": ZERO,
    }


def refuse(where: Paths, container_id: str, name: str) -> None:
    """For who needs the container to run, or needs its lock. Raises Conflict."""
    live = runstate.read(where, container_id)
    if live is not None and (pid := monitor(live)):
        raise Conflict(
            f"container {name} has ended, but its monitor, process {pid}, is stopped",
            hint=f"`kill -CONT {pid}` or `estiva stop {name}` lets it go on",
        )


def wake(live: RunState) -> None:
    """Let a stopped monitor go on, to settle what there is; one that is traced stays as it is."""
    pidfd = runstate.opened(live["monitor"], live.get("monitor_start", 0))
    if pidfd < 0:
        return
    try:
        procinfo.pidfd_send_signal(pidfd, SIGCONT)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
