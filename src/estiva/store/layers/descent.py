"""The way down a tree of folders that may be nested deep: few of them are kept open."""

from __future__ import annotations

import os

from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN = 100  # folders: of those that lie above, one is opened again, from what is in it, when it is its turn


class Descent:
    """Folders, each in the one before. `fd` is the innermost; `down` and `up` change that."""

    def __init__(self, top: int) -> None:
        """`top` is the caller's to close."""
        self._fds = [top]
        self._known: dict[int, tuple[int, int]] = {}  # by level, which folder it was that was closed

    @property
    def fd(self) -> int:
        return self._fds[-1]

    @property
    def depth(self) -> int:
        """How many folders lie above the innermost."""
        return len(self._fds) - 1

    def down(self, fd: int) -> None:
        """Into a folder of the innermost one; it is closed here from now on."""
        self._fds.append(fd)
        level = self.depth - OPEN
        if level > 0:
            found = os.fstat(self._fds[level])
            self._known[level] = found.st_dev, found.st_ino
            os.close(self._fds[level])
            self._fds[level] = -1

    def up(self) -> None:
        """Out of the innermost. Raises EngineError where it was moved meanwhile."""
        inner = self._fds.pop()
        level = self.depth
        try:
            if level >= 0 and self._fds[level] < 0:
                outer = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=inner)
                self._fds[level] = outer
                found = os.fstat(outer)
                if (found.st_dev, found.st_ino) != self._known.pop(level):
                    raise EngineError("a folder was moved while it was read", hint="try again")
        finally:
            if level >= 0:
                os.close(inner)

    def close(self) -> None:
        """All but the top."""
        while self.depth > 0:
            fd = self._fds.pop()
            if fd >= 0:
                os.close(fd)


def walk(root: int, look: Callable[[int, list[str]], list[str]]) -> None:
    """Go through the folder `root` (fd, the caller's) and all below it. `look` is given each one's fd and the
    names of the way to it, and gives back which of its folders are to be gone into. What goes meanwhile is
    left out; whatever else keeps one from being read is an error: OSError, EngineError.
    """
    way = Descent(root)
    names: list[str] = []
    left = [look(root, names)]
    try:
        while left:
            if not left[-1]:
                left.pop()
                way.up()
                del names[-1:]
                continue
            name = left[-1].pop()
            try:
                way.down(os.open(name, FOLDER, dir_fd=way.fd))
            except (FileNotFoundError, NotADirectoryError):
                continue
            names.append(name)
            left.append(look(way.fd, names))
    finally:
        way.close()
