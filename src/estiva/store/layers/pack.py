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
from collections.abc import Callable, Collection

from estiva.errors import EngineError
from estiva.linux import fs
from estiva.store.layers.descent import FOLDER, Descent, walk
from estiva.store.layers.implied import Attributes
from estiva.store.layers.tree import MAX_DEPTH as LAYER_DEPTH
from estiva.store.layers.tree import OPAQUE, WHITEOUT
from estiva.store.tar.entry import shown
from estiva.store.tar.records import kept_xattr
from estiva.store.tar.writer import END, Member, header, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Sink(Protocol):
        def write(self, data: bytes, /) -> object: ...


_INSIDE = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS
_PIECE = 1 << 20
_OVERLAY = "trusted.overlay."
MAX_DEPTH = 2000  # directories below each other: each is named with all above it (K22)


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
    are left out. Raises EngineError, before anything is written, for what is nested too deep.
    """
    own = reopen(root)
    try:
        packer = Packer(out, None)
        packer.measure(own)
        packer.run(own)
    finally:
        os.close(own)


def reopen(fd: int) -> int:
    """A readable fd of the directory `fd`, which may be O_PATH as those of detached mounts are."""
    return os.open(".", FOLDER, dir_fd=fd)


class Packer:
    """One tar. `lower`: what it is a layer over; `mounts`: what is mounted in the tree goes along; `mtime`:
    the time of all (seconds)."""

    def __init__(
        self, out: Sink, lower: int | None, *, mounts: bool = False, mtime: int | None = None
    ) -> None:
        self.out = out
        self.lower = lower
        self.layer = lower is not None
        self.mounts = mounts
        self.links: dict[tuple[int, int], bytes] = {}
        self.mtime = mtime
        self.device = -1
        self.deepest = LAYER_DEPTH if self.layer else MAX_DEPTH

    def run(self, root: int) -> None:
        found = os.fstat(root)
        self.device = found.st_dev
        if self._root_changed(root):
            self._emit(self._member(b"./", b"5", found, xattrs=self._xattrs(root, b"/")))
        self._directory(root, b"")
        self.out.write(END)

    def below(self, root: int, path: bytes = b"", without: Collection[bytes] = ()) -> None:
        """All that is in the directory `root` (fd), called `path` in the tar, but the names `without`; and
        not the tar's end."""
        self.links = {}
        self.device = os.fstat(root).st_dev
        self._directory(root, path, without)

    def empty(self, name: bytes) -> None:
        """A directory of nobody's, for what is to be below it."""
        self._emit(Member(name + b"/", b"5", mode=0o755))

    def data(self, name: bytes, data: bytes, mtime: int) -> None:
        """A file from bytes, its owner's alone."""
        self._emit(Member(name, b"0", mode=0o600, size=len(data), mtime=mtime))
        self.out.write(data)
        self.out.write(padding(len(data)))

    def _root_changed(self, root: int) -> bool:
        """The root's time changes with every name made in it and means nothing."""
        if self.lower is None:
            return True
        mine, below = Attributes.of(root), Attributes.of(self.lower)
        below.mtime = mine.mtime
        return mine != below

    def _directory(self, fd: int, path: bytes, without: Collection[bytes] = ()) -> None:
        """All that is below the directory `fd`, which is called `path`."""
        way = Descent(fd)
        paths, names = [path], [[name for name in self._names(fd, path) if name not in without]]
        try:
            while names:
                if not names[-1]:
                    names.pop()
                    paths.pop()
                    way.up()
                    continue
                if way.depth >= self.deepest:
                    raise too_deep(paths[-1], self.deepest)
                name = names[-1].pop()
                full = paths[-1] + b"/" + name if paths[-1] else name
                try:
                    inner = self._item(way.fd, name, full)
                    if inner >= 0:
                        way.down(inner)
                        paths.append(full)
                        names.append([])
                        names[-1] = self._names(inner, full)
                except FileNotFoundError:
                    continue  # a running container removed it meanwhile
        finally:
            way.close()

    def measure(self, root: int) -> None:
        """Raise EngineError if something below the directory `root` is nested too deep, as `run` would when
        it gets there: what reads the tar has had half of it then."""
        device = os.fstat(root).st_dev

        def look(fd: int, names: list[str]) -> list[str]:
            if fs.is_kernel(fd) if self.mounts else os.fstat(fd).st_dev != device:
                return []
            with os.scandir(fd) as entries:
                found = list(entries)
            if found and len(names) >= self.deepest:
                raise too_deep(os.fsencode("/".join(names)), self.deepest)
            return [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]

        walk(root, look)

    def _names(self, fd: int, path: bytes) -> list[bytes]:
        """What is in a directory, last first; an opaque one is told as such."""
        if self.layer and is_opaque(fd):
            self._emit(Member(path + b"/" + OPAQUE if path else OPAQUE, b"0", mode=0))
        return sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)

    def _item(self, parent: int, name: bytes, path: bytes) -> int:
        """Write one member; of a directory that is to be gone into an fd, the caller's, else -1."""
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if self.layer and name.startswith(WHITEOUT):
            raise EngineError(f"/{shown(path)} can't be kept in a layer: its name marks a deletion")
        if kind == stat.S_IFDIR:
            fd = os.open(name, FOLDER, dir_fd=parent)
            try:
                found = os.fstat(fd)
                if self.layer or self.mounts or found.st_dev == self.device:
                    if not self._as_below(fd, path):
                        self._emit(self._member(path + b"/", b"5", found, xattrs=self._xattrs(fd, path)))
                    kept, fd = fd, -1
                    return kept
            finally:
                if fd >= 0:
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
        return -1

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
        if self.lower is None or is_opaque(fd):
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
        if self.mtime is not None:
            member.mtime = self.mtime
        self.out.write(header(member))


def too_deep(path: bytes, most: int) -> EngineError:
    """That there is something in the directory `path`, which has `most` - 1 directories above it."""
    return EngineError(
        f"/{shown(path)}... is nested too deep: more than {most} folders",
        hint=f"a layer can't have more, an archive (export, cp) {MAX_DEPTH}" if most < MAX_DEPTH else "",
    )


def is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OVERLAY + "opaque") == b"y"
    except OSError:
        return False


def walk_files(root: int, visit: Callable[[os.stat_result], None]) -> None:
    """Call `visit` with the lstat of everything below the directory `root` (fd). Raises OSError."""

    def look(fd: int, names: list[str]) -> list[str]:
        folders = []
        for name in os.listdir(fd):
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            visit(found)
            if stat.S_ISDIR(found.st_mode):
                folders.append(name)
        return folders

    walk(root, look)
