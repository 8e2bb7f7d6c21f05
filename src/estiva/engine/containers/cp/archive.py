"""`cp` with a tar stream on one side: what a container has, packed; an archive, unpacked in one."""

from __future__ import annotations

import errno
import os
import stat

from estiva.builder.files.destination import Destination
from estiva.builder.files.untar import Extraction
from estiva.engine.containers.cp.copying import refuse
from estiva.engine.containers.cp.place import Place, writable
from estiva.engine.containers.cp.view import Mapped, View
from estiva.engine.mounts.terms import FOLDER, SET_IDS
from estiva.engine.mounts.trees import TOLD
from estiva.errors import InvalidInput, LayerError, NotFound, Unsupported
from estiva.linux import fs
from estiva.store.archive import compression
from estiva.store.layers.pack import Packer
from estiva.store.tar.entry import shown
from estiva.store.tar.writer import END

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from estiva.engine import Engine
    from estiva.store.layers.pack import Sink
    from estiva.store.tar.entry import Entry
    from estiva.store.tar.writer import Member

    class Reader(Protocol):
        def read(self, size: int, /) -> bytes: ...


class _Archive(Packer):
    """All that a container sees below a place, mounts too, by its own ids; nothing of the kernel's."""

    def __init__(self, out: Sink, view: View) -> None:
        super().__init__(out, None, mounts=True)
        self.view = view

    def _names(self, fd: int, path: bytes) -> list[bytes]:
        return [] if fs.is_kernel(fd) else super()._names(fd, path)

    def _emit(self, member: Member) -> None:
        member.uid, member.gid = self.view.inside(member.uid, member.gid)
        super()._emit(member)

    def folder(self, fd: int, name: bytes) -> None:
        """A folder as `name`, "." for what it holds. Raises EngineError, before anything is written, for what
        is nested too deep."""
        self.measure(fd)
        self._emit(self._member(name + b"/", b"5", os.fstat(fd), xattrs=self._xattrs(fd, name)))
        self._directory(fd, b"" if name == b"." else name)


def pack(engine: Engine, ref: str, path: str, out: Sink, *, follow: bool = False) -> None:
    """Write a file or folder of a container as a tar. Its names begin as `path` ends.

    Raises NotFound, InvalidInput, Conflict, EngineError.
    """
    with View(engine, ref) as view:
        place = Place(path, view)
        archive = _Archive(out, view)
        found = place.source(follow)
        try:
            status = os.fstat(found)
            if stat.S_ISDIR(status.st_mode):
                refuse(place, found, status, False)
                fd = os.open(".", FOLDER, dir_fd=found)
                try:
                    archive.folder(fd, b"." if place.content else os.fsencode(place.name))
                finally:
                    os.close(fd)
            else:
                if not (stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode)):
                    refuse(place, found, status, False)
                _one(archive, place, follow)
        finally:
            os.close(found)
        out.write(END)
        view.tell("archive-path")


def _one(archive: _Archive, place: Place, follow: bool) -> None:
    if follow:
        parent, name, _ = place.last()
    else:
        directory, name = os.path.split(place.path)
        parent = place.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        archive._item(parent, os.fsencode(name), os.fsencode(place.name))
    except FileNotFoundError:
        raise NotFound(f"{place.shown} was removed just now") from None
    finally:
        os.close(parent)


class _Unpacking(Extraction):
    """Of an archive in a container; `left_out` as in trees.Copy."""

    def __init__(
        self, top: int, view: View, archive: bool, owner: tuple[int, int] | None, replace: bool
    ) -> None:
        super().__init__(top, Destination(top))
        self.parents = view.owner or (0, 0)
        self.archive = archive
        self.owner = owner
        self.replace = replace
        self.view = view
        self.files = self.bytes = self.omitted = 0
        self.left_out: list[tuple[str, str]] = []

    def _member(self, entry: Entry) -> None:
        if entry.kind in (stat.S_IFCHR, stat.S_IFBLK):
            self.omitted += 1
            if len(self.left_out) < TOLD:
                self.left_out.append((shown(entry.name), "a device"))
            return
        if entry.kind:
            self._own(entry)
        try:
            super()._member(entry)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise InvalidInput(f"{shown(entry.name)} leads through too many symlinks") from None
            raise OSError(error.errno, error.strerror, shown(entry.name)) from None
        self.files += 1
        self.bytes += entry.size

    def _own(self, entry: Entry) -> None:
        """Make the owner of a member the host's number of it."""
        if self.owner is not None:
            entry.uid, entry.gid = self.owner
        try:
            entry.uid, entry.gid = self.view.outside(entry.uid, entry.gid)
        except InvalidInput:
            if self.archive:
                raise
            entry.uid, entry.gid = self.parents
            entry.mode &= ~SET_IDS

    def _clear(self, entry: Entry, old: os.stat_result) -> None:
        if not self.replace and stat.S_ISDIR(old.st_mode) != (entry.kind == stat.S_IFDIR):
            what = "a folder" if stat.S_ISDIR(old.st_mode) else "no folder"
            raise InvalidInput(f"{what} is where {shown(entry.name)} of the archive goes")


def _user(engine: Engine, view: View) -> tuple[int, int] | None:
    """The ids, in the container, of the user whom its config names. Raises InvalidInput for one it lacks."""
    from estiva.engine.state import lookup
    from estiva.runtime.process import user

    name = lookup.resolve(engine, view.id)["Config"].get("User") or ""
    if not name:
        return None
    who = user.resolve(view.root, {"username": name}, need_home=False)
    return who.uid, who.gid


def unpack(
    engine: Engine,
    ref: str,
    path: str,
    stream: Reader,
    *,
    archive: bool = False,
    as_user: bool = False,
    replace: bool = False,
) -> _Unpacking:
    """Unpack a tar, plain or compressed, into a folder of a container that is there; what was done.

    Owners are those of the archive, by the container's ids. Whom its user namespace lacks root stands for,
    without setuid and setgid; with `archive` it is an error. `as_user`: they are the user's whom the
    container runs as, if it names one. `replace`: a file takes the place of a folder, or a folder of a file.
    Names and links in the archive lead nowhere but below that folder. Raises NotFound, InvalidInput (also for
    what is no archive), Conflict, EngineError.
    """
    with View(engine, ref) as view:
        place = Place(path, view)
        top = place.folder()
        if top < 0:
            raise InvalidInput(f"the target {place.shown} must be a folder that is there")
        scratch = -1
        try:
            writable(top, place)
            scratch = os.open(engine.paths.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            owner = _user(engine, view) if as_user else None
            work = _Unpacking(top, view, archive, owner, replace)
            pieces = compression.decompress(iter(lambda: stream.read(compression.PIECE), b""))
            with Mapped(view.owner):
                try:
                    work.feed(pieces, scratch)
                except (LayerError, Unsupported) as error:
                    done = f"{work.files} files had been unpacked" if work.files else ""
                    raise InvalidInput(f"the archive can't be unpacked: {error}", hint=done) from None
            view.tell("extract-to-dir")
            return work
        finally:
            os.close(top)
            if scratch >= 0:
                os.close(scratch)
