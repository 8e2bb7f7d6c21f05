"""Looking at a process of a container: by an fd of its folder in /proc, which stays with that process even if
its number passes to another, and with bounds on all that is read.
"""

from __future__ import annotations

import os

from estiva.errors import brief
from estiva.linux import fs

LINE = 4 << 10  # bytes of a command line, or of a file of few words
TABLE = 4 << 20  # bytes of a table: mounts, users
TEXT = 300  # characters of one text from inside
RESOLVE_IN_ROOT, RESOLVE_NO_XDEV = 0x10, 0x01  # openat2(2)


class Seen:
    """A process. Raises ProcessLookupError when there is none, or no longer."""

    def __init__(self, pid: int) -> None:
        try:
            self.fd = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ProcessLookupError(3, "no such process", str(pid)) from None
        self.pid = pid

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)

    def read(self, name: str, limit: int = LINE) -> str:
        """So many bytes of a file at most. Raises OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.fd)
        try:
            pieces, left = [], limit
            while left > 0 and (piece := os.read(fd, min(left, 1 << 16))):
                pieces.append(piece)
                left -= len(piece)
        finally:
            os.close(fd)
        return b"".join(pieces).decode("utf-8", "surrogateescape")

    def status(self) -> dict[str, str]:
        """proc_pid_status(5)."""
        lines = (line.partition(":") for line in self.read("status").split("\n"))
        return {name: value.strip() for name, _, value in lines}

    def namespace(self, name: str) -> int:
        """The number of a namespace, by its name in /proc/PID/ns; 0 where the kernel has none of the kind."""
        try:
            return number(os.readlink(f"ns/{name}", dir_fd=self.fd))
        except FileNotFoundError:
            return 0

    def file(self, path: str) -> str:
        """A file of its root filesystem itself, of nothing that is mounted on it: that could make who looks
        wait for ever. "" where there is none, or nothing that can be read."""
        try:
            root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            return ""
        try:
            found = fs.openat2(
                root, path, os.O_PATH | os.O_CLOEXEC, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_XDEV
            )
            try:
                return fs.read_regular(found, TABLE, path).decode("utf-8", "surrogateescape")
            finally:
                os.close(found)
        except OSError:
            return ""
        finally:
            os.close(root)


def number(link: str) -> int:
    """Of "pid:[4026531836]"."""
    inner = link.partition("[")[2].rstrip("]")
    return int(inner) if inner.isdigit() else 0


def clean(text: str, limit: int = TEXT) -> str:
    """A text from inside, fit to be shown: printable, and no longer than that."""
    return brief(text, limit)


def whole(text: str) -> int:
    """The first number of a line such as "1336 kB"; 0 for none."""
    word = text.split(" ")[0].split("\t")[0]
    return int(word) if word.isascii() and word.isdigit() else 0
