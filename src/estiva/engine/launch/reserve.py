"""A Python program's side of containers that are half started before it has asked for them.

    program                                        worker (workers.py)
    prepare  plan of the last container ------->   makes lock, cgroup and init of one that is like it
    new_id   <------------------------------ id    (monitor/reservation.py), and waits for LINGER seconds
    take_lock  TAKEN -------------------------->
             <------------------------ the lock    waits as long as it takes
    launch   plan, fds ------------------------>   is the container's monitor
    release  end of file ---------------------->   throws it away

A worker that gives up, or is killed, closes its end: then all is done as if it had not been.
"""

from __future__ import annotations

import _thread
import os
import select
import time
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_PEEK, socket
from _struct import unpack

from estiva.engine.launch import spawner
from estiva.engine.monitor.protocol import adopt, send
from estiva.engine.state import locks
from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Plan
    from estiva.paths import Paths

TAKEN = b"t"
LINGER = 2.0  # seconds
TRIES = 3  # so often in a row may nothing come of it, before it is left

_lock = _thread.allocate_lock()
_offered: tuple[spawner.Kept, tuple[str, str]] | None = None  # to a worker that makes one; its roots
_reserved: dict[str, socket] = {}  # by container id
_latest = 0.0  # when the last container was launched
_failures = 0


def _in_a_fork() -> None:
    """As in spawner.py: a child of the program takes nothing that its parent has reserved."""
    global _lock, _offered
    _lock = _thread.allocate_lock()
    for channel in (*_reserved.values(), *([_offered[0]] if _offered else [])):
        channel.close()
    _offered = None
    _reserved.clear()


os.register_at_fork(after_in_child=_in_a_fork)


def new_id(paths: Paths) -> str:
    """The id of a new container: that of one which a worker has half started already, if there is one."""
    global _offered, _failures
    with _lock:
        if _offered is not None and _offered[1] == (paths.root, paths.run_root):
            channel = _offered[0]
            try:
                container_id = channel.recv(64, MSG_DONTWAIT).decode()
            except BlockingIOError:
                return os.urandom(32).hex()  # it is not ready yet: for the next one then
            except OSError:
                container_id = ""
            _offered = None
            _failures = 0 if container_id else _failures + 1
            if container_id:
                _forget_expired()
                _reserved[container_id] = adopt(channel.detach())
                return container_id
            channel.close()
    return os.urandom(32).hex()


def _forget_expired() -> None:
    """Of those whose id came to nothing: an option that was refused, say."""
    for container_id, channel in list(_reserved.items()):
        try:
            if not channel.recv(1, MSG_PEEK | MSG_DONTWAIT):
                release(container_id)
        except BlockingIOError:
            pass  # somebody is at it
        except OSError:
            release(container_id)


def take_lock(paths: Paths, container_id: str) -> int:
    """The lock of a container that is new; the caller closes it."""
    channel = _reserved.get(container_id)
    if channel is not None:
        try:
            channel.send(TAKEN)
            _, rights, _, _ = channel.recvmsg(1, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
            if rights:
                return int(unpack("@i", rights[0][2])[0])
        except OSError:
            pass
        release(container_id)
    lock = locks.take(paths, container_id, new=True)
    if channel is not None:
        _clear(container_id)
    return lock


def _clear(container_id: str) -> None:
    """Remove what a worker that was killed had made of a container whose lock we hold."""
    from estiva.engine.state import cgroup, teardown
    from estiva.runtime.cgroup import factory

    teardown.end(factory.open(cgroup.cgroup_path(container_id)))


def release(container_id: str) -> None:
    """Give a reservation up. The run folder is removed by whoever has the lock."""
    channel = _reserved.pop(container_id, None)
    if channel is not None:
        channel.close()


def launch(plan: Plan, fds: list[int]) -> socket:
    """Have a worker be the monitor of `plan`: the channel to it. `fds` are the container's lock, its three
    streams and its detached mounts. Raises EngineError."""
    channel = _launch(plan, fds)
    try:
        prepare(plan)
    except (OSError, EngineError):
        pass  # it runs all the same
    return channel


def _launch(plan: Plan, fds: list[int]) -> socket:
    channel = _reserved.pop(plan["id"], None)
    if channel is not None:
        try:
            send(channel, {"plan": plan}, fds[1:])
            return channel
        except OSError as error:
            channel.close()
            _clear(plan["id"])
            if not isinstance(error, (BrokenPipeError, ConnectionError)):
                raise
    return spawner.ask({"kind": "container", "plan": plan}, fds)


def prepare(plan: Plan) -> None:
    """Have a worker make a reservation for the next container, if they come one after the other. Raises
    OSError, EngineError."""
    global _offered, _latest
    now = time.monotonic()
    soon, _latest = now - _latest < LINGER, now
    roots = (plan["root"], plan["run_root"])
    with _lock:
        offered = _offered is not None and _offered[1] == roots
        if offered or not soon or plan["detach"] or _failures >= TRIES:
            return
        channel = spawner.ask({"kind": "reserve", "plan": plan}, [-1, -1, -1, -1])
        if _offered is not None:
            _offered[0].close()  # one for other roots
        _offered = spawner.Kept(channel), roots


def settle() -> None:
    """Wait until no worker of ours is in the middle of making a reservation, for a second at most: for that
    moment its init has a copy of all mounts of the host, which keeps them busy."""
    offered = _offered
    if offered is not None:
        try:
            poll = select.poll()
            poll.register(offered[0].fileno(), select.POLLIN)
            poll.poll(1000)
        except (OSError, ValueError):
            pass  # another thread has just taken it
