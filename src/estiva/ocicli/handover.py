"""What passes between a container and the caller of its runtime: fds, the terminal, its pid."""

from __future__ import annotations

import _socket
import os
from _struct import pack

from estiva import files
from estiva.errors import InvalidInput
from estiva.runtime import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def listen_fds() -> int:
    """LISTEN_FDS of sd_listen_fds(3): how many sockets the caller passes from fd 3 on."""
    text = os.environ.get("LISTEN_FDS", "")
    pid = os.environ.get("LISTEN_PID", "")
    if not text or (pid and pid != str(os.getpid())):
        return 0
    if not (text.isascii() and text.isdigit()) or int(text) > 1024:
        raise InvalidInput(f"LISTEN_FDS={text} is not a number of fds")
    return int(text)


def check_fds(count: int) -> None:
    """Every fd to pass must be open. Call it before any is opened here."""
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError:
            raise InvalidInput(f"fd {fd} is to be passed on, and is not open") from None


def announce(config: dict[str, Any], count: int) -> None:
    """Tell the command of the sockets: sd_listen_fds(3); it becomes pid 1."""
    process = config.get("process")
    if process is not None:
        env = [word for word in process.get("env") or () if not word.startswith("LISTEN_")]
        process["env"] = [*env, f"LISTEN_FDS={count}", "LISTEN_PID=1"]


def write_pid(path: str, pid: int) -> None:
    """--pid-file: written aside and renamed, so that nobody reads a half. Raises OSError."""
    files.atomic_write(path, str(pid).encode(), mode=0o644, sync=False)


def fd_sender(path: str, flag: str) -> Callable[[int, bytes], None]:
    """Connect to the socket that `flag` names now, so that a wrong one is an error before anything is made.
    The function that is returned sends an fd there (SCM_RIGHTS), with a name as the message, as runc does."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise InvalidInput(f"{flag} {path}: {os.strerror(error.errno or 0).lower()}") from None
    fd = sync.at_least(sock.detach(), 3)

    def send(given: int, name: bytes) -> None:
        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        try:
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("@i", given))]
            channel.sendmsg([name], rights)
        finally:
            channel.close()

    return send


def console_sender(path: str) -> Callable[[int], None]:
    """What sends a pty's master to --console-socket: see `fd_sender`."""
    send = fd_sender(path, "--console-socket")
    return lambda master: send(master, b"/dev/ptmx")


def console(path: str, terminal: bool, *, stays: bool) -> Callable[[int], None] | None:
    """Where the terminal's master goes: to --console-socket, if it was given. `stays`: so does the command.

    Raises InvalidInput where that can't be, in runc's words.
    """
    if path and (stays or not terminal):
        raise InvalidInput("cannot use console socket if the runtime will not detach or allocate tty")
    if terminal and not path and not stays:
        raise InvalidInput(
            "cannot allocate tty if the runtime will detach without setting console socket",
            hint="give --console-socket",
        )
    return console_sender(path) if path else None
