"""Copying a tree between two roots by fd: a new volume filled from the image, and the like (K1).

Nothing is resolved by the kernel outside of the two roots: the top is found with openat2 in its root, and
below it every step is one name opened with O_NOFOLLOW.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from estiva.errors import InvalidInput, oneline
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


class Terms:
    """On what terms files go from one side to the other.

    special   device nodes and fifos too; between a container and the host they mean harm, and are left out
    owner     whose all becomes; None: whose it was
    plain     for the host: all is the caller's, without setuid, setgid and capabilities (K21)
    merge     what is there already stays: folders get more in them, other files are replaced by name
    kernel    procfs, sysfs and the like too, where the caller has named them; else what is there is left out
    """

    __slots__ = ("special", "owner", "plain", "merge", "kernel")

    def __init__(
        self,
        *,
        special: bool = False,
        owner: tuple[int, int] | None = None,
        plain: bool = False,
        merge: bool = False,
        kernel: bool = False,
    ) -> None:
        self.special = special
        self.owner = owner
        self.plain = plain
        self.merge = merge
        self.kernel = kernel

    def own(self, name: str | int, status: os.stat_result, at: int | None = None) -> None:
        """chown(2) of a name in the directory `at`, or of an fd."""
        if not self.plain:
            uid, gid = self.owner or (status.st_uid, status.st_gid)
            os.chown(name, uid, gid, dir_fd=at, follow_symlinks=at is None)

    def clear(self, name: str, at: int) -> None:
        """Make room for a file that is no folder. Raises InvalidInput where a folder is."""
        if not self.merge:
            return
        try:
            os.unlink(name, dir_fd=at)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno == errno.EISDIR:
                raise InvalidInput(f"a folder is where the file {oneline(name)} goes") from None
            raise

    def enter(self, name: str, at: int) -> int:
        """An fd of the folder `name`, made or, to merge, there already. Raises InvalidInput where no folder
        is."""
        try:
            os.mkdir(name, 0o700, dir_fd=at)
        except FileExistsError:
            if not self.merge:
                raise
        try:
            return os.open(name, FOLDER, dir_fd=at)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise InvalidInput(f"no folder is where the folder {oneline(name)} goes") from None
            raise

    def mode(self, status: os.stat_result) -> int:
        return stat.S_IMODE(status.st_mode) & ~(SET_IDS if self.plain else 0)

    def keeps(self, attribute: str) -> bool:
        return attribute.startswith("user.") or attribute == "security.capability" and not self.plain


ALL = Terms(special=True)
OUT = Terms(plain=True, merge=True)
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SET_IDS = stat.S_ISUID | stat.S_ISGID


def copy_tree(source: int, target: int, terms: Terms = ALL) -> None:
    """Copy what the directory fd `source` holds into `target`, then its own owner, mode and times."""
    copy_entries(source, target, terms)
    dress(target, os.fstat(source), source, terms)


def copy_entries(source: int, target: int, terms: Terms) -> None:
    if not terms.kernel and fs.is_kernel(source):
        return
    for entry in os.scandir(source):
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            inner = os.open(entry.name, FOLDER, dir_fd=source)
            try:
                outer = terms.enter(entry.name, target)
                try:
                    copy_tree(inner, outer, terms)
                finally:
                    os.close(outer)
            finally:
                os.close(inner)
        elif terms.special or stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            copy_node(source, target, entry.name, status, terms)


def copy_node(
    source: int,
    target: int,
    name: str,
    status: os.stat_result,
    terms: Terms,
    as_name: str | None = None,
) -> None:
    """One entry that is not a directory, under `as_name` if given."""
    new = as_name or name
    terms.clear(new, target)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
    elif stat.S_ISREG(status.st_mode):
        copy_file(source, target, name, new, terms)
        return
    elif not stat.S_ISSOCK(status.st_mode):
        os.mknod(new, status.st_mode, status.st_rdev, dir_fd=target)
    else:
        return
    terms.own(new, status, target)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(new, terms.mode(status), dir_fd=target)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def copy_file(source: int, target: int, name: str, new: str, terms: Terms) -> None:
    """One regular file; nothing where it is the kernel's and the terms leave that out."""
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        if not terms.kernel and fs.is_kernel(found):
            return
        reader = fs.reopen_regular(found, name, kernel=terms.kernel)
    finally:
        os.close(found)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writer = os.open(new, flags, 0o600, dir_fd=target)
        try:
            status = os.fstat(reader)
            # files of procfs say that they are empty; one of a container might grow for ever
            if terms.kernel and fs.is_kernel(reader):
                copy_bytes(reader, writer, sys.maxsize)
            else:
                copy_content(reader, writer, status)
            dress(writer, status, reader, terms)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def copy_content(reader: int, writer: int, status: os.stat_result) -> None:
    """As many bytes as the file has by its `status`; holes stay holes."""
    size, at = status.st_size, 0
    if status.st_blocks * 512 >= size:
        copy_bytes(reader, writer, size)
        return
    while at < size:
        try:
            at = os.lseek(reader, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # nothing but a hole is left
        end = min(os.lseek(reader, at, os.SEEK_HOLE), size)
        os.lseek(reader, at, os.SEEK_SET)
        os.lseek(writer, at, os.SEEK_SET)
        copy_bytes(reader, writer, max(0, end - at))
        at = max(end, at + 1)
    os.ftruncate(writer, size)


def copy_bytes(reader: int, writer: int, left: int) -> None:
    """`left` bytes, or what there is, of one file into another, in the kernel where it can."""
    try:
        while left and (done := os.copy_file_range(reader, writer, min(left, CHUNK))):
            left -= done
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        while left and (done := os.sendfile(writer, reader, None, min(left, CHUNK))):
            left -= done


def dress(fd: int, status: os.stat_result, source: int, terms: Terms) -> None:
    """Give an open file what the terms leave of another's owner, mode, extended attributes and times."""
    terms.own(fd, status)
    os.fchmod(fd, terms.mode(status))
    for name in os.listxattr(source):
        if terms.keeps(name):
            os.setxattr(fd, name, os.getxattr(source, name))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
