"""The C library's heap (mallopt(3)), for work that goes through many buffers of a megabyte."""

from __future__ import annotations

from estiva.linux import ffi as ctypes
from estiva.linux.libc import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
DEFAULT = 128 << 10  # both thresholds, bytes
KEPT = 256 << 20  # bytes free at the top of a heap before it shrinks
LARGEST = 32 << 20  # bytes; glibc refuses more
ARENAS = 2  # heaps that threads share: with one for each thread, each grows for itself
_arenas = 0  # what there are otherwise; 0: as many as the C library wants


class Kept:
    """A with-block in which freed memory stays with the process, to be given back at its end.

    By default the C library has each buffer of that size mapped anew, and the kernel clears its pages again:
    a tenth of a pull's time. The settings hold for the whole process; no effect where there are none.
    """

    def __enter__(self) -> None:
        _set(KEPT, LARGEST, _arenas or ARENAS)

    def __exit__(self, *exception: object) -> None:
        _set(DEFAULT, DEFAULT, _arenas)
        trim = _function("malloc_trim", ctypes.c_size_t)
        if trim is not None:
            trim(0)


def keep(size: int) -> None:
    """From now on, up to `size` bytes of freed memory stay with the process, in blocks of that size too."""
    _set(size, size, ARENAS)


def share() -> None:
    """Have the threads that are begun from now on share one heap. Of several each keeps what its threads have
    freed: in a server of many threads a fifth of its memory."""
    global _arenas
    _arenas = 1
    mallopt = _function("mallopt", ctypes.c_int, ctypes.c_int)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, _arenas)


def _set(trim: int, mmap: int, arenas: int) -> None:
    mallopt = _function("mallopt", ctypes.c_int, ctypes.c_int)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, trim)
        mallopt(M_MMAP_THRESHOLD, mmap)
        mallopt(M_ARENA_MAX, arenas)


def _function(name: str, *argtypes: Any) -> Any:
    """A function of glibc's, None in another C library."""
    try:
        function = libc[name]
    except AttributeError:
        return None
    function.argtypes = argtypes
    return function
