"""One small process with one thread that forks monitors for a Python program (see engine/launch/launch.py).

It starts with the first container, which costs about 10 ms then; its forks (engine/launch/workers.py) wait
for requests on the socket to it. It ends when the program's end of the socket closes; its monitors go on.
Losing it harms nothing: the next request starts another.
"""

from __future__ import annotations

import _thread
import os
import sys
import time
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_PEEK, socket
from _struct import unpack

from estiva.engine.monitor.protocol import pair, send
from estiva.engine.state import locks
from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Plan, Request
    from estiva.paths import Paths

TAKEN = b"t"
LINGER = 2.0  # seconds: how long a reservation is good for, at least

_channel: socket | None = None
_owner = 0
_lock = _thread.allocate_lock()
_offered: tuple[socket, tuple[int, str, str]] | None = None  # to a worker with a reservation; whose it is
_reserved: dict[str, socket] = {}  # by container id: the worker that has made its reservation
_latest = 0.0  # when the last container was launched


def _in_a_fork() -> None:
    """A child of the program, which may have been forked while another thread held the lock: it starts
    anew.
    """
    global _lock, _channel, _offered
    _lock = _thread.allocate_lock()
    for channel in (_channel, *_reserved.values(), *([_offered[0]] if _offered else [])):
        if channel is not None:
            channel.close()  # our copies: the parent goes on with its own
    _channel = _offered = None
    _reserved.clear()


os.register_at_fork(after_in_child=_in_a_fork)


def request(message: Request, fds: list[int]) -> None:
    """Have the spawner fork a process for {"kind", "plan"}. Thread-safe. Raises EngineError."""
    with _lock:
        for attempt in (0, 1):
            try:
                send(connection(), message, fds)
                return
            except (BrokenPipeError, ConnectionError):
                forget()
                if attempt:
                    raise EngineError("the spawner process can't be started") from None


def new_id(paths: Paths) -> str:
    """The id of a new container: that of one which a worker has half started already, if there is one."""
    global _offered
    with _lock:
        if _offered is not None and _offered[1] == (os.getpid(), paths.root, paths.run_root):
            channel = _offered[0]
            try:
                container_id = channel.recv(64, MSG_DONTWAIT).decode()
            except BlockingIOError:
                return os.urandom(32).hex()  # it is not ready yet: for the next one then
            except OSError:
                container_id = ""
            _offered = None
            if container_id:
                _forget_expired()
                _reserved[container_id] = channel
                return container_id
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
    """The lock of a container that is new, from the worker that has it, if there is one. From then on the
    worker waits for `launch` or `release`."""
    channel = _reserved.get(container_id)
    if channel is not None:
        try:
            channel.send(TAKEN)
            _, rights, _, _ = channel.recvmsg(1, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
            if rights:
                return int(unpack("@i", rights[0][2])[0])
        except OSError:
            pass
        release(container_id)  # it was not wanted for too long, or killed
    lock = locks.take(paths, container_id, new=True)
    if channel is not None:
        clear(container_id)
    return lock


def clear(container_id: str) -> None:
    """Remove what a worker that was killed had made of a container whose lock we hold."""
    from estiva.engine.state import cgroup, teardown
    from estiva.runtime.cgroup import factory

    teardown.end(factory.open(cgroup.cgroup_path(container_id)))


def release(container_id: str) -> None:
    """Give a reservation up; the run folder is removed by whoever has the lock."""
    channel = _reserved.pop(container_id, None)
    if channel is not None:
        channel.close()


def launch(plan: Plan, fds: list[int]) -> socket:
    """Have a worker be the monitor of `plan`: the channel to it. `fds` are the container's lock, its three
    streams and its detached mounts. Raises EngineError."""
    channel = _reserved.pop(plan["id"], None)
    if channel is not None:
        try:
            send(channel, {"plan": plan}, fds[1:])
            prepare(plan)
            return channel
        except (BrokenPipeError, ConnectionError):
            channel.close()  # it was killed: another can do it
            clear(plan["id"])
    ours, theirs = pair()
    try:
        request({"kind": "container", "plan": plan}, [theirs.fileno(), *fds])
    finally:
        theirs.close()
    prepare(plan)
    return ours


def prepare(plan: Plan) -> None:
    """Have a worker make a reservation for the next container, if they come one after the other."""
    global _offered, _latest
    now = time.monotonic()
    soon, _latest = now - _latest < LINGER, now
    mine = (os.getpid(), plan["root"], plan["run_root"])
    if not soon or plan["detach"] or (_offered is not None and _offered[1] == mine):
        return
    ours, theirs = pair()
    try:
        request({"kind": "reserve", "plan": plan}, [theirs.fileno(), -1, -1, -1, -1])
    except EngineError:
        ours.close()
        return
    finally:
        theirs.close()
    _offered = ours, mine


def forget() -> None:
    global _channel
    if _channel is not None:
        _channel.close()
        _channel = None


def connection() -> socket:
    """The socket to this process's spawner, started if there is none. A fork of the program gets its own."""
    global _channel, _owner
    if _channel is None or _owner != os.getpid():
        _channel, _owner = start(), os.getpid()
    return _channel


def start() -> socket:
    """Start the spawner: a fresh interpreter with as little in it as possible, in its own session."""
    import subprocess

    ours, theirs = pair()
    code = (
        "import sys; sys.path[:0] = sys.argv[2].split(':'); "
        "from estiva.engine.launch import workers; workers.serve(int(sys.argv[1]))"
    )
    source = os.path.abspath(__file__).rpartition("/estiva/engine/")[0]
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, str(theirs.fileno()), source],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    finally:
        theirs.close()
    child.returncode = 0  # it is not waited for: it ends when our socket closes
    return ours
