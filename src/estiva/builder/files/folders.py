"""Folders that are kept from one build to the next, each for one build at a time."""

from __future__ import annotations

import fcntl
import os
import time


def hold(path: str) -> int:
    """The fd that holds a folder by flock, which is made; -1 where somebody else has it."""
    while True:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BlockingIOError:
            os.close(fd)
            return -1
        except FileNotFoundError:  # it was just removed
            pass
        os.close(fd)


def age(path: str) -> float:
    """Seconds since it was used, 0 for one that is not there."""
    try:
        return time.time() - os.stat(path, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0
