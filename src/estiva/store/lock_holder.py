"""Waiting for those who write to the database, not for ever, and telling who they are."""

from __future__ import annotations

import fcntl
import os
import time
from _struct import pack, unpack

from estiva.errors import StateError, oneline

_FLOCK = "hhqqi4x"  # struct flock on 64-bit machines: type, whence, start, length, pid
_WRITER = 120  # the byte of the -shm file that SQLite's writer has locked (walformat.html, WAL_WRITE_LOCK)
_SHORTEST, _LONGEST = 0.0002, 0.01  # seconds between two tries
_STOPPED = 3.0  # seconds for one that is stopped and may be let go on
_AGAIN = 0.1  # seconds for one that was waited for in vain
_REMEMBERED = 60.0  # seconds since then
_vain = (-1, 0.0)  # (process, when) of that


def wait(queue: int, path: str, patience: float) -> None:
    """Take the POSIX lock on the fd `queue` for writing. Raises StateError when the same process has it for
    `patience` seconds: who writes does so for milliseconds, so that even hundreds get their turn.

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
        pause = min(pause * 1.5, _LONGEST)
        found, now = _pid(queue), time.monotonic()
        if found != holder:
            holder, since = found, now
            again = found == _vain[0] and now < _vain[1] + _REMEMBERED
        waited = now - since
        if waited > patience or (
            waited > _AGAIN and (again or (waited > _STOPPED and holder and _is_stopped(holder)))
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
        pid = _holder(name, byte)
        if pid == os.getpid():
            return StateError(f"the database {path} is locked by another thread of this process")
        if pid:
            return StateError(
                f"the database {path} is locked by process {pid}{_command(pid)}",
                hint=f"it is stopped: `kill -CONT {pid}` lets it go on" if _is_stopped(pid) else "",
            )
    return StateError(f"the database {path} is locked by a process that can't be seen from here")


def _holder(path: str, byte: int) -> int:
    """The process that has a POSIX lock on a byte of a file, by /proc/locks (proc_locks(5)); 0 if none is
    known.

    The file itself is not opened: to close it would drop the locks that SQLite has on it in this process.
    """
    try:
        found = os.stat(path)
        with open("/proc/locks", encoding="ascii") as file:
            locks = [line.split() for line in file]
    except OSError:
        return 0
    for _, kind, _, _, pid, place, start, end in (fields for fields in locks if len(fields) == 8):
        if kind != "POSIX" or not place.endswith(f":{found.st_ino}") or int(pid) <= 0:
            continue
        if int(start) <= byte and (end == "EOF" or byte <= int(end)) and _has_open(int(pid), found):
            return int(pid)
    return 0


def _has_open(pid: int, found: os.stat_result) -> bool:
    """Whether a process has a file open: inode numbers alone are those of several filesystems."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), found):
                return True
        except OSError:
            continue
    return False


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(200).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
    return f" ({oneline(words[:120])})" if words else ""


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(1024).rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
