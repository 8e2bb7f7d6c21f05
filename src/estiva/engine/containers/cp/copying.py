"""`cp` between the host and containers, or from one container to another, by fd, without a tar in between.
What goes where is by Docker's rules (docs.docker.com, "docker container cp").
"""

from __future__ import annotations

import os
import stat

from estiva.engine.containers.cp.place import Place, refuse_kernel, writable
from estiva.engine.containers.cp.view import Mapped, View
from estiva.engine.mounts.terms import FOLDER, Terms
from estiva.engine.mounts.trees import Copy
from estiva.engine.state import lookup
from estiva.errors import EstivaError, InvalidInput, NotFound, from_os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from estiva.engine import Engine

    Words = tuple[str | None, str]  # (a container, None for the host; a path)


class Views:
    """A block with the views of containers by what they are called; those of one are one."""

    def __init__(self, engine: Engine, refs: list[str]) -> None:
        self.engine = engine
        self.ids = {ref: lookup.resolve(engine, ref)["Id"] for ref in refs}
        self.views: dict[str, View] = {}

    def __enter__(self) -> Self:
        try:
            for container_id in sorted(
                set(self.ids.values())
            ):  # in one order, so that none waits for another
                self.views[container_id] = View(self.engine, container_id).__enter__()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for view in self.views.values():
            view.__exit__()

    def place(self, words: Words) -> Place:
        ref, path = words
        return Place(path, None if ref is None else self.views[self.ids[ref]])


def copy(
    engine: Engine, source: Words, target: Words, *, archive: bool = False, follow: bool = False
) -> Copy:
    """Copy a file or folder; what was done.

    `archive`: owners are those of the source, else the caller's on the host and root's in a container.
    `follow`: a symlink as source stands for what it leads to.

    What goes to the host loses setuid, setgid and capabilities, whatever the owner (K21). Raises NotFound,
    InvalidInput, Conflict, Unavailable (the disk is full), EngineError.
    """
    with Views(engine, [ref for ref, _ in (source, target) if ref is not None]) as views:
        start, end = views.place(source), views.place(target)
        work = Copy(terms(start, end, archive))
        with Mapped(end.view.owner if end.view is not None else None):
            try:
                _copy(work, start, end, follow)
            except (OSError, EstivaError) as error:
                if isinstance(error, OSError) and error.filename is None:
                    error = OSError(error.errno, error.strerror, start.shown, None, end.shown)
                known = from_os(error) if isinstance(error, OSError) else error
                if work.files:
                    known.hint = "; ".join(filter(None, (known.hint, f"{work.files} files had been copied")))
                raise known from None
        if start.view is not None:
            start.view.tell("archive-path")
        if end.view is not None:
            end.view.tell("extract-to-dir")
    return work


def terms(start: Place, end: Place, archive: bool) -> Terms:
    """On what terms files go from `start` to `end`."""
    if end.view is None:
        ids = start.view.inside if start.view is not None else None
        return Terms(fifos=True, merge=True, plain=True, chown=archive, ids=ids)
    inner, outer = start.view, end.view

    def ids_of(uid: int, gid: int) -> tuple[int, int]:
        return outer.outside(*(inner.inside(uid, gid) if inner is not None else (uid, gid)))

    owner = None if archive else outer.owner or (0, 0)
    # what the caller named on the host may be the kernel's; what a container has may not
    root = (inner.owner if inner is not None else None) or (0, 0)
    return Terms(fifos=True, merge=True, owner=owner, root=root, ids=ids_of, kernel=inner is None)


def _copy(work: Copy, start: Place, end: Place, follow: bool) -> None:
    found = start.source(follow)
    try:
        status = os.fstat(found)
        refuse(start, found, status, work.terms.kernel)
        folder = end.folder()
        try:
            if folder >= 0:
                writable(folder, end)
                opened = os.open(".", FOLDER, dir_fd=folder)
                try:
                    _into(work, start, found, status, opened)
                finally:
                    os.close(opened)
            else:
                _as(work, start, found, status, end)
        finally:
            if folder >= 0:
                os.close(folder)
    finally:
        os.close(found)


def refuse(start: Place, found: int, status: os.stat_result, kernel: bool) -> None:
    """Raise InvalidInput for a source that can't be copied."""
    if not kernel:
        refuse_kernel(found, start)
    kind = status.st_mode
    if stat.S_ISBLK(kind) or stat.S_ISCHR(kind) or stat.S_ISSOCK(kind):
        what = "a socket" if stat.S_ISSOCK(kind) else "a device"
        raise InvalidInput(
            f"{start.shown} is {what}, which can't be copied", hint="files, folders and fifos can"
        )


def spare(end: Place, kind: int) -> None:
    """Raise InvalidInput for what is no file on the host: others use it, /dev/null say."""
    if stat.S_ISBLK(kind) or stat.S_ISCHR(kind) or stat.S_ISSOCK(kind):
        what = "a socket" if stat.S_ISSOCK(kind) else "a device"
        raise InvalidInput(f"{end.shown} is {what}, which is not replaced", hint="- gives a tar on stdout")


def _into(work: Copy, start: Place, found: int, status: os.stat_result, folder: int) -> None:
    """The target is a folder that is there."""
    if not stat.S_ISDIR(status.st_mode):
        work.file(found, folder, start.name, start.path)
        return
    source = os.open(".", FOLDER, dir_fd=found)
    try:
        if start.content:
            work.contents(source, folder, start.path.rstrip("./"))
            return
        inner = work.terms.enter(start.name, folder)
        try:
            work.tree(source, inner, start.path.rstrip("/"))
        finally:
            os.close(inner)
    finally:
        os.close(source)


def _as(work: Copy, start: Place, found: int, status: os.stat_result, end: Place) -> None:
    """The target is no folder: a file, or nothing yet."""
    whole = stat.S_ISDIR(status.st_mode)
    parent, name, there = end.last()
    try:
        if end.slashed and not whole:
            if there is not None:
                raise InvalidInput(f"{end.shown} is not a folder")
            raise NotFound(f"no such folder: {end.shown}", hint="without the slash, a file is made")
        writable(parent, end)
        if end.view is None and there is not None:
            spare(end, there.st_mode)
        if whole and there is not None:
            raise InvalidInput(f"a folder can't be copied to the file {end.shown}")
        if not whole:
            work.file(found, parent, name, start.path)
            return
        source = os.open(".", FOLDER, dir_fd=found)
        try:
            inner = work.terms.enter(name, parent)
            try:
                work.tree(source, inner, start.path.rstrip("/"))
            finally:
                os.close(inner)
        finally:
            os.close(source)
    finally:
        os.close(parent)
