"""Copying from a Tree into a rootfs, both held by fd: the file work of COPY, ADD and of a stage's bind
mounts.

Destinations are resolved inside the rootfs, so an image's own symlinks count but lead nowhere else (K1,
K14). What is made gets the source's mode and times; the owner is the one asked for, the source's (from a
stage or an image), or root.
"""

from __future__ import annotations

import os
import posixpath
import stat

from estiva.builder.files.tree import Missing, Tree
from estiva.builder.frontend import ignore, values
from estiva.errors import InvalidInput, Unsupported
from estiva.linux import fs

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_CHUNK = 1 << 30


class Destination:
    """A rootfs to write into, and the metadata that new files get.

    `owner` None keeps a stage's owners and makes a context's files root's; `epoch` (seconds) caps times.
    """

    def __init__(
        self, rootfd: int, *, owner: tuple[int, int] | None = None, chmod: str = "", epoch: int | None = None
    ) -> None:
        self.rootfd = rootfd
        self.owner = owner
        self.chmod = chmod
        self.epoch = epoch
        self.view = Tree(rootfd, owners=True)  # not closed: the fd is the caller's

    def resolve(self, path: str) -> str:
        """Where a path of the rootfs is, its symlinks resolved inside; what is missing stays as written."""
        try:
            return self.view.resolve(path, missing=True)
        except Missing:
            message = f"can't use the path {path} in the image: a parent of it is not a directory"
            raise InvalidInput(message) from None

    def is_directory(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(self.view.stat(self.resolve(path)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def directory(self, path: str) -> int:
        """An O_PATH fd of a directory, made with its parents: 0755 whatever --chmod says, of the owner."""
        uid, gid = self.owner or (0, 0)
        resolved = self.resolve(path)
        try:
            return fs.mkdir_in_root(self.rootfd, resolved, 0o755, uid, gid, follow=False)
        except NotADirectoryError:
            raise InvalidInput(f"can't make the directory /{resolved}: a parent of it is a file") from None

    def place(self, path: str, name: str) -> tuple[int, str]:
        """(directory fd, name) where a file goes that is copied to `path`.

        Into the directory when `path` ends with a slash or is one, else as `path` itself.
        """
        if path.endswith(("/", "/.")) or path in ("", ".") or self.is_directory(path):
            return self.directory(path), name
        resolved = self.resolve(path)
        parent, _, last = resolved.rpartition("/")
        return self.directory(parent), last

    def time(self, nanoseconds: int) -> int:
        return nanoseconds if self.epoch is None else min(nanoseconds, self.epoch * 10**9)

    def write(self, path: str, name: str, data: bytes, *, mode: int, mtime_ns: int) -> None:
        """A file from bytes: a here-document, or what a URL gave."""
        parent, last = self.place(path, name)
        try:
            fd = _create(parent, last)
            with open(fd, "wb", buffering=0) as file:
                file.write(data)
                os.fchown(fd, *(self.owner or (0, 0)))
                os.fchmod(fd, values.mode_change(self.chmod, mode, False) if self.chmod else mode)
                os.utime(fd, ns=(self.time(mtime_ns), self.time(mtime_ns)))
        finally:
            os.close(parent)


class Copier:
    """Copies paths of one tree into one destination; hard links among them stay hard links."""

    def __init__(self, tree: Tree, to: Destination, *, exclude: ignore.Matcher | None = None) -> None:
        self.tree = tree
        self.to = to
        self.exclude = exclude or ignore.Matcher([])
        self.links: dict[tuple[int, int], str] = {}

    def copy(self, source: str, name: str, path: str) -> None:
        """Copy a resolved source: a directory's contents into `path`, a file to it or into it as `name`."""
        info = self.tree.stat(source)
        if not stat.S_ISDIR(info.st_mode):
            if self.exclude and name and self.exclude.excluded(name):
                return
            parent, last = self.to.place(path, name)
            try:
                self._entry(source, info, parent, last)
            finally:
                os.close(parent)
            return
        resolved = self.to.resolve(path)
        if resolved and _exists(self.to, resolved) and not self.to.is_directory(resolved):
            raise InvalidInput(f"can't copy a directory onto the file /{resolved}")
        top = self.to.directory(path)
        try:
            self._contents(source, top)
        finally:
            os.close(top)

    def parents(self, base: str, relative: str, path: str) -> str:
        """Make the directories of `relative` (below `base` in the source) in `path`; the path of the last
        one.
        """
        done = path.rstrip("/")
        here = base
        for part in [part for part in posixpath.dirname(relative).split("/") if part]:
            here = f"{here}/{part}" if here else part
            parent = self.to.directory(done)
            try:
                self._entry(here, self.tree.stat(self.tree.resolve(here)), parent, part)
            finally:
                os.close(parent)
            done = f"{done}/{part}"
        return done + "/"

    def _contents(self, source: str, top: int) -> None:
        """All below a source directory into the directory `top`, times of new directories set last."""
        stack: list[tuple[str, int]] = [(source, top)]
        times: list[tuple[str, os.stat_result]] = []
        strip = len(source) + 1 if source else 0
        try:
            for path in self._paths(source, strip):
                parent = posixpath.dirname(path)
                while stack[-1][0] != parent:
                    os.close(stack.pop()[1])
                info = self.tree.stat(path)
                name = posixpath.basename(path)
                made = self._entry(path, info, stack[-1][1], name)
                if stat.S_ISDIR(info.st_mode):
                    if made:
                        times.append((path[strip:], info))
                    stack.append((path, _open_directory(stack[-1][1], name)))
            for relative, info in reversed(times):
                self._time(relative, info, top)
        finally:
            for _, fd in stack[1:]:
                os.close(fd)

    def _paths(self, source: str, strip: int) -> list[str]:
        paths = self.tree.walk(source)
        if not self.exclude:
            return paths
        keep = [path for path in paths if not self.exclude.excluded(path[strip:])]
        needed = set(keep)
        for path in keep:  # the directories of what `!` took back
            while len(path) > strip and path:
                needed.add(path)
                path = posixpath.dirname(path)
        return [path for path in paths if path in needed]

    def _time(self, relative: str, info: os.stat_result, top: int) -> None:
        parent, _, name = relative.rpartition("/")
        fd = fs.open_in_root(top, parent or ".", _DIRECTORY, follow=False)
        try:
            times = (self.to.time(info.st_atime_ns), self.to.time(info.st_mtime_ns))
            os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def _entry(self, source: str, info: os.stat_result, parent: int, name: str) -> bool:
        """Copy one path without what is below it. False for a directory that was there already."""
        kind = stat.S_IFMT(info.st_mode)
        old = _lstat(parent, name)
        if kind == stat.S_IFDIR:
            if old is None:
                os.mkdir(name, 0o700, dir_fd=parent)
                self._metadata(info, parent, name)
                return True
            if not stat.S_ISDIR(old.st_mode):
                raise InvalidInput(f"can't copy the directory {source} onto a file or symlink: {name}")
            return False
        if old is not None:
            if stat.S_ISDIR(old.st_mode):
                raise InvalidInput(f"can't copy the file {source} onto a directory: {name}")
            os.unlink(name, dir_fd=parent)
        if kind == stat.S_IFREG:
            self._file(source, info, parent, name)
        elif kind == stat.S_IFLNK:
            os.symlink(self.tree.readlink(source), name, dir_fd=parent)
            self._metadata(info, parent, name)
        elif kind == stat.S_IFIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
            self._metadata(info, parent, name)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            if not self.tree.owners:
                raise Unsupported(f"{source} in the build context is a device, which is not copied")
            if info.st_rdev == 0:
                return False  # an overlay whiteout, not a device
            os.mknod(name, kind | 0o600, info.st_rdev, dir_fd=parent)
            self._metadata(info, parent, name)
        return True

    def _file(self, source: str, info: os.stat_result, parent: int, name: str) -> None:
        key = (info.st_dev, info.st_ino)
        if info.st_nlink > 1 and key in self.links:
            self._link(self.links[key], parent, name)
            return
        incoming = self.tree.open(source)
        try:
            outgoing = _create(parent, name)
            try:
                _transfer(incoming, outgoing, source)
                uid, gid = self._owner(info)
                os.fchown(outgoing, uid, gid)
                os.fchmod(outgoing, self._mode(info))
                if self.tree.owners:
                    _copy_xattrs(incoming, outgoing)
                os.utime(outgoing, ns=(self.to.time(info.st_atime_ns), self.to.time(info.st_mtime_ns)))
                if info.st_nlink > 1:
                    self.links[key] = self._path(outgoing)
            finally:
                os.close(outgoing)
        finally:
            os.close(incoming)

    def _path(self, fd: int) -> str:
        """Where in the root an open file is (paths in a detached mount begin at its own root)."""
        root = os.readlink(f"/proc/self/fd/{self.to.rootfd}").rstrip("/")
        return os.readlink(f"/proc/self/fd/{fd}")[len(root) :]

    def _link(self, path: str, parent: int, name: str) -> None:
        """Another name for a file of this copy."""
        directory, _, first = path.rpartition("/")
        there = fs.open_in_root(self.to.rootfd, directory or "/", _DIRECTORY, follow=False)
        try:
            os.link(first, name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(there)

    def _metadata(self, info: os.stat_result, parent: int, name: str) -> None:
        os.chown(name, *self._owner(info), dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(f"/proc/self/fd/{parent}/{name}", self._mode(info))
        times = (self.to.time(info.st_atime_ns), self.to.time(info.st_mtime_ns))
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _owner(self, info: os.stat_result) -> tuple[int, int]:
        if self.to.owner is not None:
            return self.to.owner
        return (info.st_uid, info.st_gid) if self.tree.owners else (0, 0)

    def _mode(self, info: os.stat_result) -> int:
        if self.to.chmod:
            return values.mode_change(self.to.chmod, info.st_mode, stat.S_ISDIR(info.st_mode))
        return info.st_mode & 0o7777


def _exists(to: Destination, path: str) -> bool:
    try:
        to.view.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _lstat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _open_directory(parent: int, name: str) -> int:
    return fs.openat2(parent, name, _DIRECTORY, 0, fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_BENEATH)


def _create(parent: int, name: str) -> int:
    """A new, empty file in a directory, in the place of what was there (never of a directory)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    old = _lstat(parent, name)
    if old is not None:
        if stat.S_ISDIR(old.st_mode):
            raise InvalidInput(f"can't write the file {name}: it is a directory")
        os.unlink(name, dir_fd=parent)
    return os.open(name, flags, 0o600, dir_fd=parent)


def _transfer(incoming: int, outgoing: int, name: str) -> None:
    """All bytes of one file, by copy_file_range(2) where the filesystems agree."""
    if not stat.S_ISREG(os.fstat(incoming).st_mode):
        raise InvalidInput(f"{name} changed while it was copied")
    try:
        while os.copy_file_range(incoming, outgoing, _CHUNK):
            pass
    except OSError:
        os.lseek(incoming, os.lseek(outgoing, 0, os.SEEK_CUR), os.SEEK_SET)
        while os.sendfile(outgoing, incoming, None, _CHUNK):
            pass


def _copy_xattrs(incoming: int, outgoing: int) -> None:
    """File capabilities and user attributes, where the filesystem keeps them."""
    try:
        for name in os.listxattr(incoming):
            if name == "security.capability" or name.startswith("user."):
                os.setxattr(outgoing, name, os.getxattr(incoming, name))
    except OSError:
        pass
