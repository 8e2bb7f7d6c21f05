"""A container's log as its monitor writes it: Docker's json-file form, one object a line (cold path).

    {"log":"text with its newline\\n","stream":"stdout","time":"2026-01-31T12:00:00.000000001Z"}

    log.json       what is being written
    log.json.1     what was before it, and so on: KEEP files, the oldest goes

A follower, who must miss no file however often the log is rotated between two of its looks, and though the
container is removed, has a folder in ingest/ with its flock on it. Whoever makes a log file gives it a second
name there, before the first byte (`pass_on`): 0, 1, 2 ... A follower too slow for BEHIND files gets a symlink
instead, which says that something is missing there. engine/containers/logreader.py is the other side.
"""

from __future__ import annotations

import os

from estiva.files import abandoned, remove_tree, write_all
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LINE = 16 << 10  # bytes; a longer line is cut into several entries, as Docker does
ROTATE = 20 << 20  # bytes a file
KEEP = 3  # files, the live one included
BEHIND = 50  # files that wait for one follower

HEAD = b'{"log":"'
TAIL = b'","stream":"%b","time":"%b"}\n'
# What a JSON string holds as it is, and newlines; what else is ASCII is escaped, the backslash first.
_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\') + b"\n"
_SHORT = {0x5C: b"\\\\", 0x22: b'\\"', 0x08: b"\\b", 0x09: b"\\t", 0x0C: b"\\f", 0x0D: b"\\r"}
_OTHERS = {byte: b"\\u%04x" % byte for byte in range(0x20) if byte not in (0x0A, *_SHORT)}
_ESCAPES = {**_SHORT, **_OTHERS}


class Writer:
    """Appends to a log file, made at the first byte. Never raises for a full disk: the container matters
    more.

    Lines that one `write` completes have one time: they came by one read. `ingest` is where followers are.
    """

    def __init__(self, path: str, ingest: str) -> None:
        self.path = path
        self.ingest = ingest
        self.fd = -1
        self.size = 0
        self.partial = {"stdout": b"", "stderr": b""}

    def stream(self, name: str) -> Callable[[bytes], None]:
        return lambda data: self.write(name, data)

    def write(self, stream: str, data: bytes) -> None:
        """Log what came; a line without its newline waits for that, up to LINE bytes."""
        if self.partial[stream]:
            data = self.partial[stream] + data
        end = TAIL % (stream.encode(), rfc3339().encode())
        out: list[bytes] = []
        done = position = 0
        while position + LINE < len(data):
            newline = data.rfind(b"\n", position, position + LINE + 1)
            if newline >= 0:
                position = newline + 1
                continue
            out.append(entries(data[done:position], end))  # ... up to a line that is too long
            done = position
            position += LINE
            while position > done + LINE - 4 and data[position] & 0xC0 == 0x80:
                position -= 1  # not inside a character
            out.append(HEAD + escape(data[done:position]) + end)
            done = position
        newline = data.rfind(b"\n", done) + 1
        if newline:
            out.append(entries(data[done:newline], end))
            done = newline
        self.partial[stream] = data[done:]
        self.append(b"".join(out))

    def append(self, data: bytes) -> None:
        if not data:
            return
        try:
            if self.fd < 0:
                self.open()
            write_all(self.fd, data)
            self.size += len(data)
            if self.size > ROTATE:
                self.rotate()
        except OSError:
            if self.fd >= 0:
                os.ftruncate(self.fd, self.size)  # no half line, which the next one would continue

    def open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        try:
            self.fd = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            self.fd = os.open(self.path, flags)
            self.size = os.fstat(self.fd).st_size
        else:
            pass_on(self.path, self.ingest)

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
                self.append(HEAD + escape(rest) + TAIL % (stream.encode(), rfc3339().encode()))
                self.partial[stream] = b""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def entries(lines: bytes, end: bytes) -> bytes:
    """The entries of whole lines, all at once: nothing here is done line by line."""
    if not lines:
        return b""
    between = b"\\n" + end + HEAD
    return HEAD + escape(lines).replace(b"\n", between)[: -len(HEAD)]


def escape(text: bytes) -> bytes:
    """What stands between the quotes of a JSON string, but newlines, which are left as they are.

    What is no UTF-8 becomes U+FFFD.
    """
    odd = text.translate(None, _PLAIN)
    if odd:
        if not odd.isascii():
            text = text.decode("utf-8", "replace").encode()
        for byte, escaped in _ESCAPES.items():
            if byte in odd:
                text = text.replace(bytes((byte,)), escaped)
    return text


# --- followers --------------------------------------------------------------------------------------------


def suffix(path: str) -> str:
    """How the folders of those end who follow the log at `path`."""
    return f".{os.path.basename(os.path.dirname(path))}.log"


def pass_on(path: str, ingest: str) -> None:
    """Tell every follower of a file that has just been made, and clean up after those that have gone."""
    mine = suffix(path)
    try:
        names = os.listdir(ingest)
    except OSError:
        return
    for name in names:
        if name.endswith(mine):
            folder = f"{ingest}/{name}"
            gone = abandoned(folder)
            if gone >= 0:
                remove_tree(folder)
                os.close(gone)
                continue
            try:
                hand_over(path, folder)
            except OSError:
                pass  # it ends at this moment


def hand_over(path: str, folder: str) -> None:
    waiting = sorted(map(int, os.listdir(folder)))
    last = f"{folder}/{waiting[-1] if waiting else -1}"
    name = f"{folder}/{waiting[-1] + 1 if waiting else 0}"
    if len(waiting) < BEHIND:
        os.link(path, name)
    elif not os.path.islink(last):
        os.symlink("missing", name)
