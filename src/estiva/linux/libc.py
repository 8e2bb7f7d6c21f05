"""The C library through ctypes, the syscall numbers, and the one way an error comes back.

Every wrapper in this package is named after its syscall and raises OSError(errno, strerror, object). `CDLL`
releases the GIL around a call, `PyDLL` keeps it: clone3 uses the latter, so that no thread gets in between.
"""

from __future__ import annotations

import errno
import os

from estiva.linux import ffi as ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libpython = ctypes.PyDLL(None, use_errno=True)

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000

_X86_64 = os.uname().machine == "x86_64"

# Numbers from 424 on are the same on every architecture; older ones are not.
SYS_pivot_root = 155 if _X86_64 else 41
SYS_seccomp = 317 if _X86_64 else 277
SYS_keyctl = 250 if _X86_64 else 219
SYS_set_mempolicy = 238 if _X86_64 else 237
SYS_ioprio_set = 251 if _X86_64 else 30
SYS_sched_setattr = 314 if _X86_64 else 274
SYS_finit_module = 313 if _X86_64 else 273
SYS_memfd_create = 319 if _X86_64 else 279
SYS_execve = 59 if _X86_64 else 221
SYS_execveat = 322 if _X86_64 else 281
SYS_openat = 257 if _X86_64 else 56
SYS_getcwd = 79 if _X86_64 else 17
SYS_getsockname = 51 if _X86_64 else 204
SYS_sendmsg = 46 if _X86_64 else 211
SYS_read = 0 if _X86_64 else 63
SYS_write = 1 if _X86_64 else 64
SYS_renameat2 = 316 if _X86_64 else 276
SYS_pidfd_send_signal = 424
SYS_open_tree = 428
SYS_move_mount = 429
SYS_fsopen = 430
SYS_fsconfig = 431
SYS_fsmount = 432
SYS_pidfd_open = 434
SYS_clone3 = 435
SYS_close_range = 436
SYS_openat2 = 437
SYS_pidfd_getfd = 438
SYS_mount_setattr = 442


def syscall(*argtypes: Any) -> Any:
    """A function object for syscall(2) whose first argument is the number and the rest are `argtypes`.

    Each gets argtypes of its own once, at import: pointers and 64-bit values would else be cut to an int.
    """
    function = libc["syscall"]
    function.argtypes = (ctypes.c_long, *argtypes)
    function.restype = ctypes.c_long
    return function


def check(result: int, *objects: object) -> int:
    """`result`, unless it is negative: then OSError with errno, its words and up to two objects."""
    if result < 0:
        number = ctypes.get_errno()
        names = [os.fsdecode(o) if isinstance(o, bytes) else o for o in objects]
        if len(names) > 1:
            raise OSError(number, os.strerror(number), names[0], None, names[1])
        raise OSError(number, os.strerror(number), *names)
    return result


def encode(path: str | bytes) -> bytes:
    """A path as the kernel takes it. A NUL would silently cut it short, so it is refused with EINVAL."""
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise OSError(errno.EINVAL, "the name holds a NUL byte", os.fsdecode(raw))
    return raw


def encode_optional(path: str | bytes | None) -> bytes | None:
    return None if path is None else encode(path)
