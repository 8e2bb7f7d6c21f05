"""Paths and filesystems: openat2(2) and what is built on it, renameat2(2), fstatfs(2).

A path that anyone else may be changing is resolved here, once, to an fd, and only the fd is used after (K1).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from _struct import pack

from estiva.linux import ffi as ctypes
from estiva.linux.libc import AT_FDCWD, SYS_openat2, SYS_renameat2, check, encode, libc, syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

O_PATH = os.O_PATH
O_DIRECTORY = os.O_DIRECTORY
O_CLOEXEC = os.O_CLOEXEC
O_NOFOLLOW = os.O_NOFOLLOW

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

# statfs(2) f_type
BPF_FS_MAGIC = 0xCAFE4A11
BTRFS_SUPER_MAGIC = 0x9123683E
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
DEBUGFS_MAGIC = 0x64626720
DEVPTS_SUPER_MAGIC = 0x1CD1
EROFS_SUPER_MAGIC = 0xE0F5E1E2
EXT4_SUPER_MAGIC = 0xEF53
NFS_SUPER_MAGIC = 0x6969
OVERLAYFS_SUPER_MAGIC = 0x794C7630
PROC_SUPER_MAGIC = 0x9FA0
SECURITYFS_MAGIC = 0x73636673
SELINUX_MAGIC = 0xF97CFF8C
SYSFS_MAGIC = 0x62656572
TMPFS_MAGIC = 0x01021994
TRACEFS_MAGIC = 0x74726163
XFS_SUPER_MAGIC = 0x58465342
# configfs, pstore, efivarfs, mqueue, binfmt_misc, fusectl, resctrl, nsfs: linux/magic.h and its users
_OTHERS = (0x62656570, 0x6165676C, 0xDE5E81E4, 0x19800202, 0x42494E4D, 0x65735543, 0x7655821, 0x6E736673)

# What looks like a regular file there is the kernel speaking: to read it may block (/proc/kmsg), use
# something up, or tell root what a container must not know.
KERNEL_FILESYSTEMS = frozenset(
    (BPF_FS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, DEVPTS_SUPER_MAGIC,
     PROC_SUPER_MAGIC, SECURITYFS_MAGIC, SELINUX_MAGIC, SYSFS_MAGIC, TRACEFS_MAGIC, *_OTHERS)
)  # fmt: skip

FALLOC_FL_KEEP_SIZE = 1

_MAX_RETRIES = 128
_MAX_LINKS = 40

_openat2 = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_renameat2 = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_fallocate = libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
_fstatfs = libc.fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_void_p)


def openat2(dirfd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2) with O_CLOEXEC added. Raises OSError.

    With RESOLVE_IN_ROOT or RESOLVE_BENEATH the kernel answers EAGAIN when a rename anywhere on the machine
    might have raced with a `..`: it is tried again a bounded number of times.
    """
    how = pack("@3Q", flags | O_CLOEXEC, mode, resolve)
    name = encode(path)
    for _ in range(_MAX_RETRIES):
        fd: int = _openat2(SYS_openat2, dirfd, name, how, 24)
        if fd >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return check(fd, path)


def preallocate(fd: int, size: int) -> None:
    """fallocate(2) of the first `size` bytes, where the filesystem has it; the file's size stays. Raises
    OSError: ENOSPC, EDQUOT, EFBIG."""
    if _fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINTR):
            raise OSError(number, os.strerror(number))


def open_in_root(rootfd: int, path: str | bytes, flags: int, mode: int = 0, *, follow: bool = True) -> int:
    """Open `path` as if `rootfd` were the root: symlinks and `..` stay inside, magic links are refused.

    `follow=False` refuses a symlink anywhere in the path (ELOOP).
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    if not follow:
        resolve |= RESOLVE_NO_SYMLINKS
    return openat2(rootfd, path, flags, mode, resolve)


def mkdir_in_root(
    rootfd: int, path: str, mode: int = 0o755, uid: int = -1, gid: int = -1, *, follow: bool = True
) -> int:
    """An O_PATH fd of the directory `path` inside `rootfd`, made with its parents where missing.

    Each step goes through an fd, so whoever swaps a component for a symlink only leads us elsewhere inside.
    A symlink to nothing is followed and its target made. What is made gets exactly `mode` (no umask), but for
    the set-group-id bit that its parent passes on, and uid and gid if given. `follow=False` refuses symlinks.
    Raises OSError (ENOTDIR, ELOOP, EROFS).
    """
    flags = O_PATH | O_DIRECTORY
    try:
        return open_in_root(rootfd, path, flags, follow=follow)
    except FileNotFoundError:
        pass
    todo = [part for part in path.split("/")[::-1] if part not in ("", ".")]
    done: list[str] = []
    links = 0
    fd = -1
    if todo and ".." not in todo:  # as a rule the last step alone is missing
        try:
            fd = open_in_root(rootfd, "/".join(todo[:0:-1]) or "/", flags, follow=follow)
            todo, done = todo[:1], todo[:0:-1]
        except FileNotFoundError:
            pass
    if fd < 0:
        fd = open_in_root(rootfd, "/", flags)
    try:
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":  # after something missing it has no meaning but the textual one
                del done[-1:]
                child = open_in_root(rootfd, "/".join(done) or "/", flags, follow=follow)
            else:
                done.append(part)
                try:
                    child = open_in_root(rootfd, "/".join(done), flags, follow=follow)
                except FileNotFoundError:
                    made = _mkdir_step(fd, part, path, mode, uid, gid)
                    if isinstance(made, int):
                        child = made
                    else:
                        links += 1
                        if links > _MAX_LINKS or not follow:
                            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
                        todo += made.split("/")[::-1]
                        del done[0 if made.startswith("/") else -1 :]
                        child = open_in_root(rootfd, "/".join(done) or "/", flags, follow=follow)
            os.close(fd)
            fd = child
    except BaseException:
        os.close(fd)
        raise
    return fd


def _mkdir_step(parent: int, name: str, path: str, mode: int, uid: int, gid: int) -> int | str:
    """mkdir `name` in the directory fd `parent`: its O_PATH fd; the target where a symlink to nothing is."""
    made = True
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        try:
            return os.readlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        made = False  # somebody else made a directory just now
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    fd = openat2(parent, name, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH)
    try:
        own = f"/proc/self/fd/{fd}"
        given = stat.S_IMODE(os.fstat(fd).st_mode)
        if made and given & ~stat.S_ISGID != mode & ~stat.S_ISGID:
            os.chmod(own, mode | given & stat.S_ISGID)
        if made and (uid >= 0 or gid >= 0):
            os.chown(own, uid, gid)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_in_root(rootfd: int, path: str, mode: int = 0o644) -> int:
    """An O_PATH fd of the file `path` inside `rootfd`, made empty with its parents where missing.

    Whatever is there already is not opened, so that a FIFO or a device does no harm. A symlink to nothing is
    followed and its target made. Raises OSError.
    """
    for _ in range(_MAX_LINKS):
        try:
            return open_in_root(rootfd, path, O_PATH)
        except FileNotFoundError:
            pass
        directory, _, name = path.rstrip("/").rpartition("/")
        parent = mkdir_in_root(rootfd, directory or "/")
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_NONBLOCK | O_NOFOLLOW
            os.close(openat2(parent, name, flags, mode, RESOLVE_BENEATH))
            return openat2(parent, name, O_PATH | O_NOFOLLOW, 0, RESOLVE_BENEATH)
        except FileExistsError:
            try:
                link = os.readlink(name, dir_fd=parent)
            except OSError:
                continue
            path = link if link.startswith("/") else f"{directory}/{link}"
        finally:
            os.close(parent)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def renameat2(
    olddirfd: int, oldpath: str | bytes, newdirfd: int, newpath: str | bytes, flags: int = 0
) -> None:
    """renameat2(2)."""
    check(
        _renameat2(SYS_renameat2, olddirfd, encode(oldpath), newdirfd, encode(newpath), flags),
        oldpath,
        newpath,
    )


def rename_exchange(first: str, second: str) -> None:
    """Swap two paths atomically (RENAME_EXCHANGE)."""
    renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE)


def fstatfs(fd: int) -> int:
    """fstatfs(2): f_type, the filesystem's magic number, of any fd (O_PATH too)."""
    buffer = ctypes.create_string_buffer(256)  # struct statfs is 120 bytes; f_type comes first, as a long
    check(_fstatfs(fd, buffer), fd)
    return int.from_bytes(buffer.raw[:4], sys.byteorder)


def is_kernel(fd: int) -> bool:
    """Whether the file or directory of any fd is the kernel's own: of procfs, sysfs and the like."""
    return fstatfs(fd) in KERNEL_FILESYSTEMS


def memfd(name: str, data: bytes = b"", *, seal: bool = False) -> int:
    """memfd_create(2) holding `data`, at offset 0; `seal` makes it immutable (F_ADD_SEALS)."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
        if seal:
            import fcntl

            seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
    return fd


def reopen_regular(fd: int, what: str = "", *, kernel: bool = False) -> int:
    """Open what the O_PATH fd `fd` stands for, for reading, if it is a file with content of its own (K21).

    A name may stand for something else a moment after it was looked at, so look at the fd, then open the fd:
    to open a device node is to act on the device, and the kernel's own files are no content, save with
    `kernel` where nobody but the caller chose them. Nothing blocks, not even another's lease on the file
    (fcntl(2), F_SETLEASE: EAGAIN). Raises OSError with EINVAL for anything else. /proc must be the host's.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", what)
    if not kernel and is_kernel(fd):
        raise OSError(errno.EINVAL, "the kernel's own file, not one with content", what)
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def read_regular(fd: int, limit: int, what: str = "") -> bytes:
    """The whole content of what the O_PATH fd `fd` stands for. Raises OSError as `reopen_regular`, and EFBIG
    when it is more than `limit` bytes (K13).
    """
    reader = reopen_regular(fd, what)
    try:
        size = os.fstat(reader).st_size
        chunks: list[bytes] = []
        left = limit + 1 if size <= limit else 0
        while left > 0:
            chunk = os.read(reader, min(left, size + 1))  # at once, as a rule: one copy in memory
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(reader)
    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG).lower(), what)


def read_in_root(rootfd: int, path: str, limit: int) -> bytes:
    """`read_regular` of a path inside `rootfd`, symlinks and all."""
    found = open_in_root(rootfd, path, O_PATH)
    try:
        return read_regular(found, limit, path)
    finally:
        os.close(found)
