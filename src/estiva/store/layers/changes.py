"""What an upper directory changes, as docker diff tells it."""

from __future__ import annotations

import os
import stat

from estiva.store.layers.descent import FOLDER, Descent
from estiva.store.layers.implied import Attributes
from estiva.store.layers.pack import MAX_DEPTH, is_opaque, reopen, too_deep


class _Folder:
    """A directory of the upper that is being compared. `below`: the lower has one there too."""

    __slots__ = ("path", "mine", "old", "below", "opaque", "seen", "left", "before")

    def __init__(
        self, path: str, fd: int, mine: os.stat_result, old: os.stat_result | None, below: bool, before: int
    ) -> None:
        self.path, self.mine, self.old, self.below = path, mine, old, below
        self.opaque = is_opaque(fd)
        self.seen = os.listdir(fd)
        self.left = list(self.seen)  # to look at
        self.before = before  # how many changes were found before it


class Changes:
    """A added, C changed, D deleted; parents of changes are C."""

    def __init__(self, upper: int, lower: int) -> None:
        self.upper = Descent(upper)
        self.lower = Descent(reopen(lower))
        self.found: list[tuple[str, str]] = []

    def run(self) -> list[tuple[str, str]]:
        """[("A"|"C"|"D", "/path")], sorted by path. Raises EngineError for what is nested too deep."""
        lower = self.lower.fd
        mine = os.fstat(self.upper.fd)
        folders = [_Folder("", self.upper.fd, mine, mine, True, 0)]
        try:
            while folders:
                here = folders[-1]
                if here.left:
                    try:
                        inner = self._item(here, here.left.pop())
                    except FileNotFoundError:
                        continue  # a running container removed it meanwhile
                    if inner is not None:
                        folders.append(inner)
                    continue
                folders.pop()
                self._leave(here)
        finally:
            self.upper.close()
            self.lower.close()
            os.close(lower)
        return sorted(self.found, key=lambda change: change[1])

    def _item(self, folder: _Folder, name: str) -> _Folder | None:
        """Compare one entry of the innermost directory; a directory is gone into, and given back."""
        path = f"{folder.path}/{name}"
        mine = os.stat(name, dir_fd=self.upper.fd, follow_symlinks=False)
        old = _lstat(self.lower.fd, name) if folder.below else None
        if stat.S_ISCHR(mine.st_mode) and mine.st_rdev == 0:
            if old is not None:
                self.found.append(("D", path))
        elif stat.S_ISDIR(mine.st_mode):
            return self._enter(path, name, mine, old)
        elif old is None:
            self.found.append(("A", path))
        elif _file_differs(mine, old):
            self.found.append(("C", path))
        return None

    def _enter(self, path: str, name: str, mine: os.stat_result, old: os.stat_result | None) -> _Folder:
        if self.upper.depth >= MAX_DEPTH:
            raise too_deep(os.fsencode(path[1:]), MAX_DEPTH)
        below = old is not None and stat.S_ISDIR(old.st_mode)
        fd = os.open(name, FOLDER, dir_fd=self.upper.fd)
        try:
            folder = _Folder(path, fd, mine, old, below, len(self.found))
            if below:
                self.lower.down(os.open(name, FOLDER, dir_fd=self.lower.fd))
        except BaseException:
            os.close(fd)
            raise
        self.upper.down(fd)
        return folder

    def _leave(self, folder: _Folder) -> None:
        """All in the innermost directory has been compared."""
        if folder.opaque and folder.below:
            hidden = set(os.listdir(self.lower.fd)).difference(folder.seen)
            self.found += [("D", f"{folder.path}/{name}") for name in hidden]
        if folder.path and folder.old is None:
            self.found.append(("A", folder.path))
        elif folder.path and (
            len(self.found) > folder.before
            or not folder.below
            or _differs(self.upper.fd, self.lower.fd, folder.mine, folder.old or folder.mine)
        ):
            self.found.append(("C", folder.path))
        if folder.path:
            self.upper.up()
            if folder.below:
                self.lower.up()


def _lstat(directory: int, name: str) -> os.stat_result | None:
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
