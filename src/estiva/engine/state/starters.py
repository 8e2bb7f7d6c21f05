"""Who is starting a container that has no run state yet, and may have been stopped (SIGSTOP) at that."""

from __future__ import annotations

import os
from _signal import SIGKILL

from estiva import waiting
from estiva.engine.state import runstate
from estiva.errors import EngineError
from estiva.linux import procinfo
from estiva.paths import Paths

_OURS = (b"estiva/boot/", b"estiva: monitor")  # in the words of a command line, and of a monitor-to-be


def stopped(where: Paths, container_id: str) -> list[int]:
    """The processes that hold a container's lock, if all of them are stopped; none while one goes on."""
    found = _holders(where.run_container(container_id) + "/lock")
    return found if all(waiting.is_stopped(pid) for pid in found) else []


def end(where: Paths, container_id: str) -> None:
    """Kill those, but no program that only uses us: what they began is settled as after any kill."""
    for pid in stopped(where, container_id):
        try:
            pidfd = runstate.opened(pid, procinfo.start_time(pid))
        except OSError:
            continue
        if pidfd < 0:
            continue
        try:  # by now the pid is that of the process that the pidfd is for
            if _is_ours(pid) and pid in stopped(where, container_id):
                procinfo.pidfd_send_signal(pidfd, SIGKILL)
        except OSError:
            pass
        finally:
            os.close(pidfd)


def refuse(where: Paths, container_id: str) -> None:
    """For who has waited long for a start. Raises EngineError where nothing goes on."""
    pids = stopped(where, container_id)
    if not pids:
        return
    words = " ".join(map(str, pids))
    kill = f", `estiva rm -f {container_id[:12]}` removes the container" if all(map(_is_ours, pids)) else ""
    raise EngineError(
        f"container {container_id[:12]} is being started by process {words}, which is stopped",
        hint=f"`kill -CONT {words}` lets it go on{kill}",
    )


def problems(where: Paths, container_id: str) -> list[str]:
    """The same in words; none where all is well."""
    try:
        refuse(where, container_id)
    except EngineError as error:
        return [f"{error}: {error.hint}"]
    return []


def _holders(lock: str) -> list[int]:
    """Of an open file description lock, which /proc/locks does not tell: proc_pid_fdinfo(5)."""
    try:
        wanted = os.stat(lock)
    except FileNotFoundError:
        return []
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            for fd in os.listdir(f"/proc/{name}/fd"):
                there = os.stat(f"/proc/{name}/fd/{fd}")
                if (there.st_ino, there.st_dev) == (wanted.st_ino, wanted.st_dev) and _locks(name, fd):
                    found.append(int(name))
                    break
        except OSError:
            continue  # it has ended, or is not ours to look at
    return sorted(found)


def _locks(pid: str, fd: str) -> bool:
    with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
        return b"OFDLCK" in file.read(1 << 16)


def _is_ours(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(1 << 12)
    except OSError:
        return False
    return any(mark in words for mark in _OURS)
