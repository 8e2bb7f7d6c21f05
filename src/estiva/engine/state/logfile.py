"""A container's log as a file: JSON lines as Docker's json-file driver writes them, rotated."""

from __future__ import annotations

import os

from estiva import fastjson
from estiva.errors import InvalidInput
from estiva.files import write_all
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


LINE = 16 << 10  # bytes; a longer line is cut into several, as Docker does


ROTATE = 20 << 20  # bytes a file


KEEP = 3  # files, the live one included


class Writer:
    """Appends to a log file, made at the first byte. Never raises for a full disk: the container matters
    more.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.size = 0
        self.partial = {"stdout": b"", "stderr": b""}

    def stream(self, name: str) -> Callable[[bytes], None]:
        return lambda data: self.write(name, data)

    def write(self, stream: str, data: bytes) -> None:
        lines = (self.partial[stream] + data).split(b"\n")
        rest = lines.pop()
        out = [self.entry(stream, line + b"\n") for line in lines]
        while len(rest) > LINE:
            out.append(self.entry(stream, rest[:LINE]))
            rest = rest[LINE:]
        self.partial[stream] = rest
        self.append("".join(out).encode())

    def entry(self, stream: str, line: bytes) -> str:
        text = line.decode("utf-8", "replace")
        return fastjson.dumps({"log": text, "stream": stream, "time": rfc3339()}) + "\n"

    def append(self, data: bytes) -> None:
        if not data:
            return
        try:
            if self.fd < 0:
                self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self.size = os.fstat(self.fd).st_size
            write_all(self.fd, data)
            self.size += len(data)
            if self.size > ROTATE:
                self.rotate()
        except OSError:
            if self.fd >= 0:
                os.ftruncate(self.fd, self.size)  # no half line, which the next one would continue

    def rotate(self) -> None:
        os.close(self.fd)
        self.fd, self.size = -1, 0
        for number in range(KEEP - 2, -1, -1):
            older = f"{self.path}.{number}" if number else self.path
            if os.path.exists(older):
                os.rename(older, f"{self.path}.{number + 1}")

    def close(self) -> None:
        """Write lines that have no newline yet."""
        for stream, rest in self.partial.items():
            if rest:
                self.append(self.entry(stream, rest).encode())
                self.partial[stream] = b""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def entry_of(line: bytes) -> Iterator[dict[str, Any]]:
    """The entry in a line; none if a power cut garbled it."""
    try:
        entry = fastjson.loads(line)
        if isinstance(entry["log"], str) and isinstance(entry["time"], str) and entry["stream"]:
            yield entry
    except (InvalidInput, KeyError, TypeError):
        pass


def entries(path: str) -> Iterator[dict[str, Any]]:
    """Every entry, oldest file first. A half-written last line is left out."""
    for number in range(KEEP - 1, -1, -1):
        try:
            with open(f"{path}.{number}" if number else path, "rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield from entry_of(line)
        except FileNotFoundError:
            continue


class Follower:
    """Reads a growing log through rotations."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.rest = b""

    def before(self) -> Iterator[dict[str, Any]]:
        """What is there already; remembers where it ended."""
        for number in range(KEEP - 1, 0, -1):
            try:
                with open(f"{self.path}.{number}", "rb") as file:
                    for line in file:
                        yield from entry_of(line)
            except FileNotFoundError:
                continue
        yield from self.read()

    def read(self) -> Iterator[dict[str, Any]]:
        if self.fd < 0:
            try:
                self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
        while data := os.read(self.fd, 1 << 16):
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                yield from entry_of(line)

    def rotated(self) -> bool:
        try:
            return self.fd >= 0 and os.fstat(self.fd).st_ino != os.stat(self.path).st_ino
        except FileNotFoundError:
            return False

    def follow(self, show: Callable[[dict[str, Any]], None], alive: Callable[[], bool]) -> None:
        import time

        while True:
            running = alive()
            for entry in self.read():
                show(entry)
            if self.rotated():
                os.close(self.fd)
                self.fd = -1
                continue
            if not running:
                return
            time.sleep(0.05)
