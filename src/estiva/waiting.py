"""Waiting for a lock that another process has: for as long as that works, not for ever where it is stopped
(SIGSTOP, a shell's Ctrl-Z, a tracer).
"""

from __future__ import annotations

import fcntl
import os
import time

from estiva.errors import StateError, oneline

SHORTEST, LONGEST = 0.0002, 0.005  # seconds between two tries
STOPPED = 3.0  # seconds for a process that is stopped and may be let go on
LOOK = 1.0  # seconds between two looks at who it is


def flock(fd: int, operation: int, path: str) -> None:
    """flock(2) on a file, `path`, that others have locked. Raises StateError, which names a holder that is
    stopped."""
    pause, began = SHORTEST, time.monotonic()
    look = began + STOPPED
    while True:
        time.sleep(pause)
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pause = min(pause * 1.5, LONGEST)
        if time.monotonic() >= look:
            look = time.monotonic() + LOOK
            pid = holder(os.fstat(fd), "FLOCK")
            if pid and is_stopped(pid):
                raise StateError(f"{path} is locked by process {pid}{command(pid)}", hint=let_go_on(pid))


def holder(found: os.stat_result, kind: str, byte: int = 0) -> int:
    """The process that has a lock (FLOCK, POSIX) on a byte of a file, by /proc/locks (proc_locks(5)); 0 if
    none is known.

    The file itself is not opened: to close it would drop POSIX locks that this process has on it.
    """
    try:
        with open("/proc/locks", encoding="ascii") as file:
            locks = [line.split() for line in file]
    except OSError:
        return 0
    for _, what, _, _, pid, place, start, end in (fields for fields in locks if len(fields) == 8):
        if what != kind or not place.endswith(f":{found.st_ino}") or int(pid) <= 0:
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


def command(pid: int) -> str:
    """Its command line, in brackets after a blank; "" where it can't be read."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(200).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
    return f" ({oneline(words[:120])})" if words else ""


def is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(1024).rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def let_go_on(pid: int) -> str:
    """The hint that belongs to a process that is stopped."""
    return f"it is stopped: `kill -CONT {pid}` lets it go on"
