"""What a process does that becomes a monitor, or goes on as one after it has hibernated."""

from __future__ import annotations

import gc
import os

from estiva import fastjson
from estiva.engine.monitor.monitor import QUIET, Monitor
from estiva.engine.monitor.protocol import encode_error
from estiva.engine.state import teardown
from estiva.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from estiva.engine.monitor.reservation import Reservation
    from estiva.engine.state.types import Frozen, Plan


def become_monitor(
    plan: Plan, channel: socket, stdio: tuple[int, int, int], hold: int, mounts: list[int]
) -> None:
    """In a process of its own: run the monitor and end, whatever happens."""
    status = 1
    try:
        alone({channel.fileno(), hold, *(fd for fd in stdio if fd >= 0), *mounts})
        serve(plan, channel, stdio, hold, mounts)
        status = 0
    finally:
        os._exit(status)


def alone(keep: set[int]) -> None:
    """As process.keep_only; no directory in use, and no garbage is looked for."""
    gc.disable()
    os.chdir("/")
    process.keep_only(keep)


def serve(
    plan: Plan,
    channel: socket,
    stdio: tuple[int, int, int],
    hold: int,
    mounts: list[int],
    reservation: Reservation | None = None,
    program: int = -1,
) -> bool:
    """The whole life of one monitor; `plan` is made by engine/launch/plan.py. Errors go to the caller.
    `mounts` are detached mounts for the destinations in plan["mounted"], then the sockets of those who are
    attached from the start, `program` a pidfd of the caller's.

    True when all went well and its fds are closed again, so that the process can serve another.
    """
    try:
        monitor = Monitor(plan, channel, stdio, hold, reservation, program)
        guests = len(mounts) - plan.get("guests", 0)
        monitor.mounted = dict(zip(plan.get("mounted", ()), mounts[:guests], strict=True))
        monitor.guests = mounts[guests:]
        try:
            if "explain" in plan:
                from estiva.engine.monitor import explain

                explain.start(monitor)
            else:
                monitor.start()
        except BaseException as error:
            monitor.abandon(error)
            return False
        monitor.supervise(QUIET, hibernate)
        end(monitor)
        return monitor.close()
    except BaseException as error:
        try:
            channel.send(encode_error(error))
        except OSError:
            pass
        return False


def end(monitor: Monitor) -> None:
    """Steps 8 and 9; of one that is to be started again also the way there, and then this does not return."""
    plan = monitor.plan
    if plan["auto_remove"] and not monitor.bound:
        plan["auto_remove"] = not teardown.kept(teardown.paths(plan), plan["id"])
    monitor.finish()
    if monitor.delay is not None:
        from estiva.engine.monitor.life import again

        alone({monitor.hold})
        again.wait(monitor.plan, monitor.hold, monitor.delay)


def hibernate(monitor: Monitor) -> None:
    """Most never come to it."""
    from estiva.engine.monitor import frozen
    from estiva.engine.monitor import hibernate as hibernation

    hibernation.hibernate(frozen.freeze(monitor))


AWAKE = (
    10_000  # milliseconds of quiet before it hibernates again: going to sleep and waking up cost 40 ms of cpu
)
CHECKED = 20  # ... where it has woken up for a health check only


def resume(memory: int) -> None:
    """The monitor's life goes on, in a fresh interpreter; ends the process."""
    import fcntl

    from estiva.engine.monitor import frozen
    from estiva.engine.monitor import hibernate as hibernation

    try:
        state: Frozen = fastjson.loads(
            os.pread(memory, os.fstat(memory).st_size, 0), what="the monitor's state"
        )
        os.close(memory)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.dup2(null, 1)
        for fd in state["fds"]:
            os.set_inheritable(fd, False)
        watched = (*(source["fd"] for source in state["sources"]), state["listening"])
        for fd in (*watched, hibernation.channel(state)):
            if fd >= 0:
                fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_ASYNC)
        monitor = frozen.thaw(state)
        health = monitor.streams.health
        monitor.supervise(CHECKED if health is not None and not health.left() else AWAKE, hibernate)
        end(monitor)
    finally:
        os._exit(0)
