"""Pseudo-terminals: pty(7), ioctl_tty(2), termios(3)."""

from __future__ import annotations

import fcntl
import os
from _struct import pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIOCSCTTY = 0x540E
FIONREAD = 0x541B
TIOCGWINSZ = 0x5413
TIOCSWINSZ = 0x5414
TIOCSPTLCK = 0x40045431
TIOCGPTN = 0x80045430
TIOCGPTPEER = 0x5441
END = b"\x04"  # ctrl-d: the end of file of a new terminal (VEOF), and what line editors take for it


def unlock(master: int) -> None:
    """TIOCSPTLCK: allow the slave of a new master to be opened."""
    fcntl.ioctl(master, TIOCSPTLCK, pack("@i", 0))


def open_peer(master: int) -> int:
    """TIOCGPTPEER: the slave of `master`, without trusting any path; close-on-exec, not controlling."""
    return fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def number(master: int) -> int:
    """TIOCGPTN: N of the slave's /dev/pts/N."""
    return int(unpack("@i", fcntl.ioctl(master, TIOCGPTN, b"\0\0\0\0"))[0])


def open_pty(ptmx: str = "/dev/ptmx") -> tuple[int, int]:
    """A new (master, slave) pair."""
    master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        unlock(master)
        return master, open_peer(master)
    except BaseException:
        os.close(master)
        raise


def set_controlling(slave: int) -> None:
    """TIOCSCTTY: `slave` becomes the controlling terminal of the session that the caller leads."""
    fcntl.ioctl(slave, TIOCSCTTY, 0)


def window_size(fd: int) -> tuple[int, int]:
    """TIOCGWINSZ: (rows, columns)."""
    rows, columns, _, _ = unpack("@4H", fcntl.ioctl(fd, TIOCGWINSZ, b"\0" * 8))
    return rows, columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ; the foreground process group gets SIGWINCH when the size changes."""
    fcntl.ioctl(fd, TIOCSWINSZ, pack("@4H", max(0, min(rows, 65535)), max(0, min(columns, 65535)), 0, 0))


def raw(fd: int, *, keep_output: bool = False) -> list[Any]:
    """Put a terminal in raw mode (cfmakeraw(3)) and return the former attributes for `restore`.

    `keep_output` leaves output processing on, so that other processes' newlines still return the carriage.
    """
    import termios

    saved = termios.tcgetattr(fd)
    mode = termios.tcgetattr(fd)
    mode[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    if not keep_output:
        mode[1] &= ~termios.OPOST
    mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    mode[6][termios.VMIN] = 1
    mode[6][termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSADRAIN, mode)
    return saved


def typed_ahead(fd: int) -> bytes:
    """Take what waits in a terminal that is raw now, with the ends of file among it as `END`.

    One that was typed before it was raw is a NUL byte now (the kernel's n_tty), which ends nothing: who waits
    for the end would wait for ever. Gives nothing where `fd` is no terminal.
    """
    waiting = int(unpack("@i", fcntl.ioctl(fd, FIONREAD, b"\0\0\0\0"))[0]) if os.isatty(fd) else 0
    return os.read(fd, waiting).replace(b"\0", END) if waiting else b""


def plain_newlines(fd: int) -> None:
    """Clear ONLCR of a terminal, by either end: a newline that is written to it stays one."""
    import termios

    mode = termios.tcgetattr(fd)
    mode[1] &= ~termios.ONLCR
    termios.tcsetattr(fd, termios.TCSANOW, mode)


def end_of_file(fd: int) -> bytes:
    """The bytes that tell a reader of the terminal `fd` of the end of its input; none where it reads raw."""
    import termios

    mode = termios.tcgetattr(fd)
    character: bytes = mode[6][termios.VEOF]
    return character if mode[3] & termios.ICANON and character != b"\0" else b""


def restore(fd: int, saved: list[Any]) -> None:
    """Give a terminal back the attributes that `raw` returned; nothing if it has been closed."""
    import termios

    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
    except termios.error:
        pass
