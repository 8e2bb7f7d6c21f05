"""Copying from a Tree into a rootfs, both held by fd: the file work of COPY and ADD, and of bind mounts.

Destinations are resolved inside the rootfs, so an image's own symlinks count but lead nowhere else (K1,
K14). What is made gets the source's mode and times; the owner is the one asked for, the source's (from a
stage or an image), or root.
"""

from __future__ import annotations

import os
import posixpath
import stat
import time

from estiva.builder.files import record
from estiva.builder.files.destination import create, kept, lstat, transfer
from estiva.builder.files.record import nothing
from estiva.builder.frontend import ignore
from estiva.errors import InvalidInput
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.builder.files.destination import Destination
    from estiva.builder.files.record import Record
    from estiva.builder.files.tree import Tree


_DIRECTORY = os.O_PATH | os.O_DIRECTORY


class Copied:
    """One file as it was copied: what a key covers of it, and where it is if it has more names to come."""

    def __init__(self, info: os.stat_result, attributes: dict[str, bytes], content: str) -> None:
        self.info = info
        self.attributes = attributes
        self.content = content
        self.place = ""


def take(
    incoming: int, outgoing: int, *, owners: bool, keyed: bool, look: Callable[[], object] = nothing
) -> Copied:
    """Copy an open file's bytes into a new one that nobody else writes; `keyed`: and tell its content.

    `owners` as of the tree that it is in. What `look` raises ends it. Raises InvalidInput if it is no regular
    file (any more).
    """
    info = os.fstat(incoming)
    if not stat.S_ISREG(info.st_mode):
        raise InvalidInput("a file changed while it was copied")
    transfer(incoming, outgoing, look)
    kept = record.attributes(incoming) if owners else {}
    return Copied(info, kept, record.content(outgoing, kept, look=look) if keyed else "")


class Copier:
    """Copies paths of one tree into one destination; hard links among them stay hard links.

    A record given to a method gets what was copied, as it was copied; it equals that of Tree.digest.
    """

    def __init__(self, tree: Tree, to: Destination, *, exclude: ignore.Matcher | None = None) -> None:
        self.tree = tree
        self.to = to
        self.exclude = exclude or ignore.Matcher([])
        self.links: dict[tuple[int, int], Copied] = {}
        self.record: Record | None = None
        self.base = to.rootfd  # or `upper`: where the paths of files are that get more names

    def copy(self, source: str, name: str, path: str, into: Record | None = None) -> bool:
        """Copy a resolved source: a directory's contents into `path`, a file to it or into it as `name`.

        Whether it is a directory.
        """
        self.record = into
        info = self.tree.stat(source)
        if not stat.S_ISDIR(info.st_mode):
            if self.exclude and name and self.exclude.excluded(name):
                return False
            parent, last = self.to.place(path, name)
            try:
                self._entry(source, info, parent, last, "")
            finally:
                os.close(parent)
            return False
        self._note("", info)
        resolved, there = self.to.folder(path)
        top = self.to.directory(path)
        try:
            if there or self.to.upper < 0:
                self._contents(source, top)
            else:
                self._contents_of_new(source, resolved)
            self._date(top, source, info)
        finally:
            os.close(top)
        return True

    def _contents_of_new(self, source: str, path: str) -> None:
        """All below a source directory into one that was made for it, in the overlay's upper directory."""
        top = fs.open_in_root(self.to.upper, path, _DIRECTORY, follow=False)
        self.base = self.to.upper
        try:
            self._contents(source, top)
        finally:
            self.base = self.to.rootfd
            os.close(top)

    def date(self, base: str, path: str) -> None:
        """Give the directory `path`, below which --parents has copied, the time of `base` in the source."""
        directory = self.to.directory(path)
        try:
            self._date(directory, base, self.tree.stat(base))
        finally:
            os.close(directory)

    def _date(self, directory: int, source: str, info: os.stat_result) -> None:
        """The directory that was copied into has its source's time: all that it takes of it. A context itself
        has none that counts."""
        times = (info.st_atime_ns, info.st_mtime_ns)
        if not source and not self.tree.owners:
            times = (time.time_ns(),) * 2
        os.utime(f"/proc/self/fd/{directory}", ns=times)

    def parents(self, base: str, relative: str, path: str, into: Record | None = None) -> str:
        """Make the directories of `relative` (below `base` in the source) in `path`; the path of the last
        one. `relative` ends in `/.` for a directory that is copied itself.

        Of those that are there the mode becomes the source's, of the one that is copied all metadata does.
        """
        self.record = into
        done = path.rstrip("/")
        above = self.tree.above(base, relative)
        for number, here in enumerate(above, 1):
            part = posixpath.basename(here)
            parent = self.to.directory(done)
            try:
                info = self.tree.stat(self.tree.resolve(here))
                if self._entry(here, info, parent, part, here):
                    pass
                elif number == len(above) and relative.endswith("/."):
                    self._metadata(info, parent, part)
                else:
                    os.chmod(f"/proc/self/fd/{parent}/{part}", info.st_mode & 0o7777)
            finally:
                os.close(parent)
            done = f"{done}/{part}"
        return done + "/"

    def _contents(self, source: str, top: int) -> None:
        """All below a source directory into the directory `top`, times of directories set last.

        A directory that is there becomes as its source is, as docker has it: only `top` stays as it was.
        """
        stack: list[tuple[str, int]] = [(source, top)]
        times: list[tuple[str, os.stat_result]] = []
        strip = len(source) + 1 if source else 0
        try:
            for path, _, name, info in self.tree.entries(source, without=self.exclude):
                parent = posixpath.dirname(path)
                while stack[-1][0] != parent:
                    os.close(stack.pop()[1])
                made = self._entry(path, info, stack[-1][1], name, path[strip:])
                if stat.S_ISDIR(info.st_mode):
                    if not made:
                        self._metadata(info, stack[-1][1], name)
                    times.append((path[strip:], info))
                    stack.append((path, _open_directory(stack[-1][1], name)))
            for relative, info in reversed(times):
                self._time(relative, info, top)
        finally:
            for _, fd in stack[1:]:
                os.close(fd)

    def _time(self, relative: str, info: os.stat_result, top: int) -> None:
        parent, _, name = relative.rpartition("/")
        fd = fs.open_in_root(top, parent or ".", _DIRECTORY, follow=False)
        try:
            times = (info.st_atime_ns, info.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def _note(self, name: str, info: os.stat_result, content: str = "") -> None:
        if self.record is not None:
            self.record.add(name, info, content)

    def _entry(self, source: str, info: os.stat_result, parent: int, name: str, noted: str) -> bool:
        """Copy one path without what is below it. False for a directory that was there already.

        `noted` is its name in the record.
        """
        kind = stat.S_IFMT(info.st_mode)
        old = lstat(parent, name)
        if kind == stat.S_IFDIR:
            self._note(noted, info)
            if old is None:
                os.mkdir(name, 0o700, dir_fd=parent)
                self._metadata(info, parent, name)
                return True
            if not stat.S_ISDIR(old.st_mode):
                raise InvalidInput(f"can't copy the directory {source} onto a file or symlink: {name}")
            return False
        if not kept(source, info, self.tree):
            self._note(noted, info)
            return False
        if old is not None:
            if stat.S_ISDIR(old.st_mode):
                raise InvalidInput(f"can't copy the file {source} onto a directory: {name}")
            os.unlink(name, dir_fd=parent)
        if kind == stat.S_IFREG:
            self._file(source, info, parent, name, noted)
            return True
        target = ""
        if kind == stat.S_IFLNK:
            target = self.tree.readlink(source)
            os.symlink(target, name, dir_fd=parent)
        elif kind == stat.S_IFIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            os.mknod(name, kind | 0o600, info.st_rdev, dir_fd=parent)
        self._metadata(info, parent, name)
        self._note(noted, info, target)
        return True

    def _file(self, source: str, info: os.stat_result, parent: int, name: str, noted: str) -> None:
        known = self.links.get((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
        if known is not None:
            self._link(known.place, parent, name)
            self._note(noted, known.info, known.content)
            return
        incoming = self.tree.open(source)
        try:
            outgoing = create(parent, name)
            try:
                copied = self._bytes(incoming, outgoing)
                self._note(noted, copied.info, copied.content)
                if copied.info.st_nlink > 1:
                    copied.place = self._path(outgoing)
                    self.links[copied.info.st_dev, copied.info.st_ino] = copied
            finally:
                os.close(outgoing)
        finally:
            os.close(incoming)

    def _bytes(self, incoming: int, outgoing: int) -> Copied:
        """A file's content and metadata."""
        tree = self.tree
        keyed = self.record is not None
        copied = take(incoming, outgoing, owners=tree.owners, keyed=keyed, look=tree.going)
        info = copied.info
        os.fchown(outgoing, *self.to.owner_of(info, self.tree.owners))
        os.fchmod(outgoing, self.to.mode_of(info))
        _set_attributes(outgoing, copied.attributes)
        os.utime(outgoing, ns=(info.st_atime_ns, info.st_mtime_ns))
        return copied

    def _path(self, fd: int) -> str:
        """Where in the root an open file is (paths in a detached mount begin at its own root)."""
        root = os.readlink(f"/proc/self/fd/{self.base}").rstrip("/")
        return os.readlink(f"/proc/self/fd/{fd}")[len(root) :]

    def _link(self, path: str, parent: int, name: str) -> None:
        """Another name for a file of this copy."""
        directory, _, first = path.rpartition("/")
        there = fs.open_in_root(self.base, directory or "/", _DIRECTORY, follow=False)
        try:
            os.link(first, name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(there)

    def _metadata(self, info: os.stat_result, parent: int, name: str) -> None:
        os.chown(name, *self.to.owner_of(info, self.tree.owners), dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(f"/proc/self/fd/{parent}/{name}", self.to.mode_of(info))
        times = (info.st_atime_ns, info.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


def _open_directory(parent: int, name: str) -> int:
    return fs.openat2(parent, name, _DIRECTORY, 0, fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_BENEATH)


def _set_attributes(fd: int, kept: dict[str, bytes]) -> None:
    """Give a copy the attributes of its source, where the filesystem keeps them."""
    try:
        for name, value in kept.items():
            os.setxattr(fd, name, value)
    except OSError:
        pass
