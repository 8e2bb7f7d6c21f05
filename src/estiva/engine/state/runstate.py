"""state.json of a container's run folder, by its type: runtime/state.py, which knows no engine, keeps it."""

from __future__ import annotations

import os
from _signal import SIGKILL

from estiva.errors import StateError
from estiva.linux import procinfo
from estiva.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import RunState
    from estiva.paths import Paths


DAMAGED = "`estiva rm -f` ends and removes the container"


def read(where: Paths, container_id: str) -> RunState | None:
    """None when it does not run, or is being started. Raises StateError when it can't be understood."""
    return read_in(where.run_container(container_id))


def read_in(run: str) -> RunState | None:
    """The same by the path of the run folder."""
    try:
        found: Any = state.read(run)
    except StateError as error:
        error.hint = error.hint or DAMAGED
        raise
    if found is not None:
        for key in ("pid", "start_time", "monitor"):
            if type(found.get(key)) is not int:
                raise StateError(f"{run}/state.json is damaged: {key} is missing or no number", hint=DAMAGED)
    live: RunState | None = found
    return live


def write(run: str, live: RunState) -> None:
    """Replace it. See runtime/state.py."""
    state.write(run, live)


def version(run: str) -> tuple[int, int]:
    """Another one after each `write`. Raises FileNotFoundError."""
    found = os.stat(run + "/state.json")
    return found.st_ino, found.st_mtime_ns


def writing(run: str) -> str:
    """The lock of who reads it, changes a part and writes it back."""
    return run + "/writing"


def opened(pid: int, start_time: int) -> int:
    """A pidfd, the caller's to close, of the process that started then and lives; -1 without one."""
    try:
        pidfd = procinfo.pidfd_open(pid)
    except (OSError, OverflowError, ValueError):  # has ended; a number that is no pid
        return -1
    if state.alive(pid, start_time):
        return pidfd
    os.close(pidfd)
    return -1


def send(live: RunState, number: int) -> None:
    """Signal a container's init, never a process that only has its pid. Fine if it has ended."""
    pidfd = opened(live["pid"], live["start_time"])
    if pidfd < 0:
        return
    try:
        procinfo.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def stopped_monitor(live: RunState) -> int:
    """The pid of a run's monitor that somebody has stopped (SIGSTOP, a tracer), so that it settles nothing; 0
    else."""
    try:
        letter, started = procinfo.stat(live["monitor"])
    except (OSError, ValueError, IndexError):
        return 0
    return live["monitor"] if letter in "Tt" and started == live.get("monitor_start") else 0


def end_stopped_monitor(live: RunState) -> None:
    """Kill a monitor that is stopped: then its run is settled as that of any killed monitor."""
    if stopped_monitor(live) and (pidfd := opened(live["monitor"], live.get("monitor_start", 0))) >= 0:
        try:
            procinfo.pidfd_send_signal(pidfd, SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def same(one: RunState, other: RunState) -> bool:
    """Whether both are of the same run: of the same init."""
    return state.same_run(one, other)
