"""The ids that the kernel checks and gives files by: setfsuid(2), setfsgid(2)."""

from __future__ import annotations

import errno
import os

from estiva.linux import ffi as ctypes
from estiva.linux import process
from estiva.linux.libc import libc

_setfsuid = libc.setfsuid
_setfsuid.argtypes = (ctypes.c_uint,)
_setfsgid = libc.setfsgid
_setfsgid.argtypes = (ctypes.c_uint,)
_ASK = 0xFFFFFFFF  # no id: changes nothing, and the present one is the result


def take(uid: int, gid: int) -> None:
    """Make these the calling thread's, and keep all its capabilities. Raises OSError.

    The kernel takes the capabilities that concern files out of the effective set of who leaves fsuid 0
    (capabilities(7)); they are put back. The process is not dumpable afterwards (PR_SET_DUMPABLE).
    """
    effective, permitted, inheritable = process.capget()
    _setfsgid(gid)
    _setfsuid(uid)
    if (_setfsuid(_ASK) & _ASK, _setfsgid(_ASK) & _ASK) != (uid, gid):  # the calls themselves tell no error
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), f"setfsuid {uid}:{gid}")
    process.capset(effective, permitted, inheritable)
