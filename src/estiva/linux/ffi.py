"""What this package uses of ctypes, taken from its C half.

`import ctypes` costs 2-3 ms of a cold start, for Python classes that nobody needs here; the C module
`_ctypes` that does the work costs 0.5. Names and meanings are those of ctypes, which is used itself where
the implementation is not CPython.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import (
        CDLL,
        PyDLL,
        addressof,
        c_char,
        c_char_p,
        c_int,
        c_long,
        c_size_t,
        c_uint,
        c_ulong,
        c_void_p,
        create_string_buffer,
        get_errno,
        memmove,
        memset,
        set_errno,
    )
elif sys.implementation.name != "cpython":
    from ctypes import *  # noqa: F403
else:
    from _ctypes import (
        FUNCFLAG_CDECL,
        FUNCFLAG_PYTHONAPI,
        FUNCFLAG_USE_ERRNO,
        CFuncPtr,
        _memmove_addr,
        _memset_addr,
        _SimpleCData,
        addressof,
        dlopen,
        get_errno,
        set_errno,
    )

    class c_char(_SimpleCData):
        _type_ = "c"

    class c_char_p(_SimpleCData):
        _type_ = "z"

    class c_void_p(_SimpleCData):
        _type_ = "P"

    class c_int(_SimpleCData):
        _type_ = "i"

    class c_uint(_SimpleCData):
        _type_ = "I"

    class c_long(_SimpleCData):
        _type_ = "l"

    class c_ulong(_SimpleCData):
        _type_ = "L"

    c_size_t = c_ulong

    class CDLL:
        """A loaded library; the GIL is released around its calls."""

        _flags = FUNCFLAG_CDECL

        def __init__(self, name, use_errno=False):
            self._name = name
            self._handle = dlopen(name, 0)
            flags = self._flags | (FUNCFLAG_USE_ERRNO if use_errno else 0)
            self._function = type("Function", (CFuncPtr,), {"_flags_": flags, "_restype_": c_int})

        def __getattr__(self, name):
            function = self[name]
            setattr(self, name, function)
            return function

        def __getitem__(self, name):
            function = self._function((name, self))
            function.__name__ = name
            return function

    class PyDLL(CDLL):
        """A loaded library whose calls keep the GIL, and raise what the Python API has set."""

        _flags = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI

    def _at(address, *argtypes):
        kind = {"_flags_": FUNCFLAG_CDECL, "_restype_": c_void_p, "_argtypes_": argtypes}
        return type("Function", (CFuncPtr,), kind)(address)

    memmove = _at(_memmove_addr, c_void_p, c_void_p, c_size_t)
    memset = _at(_memset_addr, c_void_p, c_int, c_size_t)

    def create_string_buffer(init, size=None):
        """A mutable array of c_char: of `init` bytes, or holding the bytes `init`."""
        if isinstance(init, bytes):
            buffer = (c_char * (len(init) + 1 if size is None else size))()
            buffer.value = init
            return buffer
        return (c_char * init)()


__all__ = [
    "CDLL",
    "PyDLL",
    "addressof",
    "c_char",
    "c_char_p",
    "c_int",
    "c_long",
    "c_size_t",
    "c_uint",
    "c_ulong",
    "c_void_p",
    "create_string_buffer",
    "get_errno",
    "memmove",
    "memset",
    "set_errno",
]
