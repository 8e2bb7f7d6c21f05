"""Waiting for those who write to the database, not for ever, and telling who they are."""

from __future__ import annotations

import fcntl
import os
import time
from _struct import pack, unpack

from estiva import waiting
from estiva.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FLOCK = "hhqqi4x"  # struct flock on 64-bit machines: type, whence, start, length, pid
_WRITER = 120  # the byte of the -shm file that SQLite's writer has locked (walformat.html, WAL_WRITE_LOCK)
_SHORTEST, _LONGEST = 0.0002, 0.01  # seconds between two tries
_AGAIN = 0.1  # seconds for one that was waited for in vain
_REMEMBERED = 60.0  # seconds since then
_vain = (-1, 0.0)  # (process, when) of that


def wait(queue: int, path: str, patience: float, look: Callable[[], None] | None = None) -> None:
    """Take the POSIX lock on the fd `queue` for writing; `look` is called between two tries. Raises
    StateError when the same process has it for `patience` seconds: who writes does so for milliseconds, so
    that even hundreds get their turn.

    One that is stopped is waited for a shorter time, and one that this process has waited for in vain before
    hardly at all: a command of many steps, and a monitor that it waits for, take 10 s together.
    """
    global _vain
    pause = _SHORTEST
    holder, since, again = -1, 0.0, False
    while True:
        time.sleep(pause)
        try:
            fcntl.lockf(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        if look is not None:
            look()
        pause = min(pause * 1.5, _LONGEST)
        found, now = _pid(queue), time.monotonic()
        if found != holder:
            holder, since = found, now
            again = found == _vain[0] and now < _vain[1] + _REMEMBERED
        waited = now - since
        if waited > patience or (
            waited > _AGAIN
            and (again or (waited > waiting.STOPPED and holder and waiting.is_stopped(holder)))
        ):
            _vain = (holder, now)
            raise error(path)


def _pid(fd: int) -> int:
    """The process that keeps a file from being locked; 0 if there is none, or it can't be seen from here."""
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
    kind, _, _, _, pid = unpack(_FLOCK, answer)
    return max(int(pid), 0) if kind != fcntl.F_UNLCK else 0


def error(path: str) -> StateError:
    """That the database is locked, and by whom: who has SQLite's lock, else who comes next."""
    for name, byte in ((path + "-shm", _WRITER), (path + ".queue", 0)):
        try:
            pid = waiting.holder(os.stat(name), "POSIX", byte)
        except OSError:
            continue
        if pid == os.getpid():
            return StateError(f"the database {path} is locked by another thread of this process")
        if pid:
            return StateError(
                f"the database {path} is locked by process {pid}{waiting.command(pid)}",
                hint=waiting.let_go_on(pid) if waiting.is_stopped(pid) else "",
            )
    return StateError(f"the database {path} is locked by a process that can't be seen from here")
