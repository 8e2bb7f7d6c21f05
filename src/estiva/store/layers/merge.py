"""Several upper directories of overlayfs as one: what they hold together, as if it had been written into one.

The topmost that has a name decides, save that directories of one name are joined down to the first that is
opaque, or is over something else. Whiteouts stay whiteouts: what is under all of them is not looked at.
Nobody may change the directories meanwhile. All is done by fd, without following links.
"""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import EngineError
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS
_OVERLAY, _ESCAPED = "trusted.overlay.", "trusted.overlay.overlay."
OPAQUE = _OVERLAY + "opaque"
_PIECE = 1 << 30
_MANY = 60_000  # links, of the 65,000 that ext4 gives a file


def merge(sources: Sequence[str], target: str, *, copied: int) -> None:
    """Make `target`, an empty directory, hold what `sources` hold, topmost first. The files of the first so
    many are `copied`, of the others there are more hard links. Raises EngineError, OSError.
    """
    Merge(sources, target, copied).run()


class Merge:
    """One merge: see above."""

    def __init__(self, sources: Sequence[str], target: str, copied: int) -> None:
        self.copied = copied
        self.held: list[int] = []
        self.links: dict[tuple[int, int], str] = {}  # a file that was copied, and has more names
        self.done: list[tuple[str, os.stat_result]] = []
        try:
            for path in (*sources, target):
                self.held.append(os.open(path, FOLDER))
        except BaseException:
            self.close()
            raise
        self.roots, self.top = self.held[:-1], self.held[-1]

    def close(self) -> None:
        while self.held:
            os.close(self.held.pop())

    def run(self) -> None:
        try:
            left = [(".", list(range(len(self.roots))))]
            while left:
                path, which = left.pop()
                left += self.folder(path, which)
            for path, found in reversed(self.done):  # when nothing is made in them any more
                fd = self.open(self.top, path)
                os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
                os.close(fd)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise EngineError("a folder is nested too deep to be copied: its path is too long") from None
            raise
        finally:
            self.close()

    def open(self, root: int, path: str) -> int:
        return fs.openat2(root, path, FOLDER, 0, _INSIDE)

    def folder(self, path: str, which: list[int]) -> list[tuple[str, list[int]]]:
        """All in one folder, which these sources have; those in it, with theirs."""
        fds = [self.open(self.roots[number], path) for number in which]
        into = self.open(self.top, path)
        inner: list[tuple[str, list[int]]] = []
        try:
            dress(into, fds[0])
            self.done.append((path, os.fstat(fds[0])))
            seen: set[str] = set()
            for number, fd in zip(which, fds, strict=True):
                for name in os.listdir(fd):
                    if name in seen:
                        continue
                    seen.add(name)
                    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    below = f"{path}/{name}"
                    if not stat.S_ISDIR(found.st_mode):
                        self.file(fd, into, name, found, below, number >= self.copied)
                        continue
                    os.mkdir(name, 0o700, dir_fd=into)
                    inner.append((below, self.joined(name, which, fds, number, into)))
        finally:
            for fd in (*fds, into):
                os.close(fd)
        return inner

    def joined(self, name: str, which: list[int], fds: list[int], first: int, into: int) -> list[int]:
        """The sources, from the `first` on, whose folders of that name show as one."""
        result: list[int] = []
        opaque = False
        for number, fd in zip(which, fds, strict=True):
            if number < first:
                continue
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(found.st_mode):
                opaque = True  # it was there, and went: what is under all is hidden too
                break
            result.append(number)
            inner = self.open(fd, name)
            try:
                opaque = attribute(inner, OPAQUE) == b"y"
            finally:
                os.close(inner)
            if opaque:
                break
        if opaque:
            made = self.open(into, name)
            os.setxattr(made, OPAQUE, b"y")
            os.close(made)
        return result

    def file(self, fd: int, into: int, name: str, found: os.stat_result, path: str, linked: bool) -> None:
        kind = stat.S_IFMT(found.st_mode)
        if linked and found.st_nlink < _MANY and kind == stat.S_IFREG:
            os.link(name, name, src_dir_fd=fd, dst_dir_fd=into, follow_symlinks=False)
            return
        if found.st_nlink > 1 and kind == stat.S_IFREG:
            first = self.links.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                folder, _, last = first.rpartition("/")
                there = self.open(self.top, folder)
                try:
                    os.link(last, name, src_dir_fd=there, dst_dir_fd=into, follow_symlinks=False)
                finally:
                    os.close(there)
                return
        if kind == stat.S_IFREG:
            copy(fd, into, name)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=fd), name, dir_fd=into)
        else:
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=into)
        if kind != stat.S_IFREG:
            os.chown(name, found.st_uid, found.st_gid, dir_fd=into, follow_symlinks=False)
            if kind != stat.S_IFLNK:
                os.chmod(f"/proc/self/fd/{into}/{name}", stat.S_IMODE(found.st_mode))
            attributes(f"/proc/self/fd/{fd}/{name}", f"/proc/self/fd/{into}/{name}", follow=False)
            times = (found.st_atime_ns, found.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=into, follow_symlinks=False)


def copy(fd: int, into: int, name: str) -> None:
    """A regular file with its holes, owner, mode, attributes and times."""
    reader = fs.openat2(fd, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0, _INSIDE)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writer = os.open(name, flags, 0o600, dir_fd=into)
        try:
            content(reader, writer, os.fstat(reader).st_size)
            dress(writer, reader)
            found = os.fstat(reader)
            os.utime(writer, ns=(found.st_atime_ns, found.st_mtime_ns))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def content(reader: int, writer: int, size: int) -> None:
    """All bytes that there are, shared where the filesystem can: copy_file_range(2) sees to that."""
    os.ftruncate(writer, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(reader, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole to the end
            raise
        end = min(os.lseek(reader, at, os.SEEK_HOLE), size)
        while at < end:
            done = os.copy_file_range(reader, writer, min(end - at, _PIECE), at, at)
            if not done:
                return  # it has become shorter
            at += done


def dress(target: int, source: int) -> None:
    """Owner, mode and attributes of an open file or directory."""
    found = os.fstat(source)
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    attributes(source, target)


def attributes(source: int | str, target: int | str, *, follow: bool = True) -> None:
    """All of a file's extended attributes but what overlayfs keeps of its own in them."""
    options = {} if isinstance(source, int) else {"follow_symlinks": follow}
    try:
        names = os.listxattr(source, **options)
    except OSError:
        return
    for name in names:
        if not name.startswith(_OVERLAY) or name.startswith(_ESCAPED):
            os.setxattr(target, name, os.getxattr(source, name, **options), **options)


def attribute(fd: int, name: str) -> bytes:
    try:
        return os.getxattr(fd, name)
    except OSError:
        return b""
