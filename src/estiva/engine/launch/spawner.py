"""One small process with one thread that forks monitors for a Python program (see engine/launch/launch.py).

    program                      spawner                  monitor
                                 fork, ahead ---------->    waits for a request
    request: plan + fds  ------- socket --------------->    takes it, says so to the spawner,
                                 fork, for the next one     runs the container, outlives both

It starts with the first container, which costs about 10 ms then; a fork of it costs less than one. It ends
when the program's end of the socket closes; its monitors go on. Losing it harms nothing: the next request
starts another.
"""

from __future__ import annotations

import _thread
import os
import sys
from _socket import AF_UNIX, SOCK_SEQPACKET, socket

from estiva.engine.monitor.protocol import pair, receive, send
from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TAKEN, GONE = b"t", b"g"
_channel: socket | None = None
_owner = 0
_lock = _thread.allocate_lock()


def request(message: dict[str, Any], fds: list[int]) -> None:
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
        "from estiva.engine.launch import spawner; spawner.serve(int(sys.argv[1]))"
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


def serve(fd: int) -> None:
    """The spawner's whole life."""
    import _signal
    import gc

    load()
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # monitors are not waited for
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    channel = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
    os.set_inheritable(fd, False)
    gc.collect()
    gc.freeze()
    gc.disable()
    said = b""
    while said != GONE:
        taken, take = os.pipe()
        if os.fork() == 0:
            os.close(taken)
            wait_for_request(channel, take)
        os.close(take)
        said = os.read(taken, 1)  # nothing if it was killed: another takes its place
        os.close(taken)


def wait_for_request(channel: socket, take: int) -> None:
    """In a fork made ahead: take the next request, have the next fork made, become what was asked for."""
    import _signal

    try:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        os.setsid()
        message, fds = receive(channel)
        try:
            os.write(take, TAKEN if message else GONE)
        except OSError:
            pass  # the spawner was killed: this request is served still
        if message:
            os.close(take)
            channel.close()
            become(message, fds)
    finally:
        os._exit(1)


def load() -> None:
    """All that a monitor or an exec will use: loaded once, shared by every fork."""
    from estiva.engine.monitor import exec_session as _exec  # noqa: F401
    from estiva.engine.monitor import monitor  # noqa: F401
    from estiva.engine.state import teardown  # noqa: F401
    from estiva.network import bridge  # noqa: F401
    from estiva.runtime import cgroup
    from estiva.store import database as _database  # noqa: F401

    cgroup.preload()


def become(message: dict[str, Any], fds: list[int]) -> None:
    """Turn into what was asked for; ends the process."""
    from estiva.engine.monitor import exec_session, main, protocol

    channel, hold = protocol.adopt(fds[0]), fds[1]
    stdio = (fds[2], fds[3], fds[4])
    if message["kind"] == "exec":
        exec_session.become(message["plan"], channel, stdio)
    main.become_monitor(message["plan"], channel, stdio, hold, fds[5:])
