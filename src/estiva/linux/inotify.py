"""Waiting for what others do to a file: inotify(7)."""

from __future__ import annotations

import os

from estiva.linux import ffi as ctypes
from estiva.linux.libc import check, encode, libc

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_MOVE_SELF = 0x800
IN_DELETE_SELF = 0x400

_inotify_init1 = libc.inotify_init1
_inotify_init1.argtypes = (ctypes.c_int,)
_inotify_add_watch = libc.inotify_add_watch
_inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def inotify_init1() -> int:
    """A new instance, not blocking and closed on exec; the caller's to close. Raises OSError: EMFILE where a
    user has too many.
    """
    return check(_inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Have `fd` readable once one of `mask` befalls the file; the watch's number. Raises OSError."""
    return check(_inotify_add_watch(fd, encode(path), mask), path)


def watch_moved(path: str) -> int:
    """An fd that becomes readable when the file at `path` is renamed; -1 where there are no watches left."""
    fd = -1
    try:
        fd = inotify_init1()
        inotify_add_watch(fd, path, IN_MOVE_SELF)
    except OSError:
        if fd >= 0:
            os.close(fd)
        return -1
    return fd
