"""Copying a tree between two roots by fd: a new volume filled from the image, and the like (K1).

Nothing is resolved by the kernel outside of the two roots: the top is found with openat2 in its root, and
below it every step is one name opened with O_NOFOLLOW.
"""

from __future__ import annotations

import errno
import os
import stat

from estiva.linux import fs

CHUNK = 1 << 20


def copy_up(rootfs: int, path: str, target: str) -> None:
    """Copy the directory `path` of `rootfs` into the empty host directory `target`, owner, mode and times
    too.

    Does nothing if the image has no directory there or `target` isn't empty (Docker's rule).
    """
    if os.listdir(target):
        return
    try:
        source = fs.open_in_root(rootfs, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return
        raise
    destination = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        copy_tree(source, destination)
    finally:
        os.close(source)
        os.close(destination)


def copy_tree(
    source: int, target: int, *, special: bool = True, owner: tuple[int, int] | None = None
) -> None:
    """Copy what the directory fd `source` holds into `target`, then its own owner, mode and times.

    All is `owner`'s, if given. Without `special`, device nodes and fifos are left out: between a container
    and the host they mean harm.
    """
    for entry in os.scandir(source):
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(entry.name, 0o700, dir_fd=target)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(entry.name, flags, dir_fd=source)
            outer = os.open(entry.name, flags, dir_fd=target)
            try:
                copy_tree(inner, outer, special=special, owner=owner)
            finally:
                os.close(inner)
                os.close(outer)
        elif special or stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            copy_node(source, target, entry.name, status, owner=owner)
    dress(target, os.fstat(source), source, owner)


def copy_node(
    source: int,
    target: int,
    name: str,
    status: os.stat_result,
    as_name: str | None = None,
    owner: tuple[int, int] | None = None,
) -> None:
    """One entry that is not a directory, under `as_name` if given."""
    new = as_name or name
    uid, gid = owner or (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
    elif stat.S_ISREG(status.st_mode):
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            reader = fs.reopen_regular(found, name)
        finally:
            os.close(found)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            writer = os.open(new, flags, 0o600, dir_fd=target)
            try:
                copy_bytes(reader, writer)
                dress(writer, status, reader, owner)
            finally:
                os.close(writer)
        finally:
            os.close(reader)
        return
    elif not stat.S_ISSOCK(status.st_mode):
        os.mknod(new, status.st_mode, status.st_rdev, dir_fd=target)
    else:
        return
    os.chown(new, uid, gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(new, stat.S_IMODE(status.st_mode), dir_fd=target)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def copy_bytes(reader: int, writer: int) -> None:
    """All that is left of one file into another, in the kernel where it can."""
    try:
        while os.copy_file_range(reader, writer, CHUNK):
            pass
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        while os.sendfile(writer, reader, None, CHUNK):
            pass


def dress(fd: int, status: os.stat_result, source: int, owner: tuple[int, int] | None = None) -> None:
    """Give an open file the owner, or `owner`, mode, extended attributes and times of another."""
    os.fchown(fd, *(owner or (status.st_uid, status.st_gid)))
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if name.startswith(("user.", "security.capability")):
            os.setxattr(fd, name, os.getxattr(source, name))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
