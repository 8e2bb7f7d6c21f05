"""How a created container is started by another process: init listens on a socket in its state directory.

`create` binds it, init inherits it and, once ready, answers there instead of at its parent, which may go:

    create                       init                                    start
      | <-- READY --------------- |                                        |
      |  LEAVE ----------------> |                                        |
      x                          | accept <------------------- connect ---|
                                 | <------------------------------- GO ---|
                                 | execve closed it: end of file, or ERROR >

Only who may enter the state directory (0700) can connect; the listening fd is close-on-exec and init is not
dumpable, so that no process of the container gets hold of it.
"""

from __future__ import annotations

import _signal
import _socket
import os

from estiva.errors import Conflict
from estiva.runtime import sync

NAME = "start.sock"
_ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)


def _address(directory_fd: int, name: str = NAME) -> str:
    """A path that fits into sun_path (108 bytes, unix(7)) however long that of the state directory is."""
    return f"/proc/self/fd/{directory_fd}/{name}"


def listen(directory: str, least: int) -> int:
    """The listening fd, numbered from `least` on. Raises OSError."""
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            sock.bind(_address(place))
            sock.listen(1)
            return sync.at_least(sock.detach(), least)
        finally:
            sock.close()
    finally:
        os.close(place)


def waiting(directory: str) -> bool:
    """Whether the container waits for its start."""
    return os.path.exists(f"{directory}/{NAME}")


def connect(directory: str) -> sync.Channel:
    """The channel to a waiting init; the socket's name is gone afterwards, so that there is one start.

    Raises Conflict when nobody waits.
    """
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(_address(place))
            os.unlink(NAME, dir_fd=place)
            return sync.Channel(sock.detach())
        except (FileNotFoundError, ConnectionRefusedError):
            raise Conflict("the container does not wait for its start") from None
        finally:
            sock.close()
    finally:
        os.close(place)


def mortal(yes: bool) -> None:
    """In init, while it waits: a signal that ends a program by default ends it, which the kernel does not see
    to for pid 1 of a namespace."""
    for number in _ENDING if yes else ():
        _signal.signal(number, lambda number, _: os._exit(128 + number))
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK if yes else _signal.SIG_BLOCK, _ENDING)


def await_start(channel: sync.Channel, listening: int) -> None:
    """In init: let the creator go, then take the first caller that says GO; `channel` is the one to it.

    A caller that goes without a word changes nothing.
    """
    channel.expect(sync.LEAVE)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, listening)
    while True:
        channel.close()
        try:
            channel.fd = sock._accept()[0]  # type: ignore[attr-defined]
            os.set_inheritable(channel.fd, False)
            channel.expect(sync.GO)
        except (sync.ParentGone, ConnectionResetError):
            continue
        sock.close()
        return
