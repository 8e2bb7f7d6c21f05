"""Reading a container's log (engine/state/logs/logfile.py): what is there, its end, and what is added.

Log        the files that are there, held open: what rotation or removal takes away stays readable
Follower   the files that come after them
blocks     the whole lines in a file
entries    what the lines say
"""

from __future__ import annotations

import errno
import os

from estiva import fastjson
from estiva.engine.state.logs.logfile import HEAD, TAIL, suffix
from estiva.errors import InvalidInput
from estiva.files import abandoned, new_directory, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Entry = tuple[bytes, bytes, bytes]  # stream, time, text

BLOCK = 1 << 20  # bytes; far more than the longest entry
END = 1 << 62  # an offset after the end of any file
NONE, MISSING = -1, -2  # instead of an fd: there is no next file; files are missing here
# What follows the text of an entry, which is always as long
_REST = len(TAIL % (b"stdout", b"", b"2026-01-31T12:00:00.000000001Z")) - 1
_STREAM = slice(len(b'","stream":"'), len(b'","stream":"stdout'))
_TIME = slice(len(b'","stream":"stdout","time":"'), -len(b'"}'))


class Log:
    """The files of a log, oldest first, as fds; what is compressed is unpacked into the folder `ingest` once
    it is asked for."""

    def __init__(self, path: str, ingest: str = "/var/tmp") -> None:
        self.path = path
        self.ingest = ingest
        self.fds: list[int] = []
        self.packed: list[bool] = []
        while not self._scan():
            self.close()  # rotated meanwhile

    def _names(self) -> list[str]:
        folder, _, base = self.path.rpartition("/")
        numbers: dict[int, str] = {}
        try:
            found = os.listdir(folder)
        except FileNotFoundError:
            return []
        for name in found:
            if name == base:
                numbers[0] = self.path
            elif name.startswith(base + "."):
                number = name[len(base) + 1 :].removesuffix(".gz")
                if number.isascii() and number.isdigit() and len(number) < 9:
                    numbers[int(number)] = f"{folder}/{name}"
        return [numbers[number] for number in sorted(numbers, reverse=True)]

    def _scan(self) -> bool:
        names = self._names()
        seen = []
        for name in names:
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            self.fds.append(fd)
            self.packed.append(name.endswith(".gz"))
            seen.append(os.fstat(fd).st_ino)
        return names == self._names() and seen == [_inode(name) for name in names]

    def plain(self, index: int) -> int:
        """The fd of a file as it was written."""
        if self.packed[index]:
            from estiva.engine.state.logs import pack as logpack

            fd = logpack.unpack(self.fds[index], self.ingest)
            os.close(self.fds[index])
            self.fds[index], self.packed[index] = fd, False
        return self.fds[index]

    def take(self) -> int:
        """The fd of the last one, which is the caller's from now on."""
        self.plain(len(self.fds) - 1)
        self.packed.pop()
        return self.fds.pop()

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.pop())
        self.packed = []

    def tail(self, lines: int) -> list[int]:
        """For each file the offset where the last `lines` lines of all begin: read from the end."""
        starts = [
            END if packed else os.fstat(fd).st_size for fd, packed in zip(self.fds, self.packed, strict=True)
        ]
        for index in range(len(self.fds) - 1, -1, -1):
            fd = self.plain(index)
            starts[index], lines = _back(fd, os.fstat(fd).st_size, lines)
            if not lines:
                break
        return starts


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _back(fd: int, end: int, lines: int) -> tuple[int, int]:
    """Where the last `lines` whole lines before `end` begin, and how many of them were not there."""
    wanted = lines + 1  # newlines: with the one before the first line
    while end and lines:
        start = max(0, end - BLOCK)
        block = os.pread(fd, end - start, start)
        found = block.count(b"\n")
        if found >= wanted:
            position = len(block)
            for _ in range(wanted):
                position = block.rfind(b"\n", 0, position)
            return start + position + 1, 0
        wanted -= found
        end = start
    return end, wanted - 1


class Follower:
    """The folder that the log's writer gives its new files to, from now on. Close it.

    On a full or read-only disk there can be none. New files are found by the log's name then, which is that
    of the next one as long as no two come between two looks.
    """

    def __init__(self, path: str, ingest: str) -> None:
        self.path = path
        self.lock, self.folder = -1, ""
        try:
            for name in os.listdir(ingest):
                gone = abandoned(f"{ingest}/{name}") if name.endswith(suffix(path)) else -1
                if gone >= 0:  # of one who was killed
                    remove_tree(f"{ingest}/{name}")
                    os.close(gone)
            self.lock, self.folder = new_directory(ingest, suffix(path))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
                raise

    def waiting(self) -> list[str]:
        if not self.folder:
            return []
        return [f"{self.folder}/{number}" for number in sorted(map(int, os.listdir(self.folder)))]

    def skip(self, newest: int) -> None:
        """Forget the files up to the one that is open as `newest`."""
        names = self.waiting()
        inodes = [os.lstat(name).st_ino for name in names]
        inode = os.fstat(newest).st_ino
        for name in names[: inodes.index(inode) + 1] if inode in inodes else ():
            os.unlink(name)

    def next(self, current: int) -> int:
        """An fd of the file after `current` (-1: of the first), NONE or MISSING."""
        for name in self.waiting():
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                fd = MISSING
            os.unlink(name)
            if fd < 0 or not _same(fd, current):
                return fd
            os.close(fd)  # it was made just before we came
        return NONE if self.folder else self._next_by_name(current)

    def _next_by_name(self, current: int) -> int:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return NONE
        if not _same(fd, current):
            return fd
        os.close(fd)
        return NONE

    def close(self) -> None:
        if self.folder:
            remove_tree(self.folder)
            os.close(self.lock)


def _same(fd: int, current: int) -> bool:
    return current >= 0 and os.path.samestat(os.fstat(fd), os.fstat(current))


def blocks(fd: int, start: int, most: int = BLOCK) -> Iterator[tuple[bytes, int]]:
    """(whole lines, the offset after them) from an offset on, `most` bytes at a time, more than any line has;
    half a line is left for later."""
    while data := os.pread(fd, most, start):
        length = data.rfind(b"\n") + 1
        if not length and len(data) < most:
            return
        start += length or len(data)  # a block without a newline is nothing that we wrote
        yield data[:length], start


def entries(lines: bytes, details: bool = False) -> Iterator[Entry]:
    """The entries in whole lines, with `details` their attributes, if any, and a space before the text.

    What a power cut garbled is passed over.
    """
    for line in lines.split(b"\n"):
        text, rest = line[len(HEAD) : -_REST], line[-_REST:]
        newline = text.endswith(b"\\n")
        # most lines: as our writer makes them, with nothing to unescape but the newline
        if (
            line.startswith(b'{"log":"')
            and rest.startswith(b'","stream":"std')
            and rest.endswith(b'Z"}')
            and text.count(b"\\") == newline
            and b'"' not in text
        ):
            text = text[:-2] + b"\n" if newline else text
            yield rest[_STREAM], rest[_TIME], b" " + text if details else text
        elif line:
            yield from _entry(line, details)


def _entry(line: bytes, details: bool) -> Iterator[Entry]:
    try:
        entry = fastjson.loads(line)
        stream, time, text = entry["stream"], entry["time"], entry["log"]
        if details:
            text = f"{_words(entry.get('attrs') or {})} {text}"
        yield stream.encode(), time.encode(), text.encode("utf-8", "replace")
    except (InvalidInput, KeyError, TypeError, AttributeError):
        pass


def _words(attrs: dict[str, str]) -> str:
    """As docker shows them: KEY=VALUE,... by key, percent-encoded as in a URL's query."""
    from urllib.parse import quote_plus

    return ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted(attrs.items()))
