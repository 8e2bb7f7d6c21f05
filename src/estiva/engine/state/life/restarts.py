"""Restart policies: what follows on the end of a run. Docker's rules (--restart in its reference of `run`).

In the run folder of a container, beside its lock, which is held all the time:

    restarting.json   who waits to start it again, and for how long. Without a state.json beside it the
                      container is "restarting"
    stopped           somebody has asked for the end: whatever its policy, it is not started again
    kept              who has asked is about to start it again: so it stays, though it is a --rm one

Who waits is the monitor, in another program (monitor/life/again.py). It may be killed at any instant: what is
left then is a container that has ended, whose run was settled before.
"""

from __future__ import annotations

import os
from _signal import SIGKILL

from estiva import fastjson
from estiva.engine.state import locks, runstate
from estiva.files import atomic_write, read_bounded
from estiva.linux import procinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import RestartPolicy
    from estiva.engine.state.types import Record, RunState
    from estiva.paths import Paths

FIRST, LONGEST = 0.1, 60.0  # seconds before it is started again: twice as long each time
LONG = 10.0  # seconds of running after which it begins with FIRST once more
_LIMIT = 4096  # bytes


def policy(record: Record) -> str:
    """The name of a container's restart policy."""
    found: RestartPolicy = record["HostConfig"].get("RestartPolicy") or {}
    return found.get("Name") or "no"


def wanted(record: Record) -> bool:
    """Whether the policy asks for another run after one that ended as the record's State says."""
    name, code = policy(record), record["State"].get("ExitCode", 0)
    stopped = record["State"].get("Stopped", False)
    if name == "on-failure":
        most = record["HostConfig"]["RestartPolicy"].get("MaximumRetryCount") or 0
        return not stopped and code != 0 and (not most or record.get("RestartCount", 0) < most)
    return name in ("always", "unless-stopped") and not stopped


def decide(where: Paths, record: Record, *, forced: bool = False) -> float | None:
    """A run has ended, as its `record`, which is written next, says: the seconds after which the caller is to
    start it again, None for never. `forced`: whatever the policy says, unless somebody has stopped it.

    Of one that is to be started again it is said here who waits; `begin` follows. Raises OSError.
    """
    run = where.run_container(record["Id"])
    state = record["State"]
    if not (forced and not state.get("Stopped") or wanted(record)):
        return None
    from estiva.timestamps import seconds

    delay = min(2 * _delay(run), LONGEST) or FIRST
    if seconds(state["FinishedAt"]) - seconds(state["StartedAt"]) >= LONG:
        delay = FIRST
    record["RestartCount"] = record.get("RestartCount", 0) + 1
    pid = os.getpid()
    waiting = {"delay": delay, "pid": pid, "start_time": procinfo.start_time(pid)}
    atomic_write(f"{run}/restarting.json", fastjson.dumps(waiting).encode(), sync=False)
    return delay


def begin(where: Paths, container_id: str, lock: int) -> None:
    """From now on it is restarting, which those who wait for the end of this run need not know. Its row says
    already how the run has ended."""
    run = where.run_container(container_id)
    for name in ("health.json", "sent", "state.json"):
        try:
            os.unlink(f"{run}/{name}")
        except FileNotFoundError:
            pass
    locks.tell_end(lock)


def _waiting(run: str) -> dict[str, float]:
    """restarting.json; empty without one that can be understood."""
    try:
        found = fastjson.loads(read_bounded(f"{run}/restarting.json", _LIMIT))
    except Exception:  # not there, damaged
        return {}
    sound = isinstance(found, dict) and all(
        isinstance(found.get(key), int | float) for key in ("delay", "pid", "start_time")
    )
    return found if sound else {}


def _delay(run: str) -> float:
    return max(0.0, _waiting(run).get("delay", 0.0))


def restarting(where: Paths, container_id: str) -> bool:
    """Whether a container whose lock is held, and that has no run state, waits to be started again, or just
    is."""
    return os.path.lexists(where.run_container(container_id) + "/restarting.json")


def mark_stopped(where: Paths, container_id: str, live: RunState | None) -> bool:
    """Somebody asks for the end of the run that is `live`, or of the wait for one: it is not started again.
    False if that run is over."""
    return _mark(where, container_id, live, "stopped")


def mark_kept(where: Paths, container_id: str, live: RunState) -> bool:
    """It is to be started again at once after the run that is `live`: so it stays, though it is a --rm one.
    False if that run is over."""
    return _mark(where, container_id, live, "kept")


def _mark(where: Paths, container_id: str, live: RunState | None, name: str) -> bool:
    try:
        folder = os.open(where.run_container(container_id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        here = f"/proc/self/fd/{folder}"  # a later run may have another folder of the same name
        now = runstate.read_in(here)
        if live is not None and (now is None or not runstate.same(now, live)):
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(f"{here}/{name}", flags, 0o600))
        return True
    except FileNotFoundError:
        return False  # it has gone meanwhile
    except OSError:
        return True  # there is no room to write that down: it is to end all the same
    finally:
        os.close(folder)


def end_waiter(where: Paths, container_id: str) -> None:
    """Kill who waits to start it again. What it has started already is left: that has a run state."""
    found = _waiting(where.run_container(container_id))
    pidfd = runstate.opened(int(found["pid"]), int(found["start_time"])) if found else -1
    if pidfd >= 0:
        try:
            procinfo.pidfd_send_signal(pidfd, SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)
