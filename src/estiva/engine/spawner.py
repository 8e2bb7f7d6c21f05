"""One small process with one thread that forks monitors for a Python program (see engine/launch.py).

    program                              spawner                       monitor
    request: plan + fds  -- socket -->   fork  ---------------------->  runs the container
                                         waits for the next            outlives both

It starts with the first container and costs about 10 ms then; a fork of it costs well under one. It ends
when the
program's end of the socket closes; its monitors go on. Losing it harms nothing: the next request starts
another.
A request is one packet: {"kind", "plan"} with up to five fds; a plan too large for a packet goes in a memfd.
"""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket

from estiva import fastjson
from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FDS = 8
_channel: socket | None = None
_owner = 0


def request(
    plan: dict[str, Any], channel: int, stdio: tuple[int, int, int], hold: int, *, kind: str = "container"
) -> None:
    """Have the spawner fork a monitor for `plan` (or an `exec`). Thread-safe. Raises EngineError."""
    import threading

    global _lock
    try:
        lock = _lock
    except NameError:
        lock = _lock = threading.Lock()
    memory = os.memfd_create("plan", os.MFD_CLOEXEC)
    try:
        from estiva.files import write_all

        write_all(memory, fastjson.dumps({"kind": kind, "plan": plan}).encode())
        fds = [memory, channel, hold, *stdio]
        present = [fd for fd in fds if fd >= 0]
        header = ",".join("1" if fd >= 0 else "0" for fd in fds).encode()
        with lock:
            for attempt in (0, 1):
                try:
                    deliver(header, present)
                    return
                except (BrokenPipeError, ConnectionError):
                    forget()
                    if attempt:
                        raise EngineError("the spawner process can't be started") from None
    finally:
        os.close(memory)


_lock: Any


def deliver(header: bytes, fds: list[int]) -> None:
    import array

    ours = connection()
    ours.sendmsg([header], [(SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))])


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

    from estiva.engine.launch import pair

    ours, theirs = pair()
    code = (
        "import sys; sys.path[:0] = sys.argv[2].split(':'); "
        "from estiva.engine import spawner; spawner.serve(int(sys.argv[1]))"
    )
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
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

    from estiva.engine import exec as exec_
    from estiva.engine import launch, life, logs, monitor  # noqa: F401  loaded once, shared by every fork
    from estiva.network import bridge  # noqa: F401
    from estiva.runtime import init  # noqa: F401
    from estiva.store import database  # noqa: F401

    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # monitors are not waited for
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    channel = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
    os.set_inheritable(fd, False)
    gc.collect()
    gc.freeze()
    gc.disable()
    while True:
        try:
            header, ancillary, _, _ = channel.recvmsg(64, CMSG_SPACE(4 * FDS), 0x40000000)  # MSG_CMSG_CLOEXEC
        except ConnectionResetError:
            return
        if not header:
            return
        fds = received(ancillary)
        pid = os.fork()
        if pid == 0:
            channel.close()
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            handle(header, fds, launch, exec_)
        for each in fds:
            os.close(each)


def received(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    import struct

    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds.extend(struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]))
    return fds


def handle(header: bytes, fds: list[int], launch: Any, exec_: Any) -> None:
    """In the fork: put the fds in their places and become the monitor."""
    try:
        rest = iter(fds)
        memory, channel, hold, *stdio = [next(rest) if flag == b"1" else -1 for flag in header.split(b",")]
        size = os.fstat(memory).st_size
        message = fastjson.loads(os.pread(memory, size, 0), what="the request")
        os.close(memory)
        if message["kind"] == "exec":
            exec_.become(message["plan"], launch.adopt(channel), tuple(stdio))
        launch.become_monitor(message["plan"], launch.adopt(channel), tuple(stdio), hold)
    finally:
        os._exit(1)
