"""Folders of a checkout: one in it, reached by no symlink, and the times of all that is in it."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator

from estiva.errors import InvalidInput, NotFound, oneline
from estiva.linux import fs


class Below:
    """A folder of a checkout, reached by no symlink, as a path that is good while it is open."""

    def __init__(self, top: str, path: str) -> None:
        parts = path.split("/")
        if not path or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
            raise InvalidInput(f"the repository has a submodule at {oneline(path)[:200]!r}")
        root = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fd = open_folder(root, path)
        finally:
            os.close(root)
        self.path = os.readlink(f"/proc/self/fd/{self.fd}")

    def __enter__(self) -> str:
        if os.listdir(self.fd):
            raise InvalidInput("the repository has files in the place of a submodule")
        return self.path

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)


def open_folder(root: int, path: str) -> int:
    """An fd of a folder below `root`, without a symlink on the way. Raises InvalidInput, NotFound."""
    resolve = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_NO_MAGICLINKS
    try:
        return fs.openat2(root, path or ".", os.O_RDONLY | os.O_DIRECTORY, 0, resolve)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no folder {oneline(path)[:200]}") from None
    except OSError:
        raise InvalidInput(f"{oneline(path)[:200]} is not a folder, or is reached through a link") from None


def set_times(folder: str, nanoseconds: int) -> None:
    for path in _below(folder):
        os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def _below(folder: str) -> Iterator[str]:
    """All in a folder that nobody else changes, what is in a folder before itself; .git is left out."""
    for name in os.listdir(folder):
        path = posixpath.join(folder, name)
        if name != ".git" and stat.S_ISDIR(os.lstat(path).st_mode):
            yield from _below(path)
        yield path
    yield folder
