"""A build context that a client sends, kept in a folder of ours: the next time only what has changed comes.

The words are fsutil's (github.com/tonistiigi/fsutil, as BuildKit's session has it): the client tells what
there is, sorted, each folder before what is in it; it is asked for the bytes of the files that are not here
as told. A file gets its time when it is whole, so what a broken transfer has left is asked for again.

Everything that is told is judged (K10, K14): paths lie below the folder and below folders that were told, no
link is followed, devices are refused.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from estiva import files
from estiva.errors import EstivaError, InvalidInput, brief, from_os
from estiva.linux import fs

ENTRIES = 1 << 21  # of one context
PATH = 4096  # bytes
OPEN = 128  # files that come at once
# bits of Go's os.FileMode
DIR, LINK, DEVICE, PIPE, SOCKET, CHARACTER = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24, 1 << 21
KINDS = DIR | LINK | DEVICE | PIPE | SOCKET | CHARACTER | 1 << 19
SETUID, SETGID, STICKY = 1 << 23, 1 << 22, 1 << 20
_WALK = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_NO_MAGICLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Told(NamedTuple):
    """One entry, as the client tells it; `mode` is Go's, `mtime` nanoseconds, `link` a symlink's target or
    the path of the file that this is another name of."""

    path: str
    mode: int
    size: int
    mtime: int
    link: str = ""

    @property
    def permissions(self) -> int:
        special = (SETUID, stat.S_ISUID), (SETGID, stat.S_ISGID), (STICKY, stat.S_ISVTX)
        return self.mode & 0o777 | sum(ours for theirs, ours in special if self.mode & theirs)


class Mirror:
    """One transfer into the folder at `path`, which is nobody's but ours. Raises InvalidInput and what the
    disk raises; `close` it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.received = 0  # bytes
        self._root = os.open(path, _FOLDER)
        self._folders: dict[str, set[str]] = {"": set()}  # what was told to be in each
        self._modes: list[Told] = []  # of folders, which are set when all is in them
        self._files: dict[str, Told] = {}
        self._wanted: dict[int, Told] = {}
        self._open: dict[int, tuple[int, int]] = {}  # by number: fd, bytes left
        self._number = -1
        self._last: list[str] = []
        self._here = ("", os.dup(self._root))

    @property
    def done(self) -> bool:
        """Whether all that was asked for is here."""
        return not self._wanted

    def tell(self, entry: Told) -> int:
        """The next entry: the number to ask for its bytes by, -1 where they are not wanted."""
        self._number += 1
        if self._number >= ENTRIES:
            raise InvalidInput(f"the build context has over {ENTRIES} entries")
        folder, name = self._place(entry)
        kind = entry.mode & KINDS
        if kind == SOCKET:
            return -1
        if kind & DEVICE:
            raise InvalidInput(f"the build context has a device: {brief(entry.path, 200)}")
        if kind not in (0, DIR, LINK, PIPE):
            raise InvalidInput(f"the build context has something that is no file: {brief(entry.path, 200)}")
        self._folders[folder].add(name)
        try:
            return self._put(entry, self._fd(folder), name, kind)
        except OSError as error:
            raise _named(error, entry.path) from None

    def _place(self, entry: Told) -> tuple[str, str]:
        path = entry.path
        parts = path.split("/")
        if len(os.fsencode(path)) > PATH or "\0" in path or any(part in ("", ".", "..") for part in parts):
            raise InvalidInput(f"the client tells of an impossible path: {brief(path, 200)}")
        if parts <= self._last:
            raise InvalidInput(f"the client tells of paths out of their order: {brief(path, 200)}")
        self._last = parts
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            raise InvalidInput(f"the client tells of a path below no folder: {brief(path, 200)}")
        return folder, name

    def _fd(self, folder: str) -> int:
        """A folder's, for as long as what is told is in it."""
        known, fd = self._here
        if known != folder:
            found = fs.openat2(self._root, folder, _FOLDER, resolve=_WALK) if folder else os.dup(self._root)
            os.close(fd)
            self._here = folder, found
        return self._here[1]

    def _put(self, entry: Told, fd: int, name: str, kind: int) -> int:
        try:
            there = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if kind == DIR:
            if there is not None and not stat.S_ISDIR(there.st_mode):
                self._remove(fd, name, there)
                there = None
            if there is None:
                os.mkdir(name, 0o700, dir_fd=fd)
            elif there.st_mode & 0o700 != 0o700:
                os.chmod(name, 0o700, dir_fd=fd)
            self._folders[entry.path] = set()
            self._modes.append(entry)
            return -1
        if kind == 0 and entry.link:
            self._hard_link(entry, fd, name, there)
            return -1
        if kind == 0:
            self._files[entry.path] = entry
        if there is not None:
            if kind == 0 and _same(there, entry):
                if stat.S_IMODE(there.st_mode) != entry.permissions:
                    os.chmod(name, entry.permissions, dir_fd=fd)
                return -1
            if kind == LINK and stat.S_ISLNK(there.st_mode) and os.readlink(name, dir_fd=fd) == entry.link:
                return -1
            self._remove(fd, name, there)
        if kind == LINK:
            os.symlink(entry.link, name, dir_fd=fd)
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=fd, follow_symlinks=False)
            return -1
        if kind == PIPE:
            os.mkfifo(name, entry.permissions, dir_fd=fd)
            return -1
        os.close(_create(fd, name))
        self._wanted[self._number] = entry
        return self._number

    def _hard_link(self, entry: Told, fd: int, name: str, there: os.stat_result | None) -> None:
        folder, _, target = entry.link.lstrip("/").rpartition("/")
        path = f"{folder}/{target}" if folder else target
        if path not in self._files:
            raise InvalidInput(f"{brief(entry.path, 200)} is another name of no file that was told")
        source = fs.openat2(self._root, folder, _FOLDER, resolve=_WALK) if folder else os.dup(self._root)
        try:
            if there is not None:
                if os.path.samestat(there, os.stat(target, dir_fd=source, follow_symlinks=False)):
                    return
                self._remove(fd, name, there)
            os.link(target, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(source)

    def _remove(self, fd: int, name: str, there: os.stat_result) -> None:
        if stat.S_ISDIR(there.st_mode):
            files.remove_tree(f"/proc/self/fd/{fd}/{name}")
        else:
            os.unlink(name, dir_fd=fd)

    def data(self, number: int, data: bytes) -> None:
        """Bytes of a file that was asked for; none are its end."""
        entry = self._wanted.get(number)
        if entry is None:
            raise InvalidInput("the client sends a file that was not asked for")
        self.received += len(data)
        try:
            if number not in self._open:
                if len(self._open) >= OPEN:
                    raise InvalidInput(f"the client sends over {OPEN} files at once")
                self._open[number] = self._reopen(entry.path), entry.size
            fd, left = self._open[number]
            if data:
                files.write_all(
                    fd, data[: max(left, 0)]
                )  # one that grows, as a log does, ends as it was told
                self._open[number] = fd, left - len(data)
                return
            os.fchmod(fd, entry.permissions)
            if not left:  # else it has changed meanwhile: the next transfer asks for it again
                os.utime(fd, ns=(entry.mtime, entry.mtime))
            os.close(fd)
            del self._open[number], self._wanted[number]
        except OSError as error:
            raise _named(error, entry.path) from None

    def _reopen(self, path: str) -> int:
        return fs.openat2(
            self._root, path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, resolve=_WALK
        )

    def finish(self) -> None:
        """All was told and has come: what was not told goes, folders get their modes and times."""
        try:
            for folder, names in self._folders.items():
                fd = self._fd(folder)
                for name in set(os.listdir(fd)) - names:
                    self._remove(fd, name, os.stat(name, dir_fd=fd, follow_symlinks=False))
            for entry in reversed(self._modes):
                fd = self._fd(entry.path)
                os.fchmod(fd, entry.permissions)
                os.utime(fd, ns=(entry.mtime, entry.mtime))
        except OSError as error:
            raise from_os(error) from None

    def close(self) -> None:
        for fd, _ in self._open.values():
            os.close(fd)
        self._open.clear()
        os.close(self._here[1])
        os.close(self._root)


def _named(error: OSError, path: str) -> EstivaError:
    error.filename, error.filename2 = path, None
    return from_os(error)


def _same(there: os.stat_result, entry: Told) -> bool:
    """Whether a file is as told, by what a client can see without reading it."""
    return stat.S_ISREG(there.st_mode) and there.st_size == entry.size and there.st_mtime_ns == entry.mtime


def _create(fd: int, name: str) -> int:
    return os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd
    )
