"""Of sockets what Python's module can't do: connect(2) to no address."""

from __future__ import annotations

from _socket import AF_UNSPEC
from _struct import pack

from estiva.linux import ffi as ctypes
from estiva.linux.libc import check, libc

_connect = libc.connect
_connect.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def disconnect(fd: int) -> None:
    """connect(2) with AF_UNSPEC: an IP socket as it was when new, with no port. Raises OSError."""
    check(_connect(fd, pack("@H14x", AF_UNSPEC), 16), f"socket {fd}")
