"""What goes between a monitor and who started it: requests with fds, errors as messages (see
launch/launch.py).
"""

from __future__ import annotations

import _thread
import os
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)
from _struct import pack, unpack

from estiva import errors, fastjson
from estiva.files import write_all

AGENT = "agent"  # stands for a destination among the detached mounts: the socket of runtime/launch/agent.py
MAX_FDS = 253  # that one packet may carry, the kernel's SCM_MAX_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import Handed, Outcome, Request


def encode_error(error: BaseException) -> bytes:
    """An error as a message: its kind survives when it is one of ours."""
    if isinstance(error, OSError):
        error = errors.from_os(error)
    if isinstance(error, errors.EstivaError):
        kind, message, hint = type(error).__name__, error.message, error.hint
    else:
        kind, message, hint = "EngineError", f"internal error: {type(error).__name__}: {error}", ""
    told = {"event": "error", "kind": kind, "message": message[:4096], "hint": hint[:1024]}
    about = {key: str(value)[:1024] for key, value in vars(error).items() if key in errors.ABOUT}
    return fastjson.dumps({**told, "about": about} if about else told).encode(errors="replace")


def decode_error(message: Outcome) -> errors.EstivaError:
    """The error again: of the same kind, whatever that is made of."""
    kind = getattr(errors, str(message.get("kind")), errors.EngineError)
    error: errors.EstivaError = kind.__new__(kind)
    errors.EstivaError.__init__(error, str(message["message"]), hint=str(message.get("hint") or ""))
    for key, value in (message.get("about") or {}).items():
        if key in errors.ABOUT:
            setattr(error, key, str(value))
    return error


def send(channel: socket, request: Request | Handed, fds: list[int]) -> None:
    """One request: the packet says which of `fds` are there (not -1); they and a memfd go beside it."""
    memory = os.memfd_create("request", os.MFD_CLOEXEC)
    try:
        write_all(memory, fastjson.dumps(request).encode())
        present = [memory, *(fd for fd in fds if fd >= 0)]
        flags = bytes(fd >= 0 for fd in fds)
        channel.sendmsg([flags], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(present)}i", *present))])
    finally:
        os.close(memory)


def receive(channel: socket) -> tuple[Any, list[int]]:
    """What `send` sent: (request, fds); (None, []) when the other side has gone."""
    try:
        flags, ancillary, _, _ = channel.recvmsg(MAX_FDS, CMSG_SPACE(4 * MAX_FDS), MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        flags, ancillary = b"", []
    if not flags:
        return None, []
    received = iter(unpack(f"{len(ancillary[0][2]) // 4}i", ancillary[0][2]))
    memory = next(received)
    fds = [next(received) if flag else -1 for flag in flags]
    data = os.pread(memory, os.fstat(memory).st_size, 0)
    os.close(memory)
    return fastjson.loads(data, what="the request"), fds


def adopt(fd: int) -> socket:
    """A channel from an fd that came over a socket."""
    return socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)


def single_threaded() -> bool:
    """Whether this process has one thread: Python's own count first, then the kernel's."""
    return _thread._count() == 0 and len(os.listdir("/proc/self/task")) == 1


def pair() -> tuple[socket, socket]:
    a, b = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return a, b
