"""maskedPaths, readonlyPaths and sysctls (runtime-spec config-linux.md), each through a verified fd (K5)."""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import InvalidInput
from estiva.linux import fs
from estiva.linux import mount as mnt
from estiva.linux.libc import AT_RECURSIVE
from estiva.runtime.process import null
from estiva.runtime.procfs import open_proc

_KERNEL_FILESYSTEMS = {"proc": fs.PROC_SUPER_MAGIC, "sys": fs.SYSFS_MAGIC}
_ATTRIBUTES = mnt.MOUNT_ATTR_NOSUID | mnt.MOUNT_ATTR_NODEV | mnt.MOUNT_ATTR_NOEXEC


def _open(root: int, path: str) -> int | None:
    """An O_PATH fd of a path to guard, or None when there is none.

    What is said to be in /proc or /sys must be in a procfs or sysfs: a directory that an image or a volume
    put there would be guarded in vain while the real one is elsewhere.
    """
    top = path.lstrip("/").split("/", 1)[0]
    try:
        fd = fs.open_in_root(root, path, os.O_PATH, follow=top not in _KERNEL_FILESYSTEMS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    wanted = _KERNEL_FILESYSTEMS.get(top)
    if wanted is not None:
        magic = fs.fstatfs(fd)
        # A mount on top of a part of it (cgroups under /sys, a read-only /proc/sys) is of another type.
        parts = (fs.TMPFS_MAGIC, fs.CGROUP_SUPER_MAGIC, fs.CGROUP2_SUPER_MAGIC)
        if magic != wanted and not (magic in parts and _magic(root, top) == wanted):
            os.close(fd)
            raise OSError(errno.EXDEV, f"it is not in a {top}fs", path)
    return fd


def _magic(root: int, name: str) -> int:
    """The type of the filesystem of a directory of the root itself."""
    fd = fs.open_in_root(root, name, os.O_PATH, follow=False)
    try:
        return fs.fstatfs(fd)
    finally:
        os.close(fd)


def mask(root: int, paths: list[str]) -> None:
    """Hide each path: a file under /dev/null, a directory under an empty read-only tmpfs shared by all.

    The null device is the host's, known by its number; the container's own could be swapped. It is mounted
    read-only, so that nobody inside changes its mode or owner; it can be written to. Raises OSError.
    """
    sources: dict[bool, int] = {}  # by "is a directory": an fd of what is put over it
    try:
        for path in paths:
            target = _open(root, path)
            if target is None:
                continue
            try:
                directory = stat.S_ISDIR(os.fstat(target).st_mode)
                if directory not in sources:
                    sources[directory] = _empty_directory(target) if directory else _null_device()
                    if directory:
                        continue
                copy = mnt.clone_tree("", dirfd=sources[directory])
                try:
                    if not directory:
                        mnt.mount_setattr(copy, "", mnt.MOUNT_ATTR_RDONLY)
                    mnt.move_mount(copy, "", target, "")
                finally:
                    os.close(copy)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from error
            finally:
                os.close(target)
    finally:
        for fd in sources.values():
            os.close(fd)


def _null_device() -> int:
    fd = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)
    if not null.is_null(fd):
        os.close(fd)
        raise OSError(errno.ENODEV, "it is not the null device", "/dev/null")
    return fd


def _empty_directory(target: int) -> int:
    """Mount an empty read-only tmpfs over `target` and return its fd, for copies of it."""
    fd = mnt.new_filesystem(
        "tmpfs",
        (("nr_blocks", "1"), ("nr_inodes", "1"), ("mode", "755")),
        mnt.MOUNT_ATTR_RDONLY | _ATTRIBUTES,
    )
    try:
        mnt.move_mount(fd, "", target, "")
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_readonly(root: int, paths: list[str]) -> None:
    """Bind each path over itself, read-only with all below. Raises OSError."""
    for path in paths:
        target = _open(root, path)
        if target is None:
            continue
        try:
            copy = mnt.clone_tree("", recursive=True, dirfd=target)
            try:
                mnt.mount_setattr(copy, "", mnt.MOUNT_ATTR_RDONLY | _ATTRIBUTES, flags=AT_RECURSIVE)
                mnt.move_mount(copy, "", target, "")
            finally:
                os.close(copy)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            os.close(target)


# Sysctls that belong to a namespace. All others are the machine's, and not a container's to set.
_IPC = frozenset(
    f"kernel/{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def plan_sysctls(sysctls: dict[str, str], namespaces: set[str]) -> list[tuple[str, str]]:
    """(path below /proc/sys, value) for linux.sysctl. Raises InvalidInput for what is not namespaced.

    `namespaces` are those that the container doesn't share with the host.
    """
    result = []
    for key, value in sysctls.items():
        # sysctl(8): either separator; the first one met says which, so that names may hold the other.
        dot, slash = key.find("."), key.find("/")
        if dot >= 0 and (slash < 0 or dot < slash):
            path = key.translate({ord("."): "/", ord("/"): "."})
        else:
            path = key
        parts = path.split("/")
        if "" in parts or "." in parts or ".." in parts or "\0" in path:
            raise InvalidInput(f"{key!r} is not the name of a sysctl")
        if path in _IPC or path.startswith("fs/mqueue/"):
            needed = "ipc"
        elif path.startswith("net/"):
            needed = "network"
        elif path in ("kernel/domainname", "kernel/hostname"):
            needed = "uts"
        else:
            raise InvalidInput(
                f"the sysctl {key} is the machine's, not a container's",
                hint="net.*, fs.mqueue.* and the kernel's ipc sysctls can be set",
            )
        if needed not in namespaces:
            raise InvalidInput(f"the sysctl {key} can't be set while the {needed} namespace is the host's")
        result.append((path, str(value)))
    return result


def write_sysctls(sysctls: list[tuple[str, str]]) -> None:
    """Write them through the host's /proc, which shows the caller's namespaces. Raises OSError."""
    for path, value in sysctls:
        fd = open_proc(f"/proc/sys/{path}")
        try:
            os.write(fd, value.encode())
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror} for the value {value!r}", path) from None
        finally:
            os.close(fd)
