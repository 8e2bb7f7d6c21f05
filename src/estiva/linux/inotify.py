"""inotify(7), as far as it tells that a file has gone from its place."""

from __future__ import annotations

from estiva.linux import ffi as ctypes
from estiva.linux.libc import encode, libc

_IN_NONBLOCK, _IN_CLOEXEC = 0o4000, 0o2000000
_IN_MOVE_SELF = 0x800

_init1 = libc.inotify_init1
_init1.argtypes = (ctypes.c_int,)
_add_watch = libc.inotify_add_watch
_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def watch_moved(path: str) -> int:
    """An fd that becomes readable when the file at `path` is renamed; -1 where there are no watches left."""
    fd: int = _init1(_IN_NONBLOCK | _IN_CLOEXEC)
    if fd >= 0 and _add_watch(fd, encode(path), _IN_MOVE_SELF) < 0:
        import os

        os.close(fd)
        return -1
    return fd
