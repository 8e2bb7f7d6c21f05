"""Mounts: mount(2), umount2(2), pivot_root(2), and the fd-based calls of Linux 5.2 and later.

open_tree, fsopen and fsmount give *detached* mounts, which no other process sees and which vanish with the
last fd; move_mount attaches them.
"""

from __future__ import annotations

import errno
import os
from _struct import pack

from estiva.linux import ffi as ctypes
from estiva.linux.libc import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_open_tree,
    SYS_pivot_root,
    check,
    encode,
    encode_optional,
    libc,
    syscall,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_SILENT = 0x8000
MS_POSIXACL = 0x10000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_I_VERSION = 0x800000
MS_STRICTATIME = 0x1000000
MS_LAZYTIME = 0x2000000

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = 0x80000
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_SYMLINKS = 0x10
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1

_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_SET_FD = 5
_FSCONFIG_CMD_CREATE = 6
_FSCONFIG_STRING_MAX = 255
MAX_LOWERDIRS = 500  # the kernel's OVL_MAX_STACK

_mount = libc.mount
_mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_umount2 = libc.umount2
_umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_pivot_root = syscall(ctypes.c_char_p, ctypes.c_char_p)
_open_tree = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_move_mount = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_fsopen = syscall(ctypes.c_char_p, ctypes.c_uint)
_fsconfig = syscall(ctypes.c_int, ctypes.c_uint, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)
_fsmount = syscall(ctypes.c_int, ctypes.c_uint, ctypes.c_uint)
_mount_setattr = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, ctypes.c_char_p, ctypes.c_size_t)


def mount(
    source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """mount(2)."""
    result = _mount(
        encode_optional(source),
        encode(target),
        fstype.encode() if fstype is not None else None,
        flags,
        encode_optional(data),
    )
    if result < 0:
        check(result, *((target,) if source is None else (source, target)))


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(_umount2(encode(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2); (".", ".") stacks the old root on the new one, to be unmounted there."""
    check(_pivot_root(SYS_pivot_root, encode(new_root), encode(put_old)), new_root)


def open_tree(dirfd: int, path: str, flags: int = 0) -> int:
    """open_tree(2), close-on-exec; with OPEN_TREE_CLONE (and AT_RECURSIVE) a detached copy of a mount."""
    return check(_open_tree(SYS_open_tree, dirfd, encode(path), flags | OPEN_TREE_CLOEXEC), path)


def move_mount(from_dirfd: int, from_path: str, to_dirfd: int, to_path: str, flags: int = 0) -> None:
    """move_mount(2). An empty path stands for the fd itself (the F_ and T_EMPTY_PATH flags are added)."""
    if not from_path:
        flags |= MOVE_MOUNT_F_EMPTY_PATH
    if not to_path:
        flags |= MOVE_MOUNT_T_EMPTY_PATH
    check(
        _move_mount(SYS_move_mount, from_dirfd, encode(from_path), to_dirfd, encode(to_path), flags),
        to_path or f"fd {to_dirfd}",
    )


def fsopen(fstype: str) -> int:
    """fsopen(2): a context for a new superblock; close-on-exec."""
    return check(_fsopen(SYS_fsopen, fstype.encode(), FSOPEN_CLOEXEC), fstype)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """fsconfig(2) FSCONFIG_SET_STRING; the kernel takes at most 255 bytes."""
    check(_fsconfig(SYS_fsconfig, fd, _FSCONFIG_SET_STRING, key.encode(), encode(value), 0), f"{key}={value}")


def fsconfig_flag(fd: int, key: str) -> None:
    """fsconfig(2) FSCONFIG_SET_FLAG."""
    check(_fsconfig(SYS_fsconfig, fd, _FSCONFIG_SET_FLAG, key.encode(), None, 0), key)


def fsconfig_fd(fd: int, key: str, value: int) -> None:
    """fsconfig(2) FSCONFIG_SET_FD."""
    check(_fsconfig(SYS_fsconfig, fd, _FSCONFIG_SET_FD, key.encode(), None, value), f"{key}=fd {value}")


def fsconfig_create(fd: int) -> None:
    """fsconfig(2) FSCONFIG_CMD_CREATE. The kernel's own words (the context's log) become the error's text."""
    if _fsconfig(SYS_fsconfig, fd, _FSCONFIG_CMD_CREATE, None, None, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, "; ".join([os.strerror(number), *context_log(fd)]))


def context_log(fd: int) -> list[str]:
    """What the kernel has to say about a filesystem context: its messages, oldest first."""
    messages: list[str] = []
    while len(messages) < 8:
        try:
            messages.append(os.read(fd, 1024).decode(errors="replace").strip()[2:])
        except OSError:
            break
    return messages


def fsmount(fd: int, attributes: int = 0) -> int:
    """fsmount(2): a detached mount of a created context; close-on-exec. `attributes`: MOUNT_ATTR_*."""
    return check(_fsmount(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes), f"fd {fd}")


def mount_setattr(
    dirfd: int,
    path: str,
    set: int = 0,
    clear: int = 0,
    propagation: int = 0,
    flags: int = 0,
    userns_fd: int = 0,
) -> None:
    """mount_setattr(2): change MOUNT_ATTR_* of one mount, or with AT_RECURSIVE of a whole tree."""
    if not path:
        flags |= AT_EMPTY_PATH
    attributes = pack("@4Q", set, clear, propagation, userns_fd)
    check(
        _mount_setattr(SYS_mount_setattr, dirfd, encode(path), flags, attributes, 32), path or f"fd {dirfd}"
    )


def clone_tree(path: str, *, recursive: bool = False, dirfd: int = AT_FDCWD) -> int:
    """A detached copy of what is mounted at `path`; `recursive` brings the mounts below it along."""
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return open_tree(dirfd, path, flags)


def new_filesystem(fstype: str, options: Sequence[tuple[str, str]] = (), attributes: int = 0) -> int:
    """A detached mount of a new filesystem: fsopen, fsconfig, fsmount. A key with value "" is a flag."""
    context = fsopen(fstype)
    try:
        for key, value in options:
            if value:
                fsconfig_string(context, key, value)
            else:
                fsconfig_flag(context, key)
        fsconfig_create(context)
        return fsmount(context, attributes)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or fstype) from None
    finally:
        os.close(context)


def overlay(
    lowerdirs: Sequence[str],
    upper: str | None,
    work: str | None,
    *,
    readonly: bool = False,
    options: Sequence[tuple[str, str]] = (),
    source: str = "overlay",
) -> int:
    """A detached overlay mount (its fd): `lowerdirs` topmost first, `upper` and `work` on one filesystem.

    `source` is what the lists of mounts show.

    A single lowerdir without an upper is no overlay at all but a read-only copy of that mount. Up to 500
    layers (the kernel's limit), with paths of any length, go by `lowerdir+` (Linux 6.7); older kernels get
    one string, which must fit in a page. Without an upper the result is read-only. Raises OSError with the
    kernel's own words.
    """
    attributes = MOUNT_ATTR_RDONLY if readonly or upper is None else 0
    if upper is None and len(lowerdirs) == 1:
        fd = clone_tree(lowerdirs[0])
        try:
            mount_setattr(fd, "", MOUNT_ATTR_RDONLY)
        except BaseException:
            os.close(fd)
            raise
        return fd
    context = fsopen("overlay")
    held: list[int] = []
    try:
        for position, directory in enumerate(lowerdirs):
            try:
                fsconfig_string(context, "lowerdir+", _short(directory, held))
            except OSError as error:
                if error.errno == errno.EINVAL and position == 0 and not _has_lowerdir_append():
                    return _overlay_by_string(lowerdirs, upper, work, attributes, options)
                if position == MAX_LOWERDIRS:
                    raise OSError(errno.E2BIG, "too many layers", f"{len(lowerdirs)} layers") from None
                raise
        if upper is not None and work is not None:
            fsconfig_string(context, "upperdir", _short(upper, held))
            fsconfig_string(context, "workdir", _short(work, held))
        for key, value in (("source", source), *options):
            if value:
                fsconfig_string(context, key, value)
            else:
                fsconfig_flag(context, key)
        fsconfig_create(context)
        return fsmount(context, attributes)
    except OSError as error:
        what = error.filename or f"overlay of {len(lowerdirs)} layers" + (
            f" with upper {upper}" if upper else ""
        )
        raise OSError(error.errno, error.strerror, what) from None
    finally:
        os.close(context)
        for fd in held:
            os.close(fd)


def _short(path: str, held: list[int]) -> str:
    """`path`, or a short name for it where the kernel's 255 bytes are too few."""
    if len(os.fsencode(path)) <= _FSCONFIG_STRING_MAX:
        return path
    held.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return f"/proc/self/fd/{held[-1]}"


def _has_lowerdir_append() -> bool:
    """Linux 6.7 and later take lowerdirs one by one; asked only after a refusal, to tell its reason."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(c for c in minor if c.isdigit()) or 0)) >= (6, 7)


def _overlay_by_string(
    lowerdirs: Sequence[str],
    upper: str | None,
    work: str | None,
    attributes: int,
    options: Sequence[tuple[str, str]],
) -> int:
    """overlay() before Linux 6.7: mount(2) over the upper (or topmost) directory, cloned, then undone."""

    def escape(path: str) -> str:
        return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")

    data = "lowerdir=" + ":".join(escape(d) for d in lowerdirs)
    if upper is not None and work is not None:
        data += f",upperdir={escape(upper)},workdir={escape(work)}"
    for key, value in options:
        data += f",{key}={value}" if value else f",{key}"
    if len(data) >= os.sysconf("SC_PAGESIZE"):
        raise OSError(errno.E2BIG, "too many layers for this kernel", f"{len(lowerdirs)} layers")
    where = upper or lowerdirs[0]
    mount("overlay", where, "overlay", 0, data)
    try:
        fd = clone_tree(where)
    finally:
        umount2(where, MNT_DETACH)
    if attributes:
        mount_setattr(fd, "", attributes)
    return fd
