"""From directories to tar: a container's changes as a layer, and a whole filesystem for export.

An overlay's upper directory holds changed files in full, whiteouts (character device 0/0) and opaque
directories (`trusted.overlay.opaque`). As a layer (image-spec layer.md) these are `.wh.NAME` and
`.wh..wh..opq`. The same content always gives the same bytes: names sorted, times in whole seconds, nothing
of the host.

A directory that overlayfs copied up only because something below it changed, and which is as the layers
below have it, is not named: whatever layer comes to lie under this one keeps its say
(store/layers/implied.py). Everything is read by fd, without following links: the container may be running.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from estiva.errors import EngineError
from estiva.linux import fs
from estiva.store.layers.implied import Attributes
from estiva.store.layers.tree import OPAQUE, WHITEOUT
from estiva.store.tar.entry import shown
from estiva.store.tar.records import kept_xattr
from estiva.store.tar.writer import END, Member, header, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Sink(Protocol):
        def write(self, data: bytes, /) -> object: ...


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS
_PIECE = 1 << 20
_OVERLAY = "trusted.overlay."
MAX_DEPTH = 2000  # directories below each other, each an open fd on the way


def pack(upper: int, lower: int, out: Sink) -> None:
    """Write the layer that the upper directory `upper` (fd) makes over the tree `lower` (fd) to `out`.

    Raises EngineError for what a layer can't hold: a name that begins with `.wh.`, a redirected directory.
    """
    own = reopen(lower)
    try:
        Packer(out, own).run(upper)
    finally:
        os.close(own)


def write_tree(root: int, out: Sink) -> None:
    """Write the whole tree below the directory `root` (fd) as a tar: nothing is a whiteout, mounts below
    are left out.
    """
    own = reopen(root)
    try:
        Packer(out, None).run(own)
    finally:
        os.close(own)


def reopen(fd: int) -> int:
    """A readable fd of the directory `fd`, which may be O_PATH as those of detached mounts are."""
    return os.open(".", _DIRECTORY, dir_fd=fd)


class Packer:
    """One tar. `lower`: what it is a layer over; `mounts`: what is mounted in the tree goes along."""

    def __init__(self, out: Sink, lower: int | None, *, mounts: bool = False) -> None:
        self.out = out
        self.lower = lower
        self.layer = lower is not None
        self.mounts = mounts
        self.links: dict[tuple[int, int], bytes] = {}
        self.device = -1

    def run(self, root: int) -> None:
        found = os.fstat(root)
        self.device = found.st_dev
        if self._root_changed(root):
            self._emit(self._member(b"./", b"5", found, xattrs=self._xattrs(root, b"/")))
        self._directory(root, b"", 0)
        self.out.write(END)

    def _root_changed(self, root: int) -> bool:
        """The root's time changes with every name made in it and means nothing."""
        if self.lower is None:
            return True
        mine, below = Attributes.of(root), Attributes.of(self.lower)
        below.mtime = mine.mtime
        return mine != below

    def _directory(self, fd: int, path: bytes, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise EngineError(f"/{shown(path)} is too deep for a layer")
        if self.layer and _is_opaque(fd):
            self._emit(Member(path + b"/" + OPAQUE if path else OPAQUE, b"0", mode=0))
        for name in sorted(os.fsencode(item) for item in os.listdir(fd)):
            full = path + b"/" + name if path else name
            try:
                self._item(fd, name, full, depth)
            except FileNotFoundError:
                continue  # a running container removed it meanwhile

    def _item(self, parent: int, name: bytes, path: bytes, depth: int) -> None:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if self.layer and name.startswith(WHITEOUT):
            raise EngineError(f"/{shown(path)} can't be kept in a layer: its name marks a deletion")
        if kind == stat.S_IFDIR:
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                found = os.fstat(fd)
                if not (self.layer or self.mounts) and found.st_dev != self.device:
                    return
                if not self._as_below(fd, path):
                    self._emit(self._member(path + b"/", b"5", found, xattrs=self._xattrs(fd, path)))
                self._directory(fd, path, depth + 1)
            finally:
                os.close(fd)
        elif kind == stat.S_IFREG:
            self._file(parent, name, path)
        elif kind == stat.S_IFLNK:
            if not self._linked(found, path):
                target = os.fsencode(os.readlink(name, dir_fd=parent))
                self._emit(self._member(path, b"2", found, link=target))
        elif kind == stat.S_IFCHR and found.st_rdev == 0 and self.layer:
            directory, _, base = path.rpartition(b"/")
            hidden = WHITEOUT + base
            self._emit(Member(directory + b"/" + hidden if directory else hidden, b"0", mode=0))
        elif kind != stat.S_IFSOCK and not self._linked(found, path):
            type = {stat.S_IFCHR: b"3", stat.S_IFBLK: b"4"}.get(kind, b"6")
            rdev = (os.major(found.st_rdev), os.minor(found.st_rdev)) if type in b"34" else (0, 0)
            self._emit(self._member(path, type, found, rdev=rdev))

    def _file(self, parent: int, name: bytes, path: bytes) -> None:
        it = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            fd = fs.reopen_regular(it)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return  # swapped for something else since stat
            raise
        finally:
            os.close(it)
        try:
            found = os.fstat(fd)
            if self._linked(found, path):
                return
            self._emit(self._member(path, b"0", found, size=found.st_size, xattrs=self._xattrs(fd, path)))
            left = found.st_size
            while left:
                data = os.read(fd, min(left, _PIECE))
                if not data:  # it became shorter: the header has promised the rest
                    data = b"\0" * min(left, _PIECE)
                self.out.write(data)
                left -= len(data)
            self.out.write(padding(found.st_size))
        finally:
            os.close(fd)

    def _linked(self, found: os.stat_result, path: bytes) -> bool:
        """Write a hard link if the same file went out under another name; else remember this one."""
        if found.st_nlink < 2:
            return False
        key = (found.st_dev, found.st_ino)
        first = self.links.setdefault(key, path)
        if first is path:
            return False
        self._emit(self._member(path, b"1", found, link=first))
        return True

    def _as_below(self, fd: int, path: bytes) -> bool:
        if self.lower is None or _is_opaque(fd):
            return False
        try:
            below = fs.openat2(self.lower, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, 0, _INSIDE)
        except OSError:
            return False
        try:
            return Attributes.of(fd) == Attributes.of(below)
        finally:
            os.close(below)

    def _xattrs(self, fd: int, path: bytes) -> dict[bytes, bytes]:
        kept: dict[bytes, bytes] = {}
        try:
            names = os.listxattr(fd)
        except OSError:
            return kept
        for name in names:
            if name in (_OVERLAY + "redirect", _OVERLAY + "metacopy") and self.layer:
                raise EngineError(f"/{shown(path)} can't be kept in a layer: it has {name}")
            raw = os.fsencode(name)
            if kept_xattr(raw):
                try:
                    kept[raw] = os.getxattr(fd, name)
                except OSError:
                    continue
        return kept

    @staticmethod
    def _member(
        path: bytes,
        type: bytes,
        found: os.stat_result,
        *,
        size: int = 0,
        link: bytes = b"",
        rdev: tuple[int, int] = (0, 0),
        xattrs: dict[bytes, bytes] | None = None,
    ) -> Member:
        return Member(
            path,
            type,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            size=size,
            mtime=found.st_mtime_ns // 1_000_000_000,
            link=link,
            rdev=rdev,
            xattrs=xattrs,
        )

    def _emit(self, member: Member) -> None:
        self.out.write(header(member))


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OVERLAY + "opaque") == b"y"
    except OSError:
        return False


class Changes:
    """What an upper directory changes, as docker diff tells it: A added, C changed, D deleted; parents of
    changes are C.
    """

    def __init__(self, upper: int, lower: int) -> None:
        self.upper = upper
        self.lower = lower
        self.found: list[tuple[str, str]] = []

    def run(self) -> list[tuple[str, str]]:
        lower = reopen(self.lower)
        try:
            self._directory(self.upper, lower, "", _is_opaque(self.upper), 0)
        finally:
            os.close(lower)
        return sorted(self.found, key=lambda change: change[1])

    def _directory(self, upper: int, lower: int | None, path: str, opaque: bool, depth: int) -> bool:
        """Compare one directory that is in the upper; True if anything in it changed."""
        before = len(self.found)
        if depth > MAX_DEPTH:
            raise EngineError(f"{path} is too deep")
        names = os.listdir(upper)
        for name in names:
            try:
                self._item(upper, lower, name, f"{path}/{name}", depth)
            except FileNotFoundError:
                continue
        if opaque and lower is not None:
            self.found += [("D", f"{path}/{name}") for name in set(os.listdir(lower)).difference(names)]
        return len(self.found) > before

    def _item(self, upper: int, lower: int | None, name: str, path: str, depth: int) -> None:
        mine = os.stat(name, dir_fd=upper, follow_symlinks=False)
        old = _lstat(lower, name)
        if stat.S_ISCHR(mine.st_mode) and mine.st_rdev == 0:
            if old is not None:
                self.found.append(("D", path))
            return
        if stat.S_ISDIR(mine.st_mode):
            fd = os.open(name, _DIRECTORY, dir_fd=upper)
            below = None
            try:
                if old is not None and stat.S_ISDIR(old.st_mode) and lower is not None:
                    below = os.open(name, _DIRECTORY, dir_fd=lower)
                inside = self._directory(fd, below, path, _is_opaque(fd), depth + 1)
                if old is None:
                    self.found.append(("A", path))
                elif inside or below is None or _differs(fd, below, mine, old):
                    self.found.append(("C", path))
            finally:
                os.close(fd)
                if below is not None:
                    os.close(below)
        elif old is None:
            self.found.append(("A", path))
        elif _file_differs(mine, old):
            self.found.append(("C", path))


def _lstat(directory: int | None, name: str) -> os.stat_result | None:
    if directory is None:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None


def _differs(upper: int, lower: int, mine: os.stat_result, old: os.stat_result) -> bool:
    """Whether a directory itself changed; its time and size only tell of names, which are compared anyway."""
    return (mine.st_mode, mine.st_uid, mine.st_gid) != (old.st_mode, old.st_uid, old.st_gid) or (
        Attributes.of(upper).xattrs != Attributes.of(lower).xattrs
    )


def _file_differs(mine: os.stat_result, old: os.stat_result) -> bool:
    def own(found: os.stat_result) -> tuple[int, ...]:
        return (
            found.st_mode,
            found.st_uid,
            found.st_gid,
            found.st_rdev,
            found.st_size,
            found.st_mtime_ns,
        )

    return own(mine) != own(old)


def walk_files(root: int, visit: Callable[[os.stat_result], None]) -> None:
    """Call `visit` with the lstat of everything below the directory `root` (fd)."""
    stack = [os.dup(root)]
    while stack:
        fd = stack.pop()
        try:
            for name in os.listdir(fd):
                try:
                    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    visit(found)
                    if stat.S_ISDIR(found.st_mode):
                        stack.append(os.open(name, _DIRECTORY, dir_fd=fd))
                except OSError:
                    continue
        finally:
            os.close(fd)
