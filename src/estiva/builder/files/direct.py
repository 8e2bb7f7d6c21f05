"""A copy that writes its layer's tar itself: no file is made, given its metadata, read again and removed.

For one source, which is most of COPY, and all of it that is large. What lies below counts as it does for
files/copier.py, and the layer is the one that a snapshot's changes would make (store/layers/pack.py).
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

from estiva.builder.files import record
from estiva.builder.files.destination import kept
from estiva.builder.files.record import Record
from estiva.errors import FREE_SPACE, EngineError, InvalidInput, Unavailable
from estiva.linux import fs
from estiva.store.layers.implied import Attributes
from estiva.store.layers.tree import WHITEOUT
from estiva.store.tar.entry import shown
from estiva.store.tar.writer import END, Member, header, padding

if TYPE_CHECKING:
    from estiva.builder.files.destination import Destination
    from estiva.builder.files.tree import Tree
    from estiva.builder.frontend import ignore
    from estiva.store.layers.sink import TarSink

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS
_PIECE = 1 << 20  # bytes of a file that are read at once, and of the tar that are gathered
_NONE = -1  # in place of the fd of a directory that is not below
_ACL = "system.posix_acl_"


class Inherited(Exception):
    """What is made in a directory below would take after it, by rules that a filesystem has to apply
    (acl(5)): that takes a copy into a rootfs."""


class Direct:
    """The layer of one source: `copy`, then `finish`. `to` is only looked at. Raises Inherited."""

    def __init__(self, tree: Tree, to: Destination, out: TarSink, *, exclude: ignore.Matcher) -> None:
        self.tree = tree
        self.to = to
        self.out = out
        self.exclude = exclude
        self.links: dict[tuple[int, int], tuple[bytes, os.stat_result, str]] = {}
        self.now = time.time_ns()
        self._gathered: list[bytes] = []
        self._size = 0

    def copy(self, source: str, name: str, path: str, into: Record) -> bool:
        """As Copier.copy does."""
        self.record = into
        info = self.tree.stat(source)
        if stat.S_ISDIR(info.st_mode):
            self._directory(source, info, path)
            return True
        if self.exclude and name and self.exclude.excluded(name):
            return False
        directory, last = self.to.whereto(path, name)
        parent, base = self.tree.parent(source) if source else (os.dup(self.tree.rootfd), "")
        try:
            folder, below = self._folder(self.to.resolve(directory))
            try:
                if kept(source, info, self.tree):
                    self._touch(folder, below)
                self._entry(source, parent, base, info, self._inside(folder, last), last, below, "")
            finally:
                _close(below)
        finally:
            os.close(parent)
        return False

    def finish(self) -> None:
        """The tar's end."""
        self._write(END)
        self._flush()

    def _directory(self, source: str, info: os.stat_result, path: str) -> None:
        """All in a source directory into the one at `path`, which gets its time."""
        self.record.add("", info)
        mtime = info.st_mtime_ns if source or self.tree.owners else self.now
        folder, below = self._folder(self.to.folder(path)[0], mtime)
        try:
            if below >= 0:
                self._touch(folder, below, mtime)
            self._contents(source, folder, below)
        finally:
            _close(below)

    def _folder(self, path: str, mtime: int | None = None) -> tuple[bytes, int]:
        """A directory (resolved), made with its parents where it is not below: its name in the tar, and an
        fd of the one below or _NONE."""
        below = os.open(".", _FOLDER, dir_fd=self.to.rootfd)
        folder = b""
        group = 0  # the bit that new directories have from the one above them, inode(7)
        try:
            parts = [part for part in path.split("/") if part]
            for number, part in enumerate(parts, 1):
                inner = _NONE
                if below >= 0:
                    inner = self._below(below, part, path)
                    if inner < 0:
                        self._touch(folder, below)
                        group = os.fstat(below).st_mode & stat.S_ISGID
                    os.close(below)
                    below = inner
                folder = self._inside(folder, part)
                if inner < 0:
                    uid, gid = self.to.owner or (0, 0)
                    own = self.now if mtime is None or number < len(parts) else mtime
                    self._member(
                        Member(folder + b"/", b"5", mode=self.to.folders | group, uid=uid, gid=gid), own
                    )
        except BaseException:
            _close(below)
            raise
        return folder, below

    def _below(self, directory: int, name: str, path: str) -> int:
        try:
            return fs.openat2(directory, name, _FOLDER, 0, _INSIDE)
        except FileNotFoundError:
            return _NONE
        except OSError:
            raise InvalidInput(f"can't make the directory /{path}: a parent of it is a file") from None

    def _touch(self, folder: bytes, below: int, mtime: int | None = None) -> None:
        """A directory in which names are made has another time. The root's means nothing."""
        if below < 0:
            return
        found = Attributes.of(below)
        if _ACL + "default" in found.xattrs:
            raise Inherited
        if folder:
            self._again(folder, found, self.now if mtime is None else mtime)

    def _again(self, folder: bytes, found: Attributes, mtime: int) -> None:
        if found.mtime == mtime:
            return
        xattrs = {os.fsencode(name): value for name, value in found.xattrs.items()}
        member = Member(folder + b"/", b"5", mode=found.mode, uid=found.uid, gid=found.gid, xattrs=xattrs)
        self._member(member, mtime)

    def _contents(self, source: str, folder: bytes, below: int) -> None:
        """All below a source directory into a directory. One that is below becomes as its source is."""
        stack = [(source, folder, below)]
        strip = len(source) + 1 if source else 0
        try:
            for entry in self.tree.entries(source, without=self.exclude):
                path = entry.path
                parent = path.rpartition("/")[0]
                while stack[-1][0] != parent:
                    _close(stack.pop()[2])
                _, folder, below = stack[-1]
                full = self._inside(folder, entry.name)
                inner = self._entry(
                    path, entry.parent, entry.name, entry.info, full, entry.name, below, path[strip:]
                )
                if stat.S_ISDIR(entry.info.st_mode):
                    stack.append((path, full, inner))
        finally:
            for _, _, fd in stack[1:]:
                _close(fd)

    def _inside(self, folder: bytes, name: str) -> bytes:
        base = os.fsencode(name)
        full = folder + b"/" + base if folder else base
        if base.startswith(WHITEOUT):
            raise EngineError(f"/{shown(full)} can't be kept in a layer: its name marks a deletion")
        return full

    def _entry(
        self, source: str, parent: int, base: str, info: os.stat_result, full: bytes, name: str,
        below: int, noted: str,
    ) -> int:  # fmt: skip
        """One path without what is below it: `base` in the source's directory `parent`, `name` in `below`.
        Of a directory an fd of the one below, or _NONE. `noted` is its name in the record.
        """
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFDIR:
            self.record.add(noted, info)
            return self._made(source, info, full, name, below)
        if not kept(source, info, self.tree):
            self.record.add(noted, info)
            return _NONE
        if below >= 0:
            self._over(source, name, below)
        if kind == stat.S_IFREG:
            self._file(source, parent, base, info, full, noted)
            return _NONE
        target = ""
        if kind == stat.S_IFLNK:
            target = os.readlink(base, dir_fd=parent)
            self._add(info, full, b"2", link=os.fsencode(target))
        elif kind == stat.S_IFIFO:
            self._add(info, full, b"6")
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            rdev = (os.major(info.st_rdev), os.minor(info.st_rdev))
            self._add(info, full, b"3" if kind == stat.S_IFCHR else b"4", rdev=rdev)
        self.record.add(noted, info, target)
        return _NONE

    def _made(self, source: str, info: os.stat_result, full: bytes, name: str, below: int) -> int:
        """A directory: new, or the one below with the source's metadata."""
        inner = _NONE
        if below >= 0:
            try:
                inner = fs.openat2(below, name, _FOLDER, 0, _INSIDE)
            except FileNotFoundError:
                pass
            except OSError:
                message = f"can't copy the directory {source} onto a file or symlink: {name}"
                raise InvalidInput(message) from None
        if inner < 0:
            self._add(info, full + b"/", b"5")
            return inner
        found = Attributes.of(inner)
        if any(name.startswith(_ACL) for name in found.xattrs):
            raise Inherited  # the mode is part of its rules, too
        uid, gid = self.to.owner_of(info, self.tree.owners)
        mode = self.to.mode_of(info)
        if (found.mode, found.uid, found.gid) != (mode, uid, gid):
            found.mode, found.uid, found.gid, found.mtime = mode, uid, gid, -1
        self._again(full, found, info.st_mtime_ns)
        return inner

    def _over(self, source: str, name: str, below: int) -> None:
        """A file takes the place of what is below, but for a directory."""
        try:
            old = os.stat(name, dir_fd=below, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(old.st_mode):
            raise InvalidInput(f"can't copy the file {source} onto a directory: {name}")

    def _file(
        self, source: str, parent: int, base: str, info: os.stat_result, full: bytes, noted: str
    ) -> None:
        if info.st_nlink > 1:
            known = self.links.get((info.st_dev, info.st_ino))
            if known is not None:
                first, info, content = known
                self._add(info, full, b"1", link=first)
                self.record.add(noted, info, content)
                return
        fd = os.open(base, _FILE, dir_fd=parent) if base else fs.reopen_regular(parent)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise InvalidInput("a file changed while it was copied")
            xattrs = record.attributes(fd) if self.tree.owners else {}
            content = self._data(fd, source, info, full, xattrs)
        finally:
            os.close(fd)
        self.record.add(noted, info, content)
        if info.st_nlink > 1:
            self.links[info.st_dev, info.st_ino] = full, info, content

    def _data(self, fd: int, source: str, info: os.stat_result, full: bytes, xattrs: dict[str, bytes]) -> str:
        """A file and its bytes; what the record tells of those. A small one is as long as it was when it was
        read, whatever was said before."""
        size = info.st_size
        data = os.read(fd, min(size, _PIECE) + 1)
        if len(data) != size <= _PIECE:
            while len(data) <= _PIECE and (more := os.read(fd, _PIECE)):  # it may come in pieces
                data += more
            size = len(data)
        self._room(size)
        named = {os.fsencode(name): value for name, value in xattrs.items()}
        self._add(info, full, b"0", size=size, xattrs=named)
        total = hashlib.sha256()
        left = size
        while left:
            if not data:
                raise InvalidInput(f"{source} became shorter while it was copied", hint="build again")
            data = data[:left]
            self.tree.going()
            total.update(data)
            self._write(data)
            left -= len(data)
            if left:
                data = os.read(fd, _PIECE)
        self._write(padding(size))
        return record.told(total, xattrs)

    def _room(self, size: int) -> None:
        """A large file that there is no room for is not begun. Raises Unavailable."""
        if size <= _PIECE:
            return
        disk = os.fstatvfs(self.out.fd)
        if disk.f_blocks and size > disk.f_bfree * disk.f_frsize:
            raise Unavailable(f"no space left in {os.path.dirname(self.out.path)}", hint=FREE_SPACE)

    def _add(
        self,
        info: os.stat_result,
        full: bytes,
        type: bytes,
        *,
        size: int = 0,
        link: bytes = b"",
        rdev: tuple[int, int] = (0, 0),
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        """A member with the metadata that a copy of the source gets."""
        uid, gid = self.to.owner_of(info, self.tree.owners)
        mode = 0o777 if type == b"2" else self.to.mode_of(info)
        member = Member(
            full, type, mode=mode, uid=uid, gid=gid, size=size, link=link, rdev=rdev, xattrs=xattrs
        )
        self._member(member, info.st_mtime_ns)

    def _member(self, member: Member, mtime: int) -> None:
        member.mtime = mtime // 1_000_000_000
        self._write(header(member))

    def _write(self, data: bytes) -> None:
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        self.out.write(b"".join(self._gathered))
        self._gathered.clear()
        self._size = 0


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
