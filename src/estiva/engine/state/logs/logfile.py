"""A container's log as its monitor writes it: Docker's json-file form, one object a line (cold path).

    {"log":"text with its newline\\n","stream":"stdout","time":"2026-01-31T12:00:00.000000001Z"}

    log.json       what is being written
    log.json.1     what was before it, and so on: KEEP files, the oldest goes; or log.json.1.gz (pack.py)

As with Docker, an entry goes into a file that has not reached its size yet, and into a new one otherwise: the
newest are always there, and no file is longer than that size and one entry.

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

    from estiva.engine.state.types import LogOptions

    Parts = list[bytes] | list[memoryview]
    Place = tuple[int, int]  # the number of a part, an offset in it

LINE = 16 << 10  # bytes; a longer line is cut into several entries, as Docker does
ROTATE = 20 << 20  # bytes a file, unless its options say otherwise
KEEP = 3  # files, the live one included, likewise
BEHIND = 50  # files that wait for one follower ...
MANY = 1000  # ... or, of smaller ones, up to so many
LOST = "log.lost"  # in the run folder: bytes of output that a full disk has taken

HEAD = b'{"log":"'
TAIL = b'","stream":"%b",%b"time":"%b"}\n'
# What a JSON string does not hold as it is; newlines are seen to elsewhere. The backslash goes first.
_SHORT = {0x5C: b"\\\\", 0x22: b'\\"', 0x08: b"\\b", 0x09: b"\\t", 0x0C: b"\\f", 0x0D: b"\\r"}
_OTHERS = {byte: b"\\u%04x" % byte for byte in range(0x01, 0x20) if byte not in (0x0A, *_SHORT)}
_ESCAPES = [(bytes((byte,)), escaped) for byte, escaped in {**_SHORT, **_OTHERS}.items()]
# Zeros come in numbers, of a disk or a hole: 64 at once, and once the others are looked for no more.
_ESCAPES += [(bytes(64), b"\\u0000" * 64), (b"\0", b"\\u0000")]


class Writer:
    """Appends to a log file, made at the first byte. Never raises for a full disk: the container matters
    more. What was lost is counted in the run folder `run`, and an entry tells of it once there is room.

    Lines that one `write` completes have one time: they came by one read. `ingest` is where followers are.
    """

    def __init__(self, path: str, ingest: str, run: str = "", options: LogOptions | None = None) -> None:
        options = options or {}
        self.path = path
        self.ingest = ingest
        self.run = run
        self.options = options
        self.keep = options.get("keep", KEEP)
        self.compress = options.get("compress", False)
        self.attrs = options.get("attrs", "").encode()  # that each entry has: `"attrs":{...},`
        self.fd = -1
        self.size = 0
        self.lost = 0
        self.partial = {"stdout": b"", "stderr": b""}

    def stream(self, name: str) -> Callable[[bytes], None]:
        return lambda data: self.write(name, data)

    def write(self, stream: str, data: bytes) -> None:
        """Log what came; a line without its newline waits for that, up to LINE bytes."""
        if self.partial[stream]:
            data = self.partial[stream] + data
        end = self.tail(stream)
        out: list[bytes] = []
        done = position = 0
        while position + LINE < len(data):
            newline = data.rfind(b"\n", position, position + LINE + 1)
            if newline >= 0:
                position = newline + 1
                continue
            out += entries(data[done:position], end)  # ... up to a line that is too long
            done = position
            position += LINE
            while position > done + LINE - 4 and data[position] & 0xC0 == 0x80:
                position -= 1  # not inside a character
            out += (HEAD, escape(data[done:position]), end)
            done = position
        newline = data.rfind(b"\n", done) + 1
        if newline:
            out += entries(data[done:newline], end)
            done = newline
        self.partial[stream] = data[done:]
        if out:
            self.add(out, len(data) - len(self.partial[stream]))

    def tail(self, stream: str) -> bytes:
        """What follows the text of an entry that is written now."""
        return TAIL % (stream.encode(), self.attrs, rfc3339().encode())

    def append(self, data: bytes) -> None:
        """Write what is an entry already."""
        self.add([data], len(data))

    def add(self, parts: list[bytes], length: int) -> None:
        """Write entries, of which the container has said `length` bytes."""
        rotated = False
        done = size = 0
        try:
            if self.fd < 0:
                self.open()
            if self.lost:
                parts = [*self.loss(), *parts]
            size = sum(map(len, parts))
            for piece in self.by_file(parts, size):
                if done or not piece:
                    rotated = self.rotate() or rotated
                if self.fd < 0:
                    self.open()
                if not piece:
                    continue
                write_parts(self.fd, piece)
                written = sum(map(len, piece))
                self.size += written
                done += written
                if self.lost:
                    self.lose(-self.lost)
        except OSError as error:
            if self.fd >= 0:
                os.ftruncate(self.fd, self.size)  # no half line, which the next one would continue
            # in proportion, where files that are full already have got some of it
            self.lose(length * (size - done) // size if done else length, error)
        if rotated and self.compress:
            from estiva.engine.state.logs import pack as logpack

            try:
                logpack.start(self.path, self.keep)
            except OSError:
                pass  # they stay as they are; after the next rotation it is tried again

    @property
    def limit(self) -> int:
        """Bytes a file; 0: no limit."""
        return self.options.get("size", ROTATE)

    def by_file(self, parts: list[bytes], size: int) -> list[Parts]:
        """Entries of `size` bytes as they go into this file and those after it; nothing into a full one."""
        limit = self.limit
        if not 0 < limit < self.size + size:
            return [parts]
        # What will have been rotated away at the end of this is not worth files of its own: it goes into
        # the one that is written now, which goes too, and which followers have got.
        ends = cuts(parts, limit - self.size, limit)[-self.keep - 1 :]
        return [between(parts, *pair) for pair in zip([(0, 0), *ends[:-1]], ends, strict=True)]

    def loss(self) -> list[bytes]:
        return [HEAD, b"estiva: %d bytes of output are missing here: " % self.lost, self.why, b"\\n",
                self.tail("stderr")]  # fmt: skip

    outlet = None  # where it goes besides: engine/monitor/logs/outlet.py
    why = b""  # the words of the error that took them

    def lose(self, length: int, error: OSError | None = None) -> None:
        """Count what could not be written, or with less than nothing forget it."""
        self.lost += length
        if error is not None:
            self.why = escape(os.strerror(error.errno or 0).lower().encode())
        try:
            if self.lost:
                with open(f"{self.run}/{LOST}", "wb") as file:
                    file.write(b"%d" % self.lost)
            else:
                os.unlink(f"{self.run}/{LOST}")
        except OSError:
            pass

    def open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        try:
            self.fd = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            self.fd = os.open(self.path, flags)
            self.size = os.fstat(self.fd).st_size
        else:
            behind = min(MANY, BEHIND * ROTATE // self.limit) if self.limit else 0
            pass_on(self.path, self.ingest, max(BEHIND, behind))

    def rotate(self) -> bool:
        """Leave this file for a new one, still to be opened. False: it can't be, and grows on."""
        try:
            if self.compress:
                from estiva.engine.state.logs import pack as logpack

                with logpack.Folder(self.path):
                    self.shift()
            else:
                self.shift()
        except OSError:
            return False
        return True

    def shift(self) -> None:
        """Each file gets the next number, and the last one goes."""
        for number in range(self.keep - 1, -1, -1):
            for end in ("", ".gz") if number else ("",):
                older = (f"{self.path}.{number}" if number else self.path) + end
                if not os.path.exists(older):
                    continue
                if number == self.keep - 1:
                    os.unlink(older)
                else:
                    os.rename(older, f"{self.path}.{number + 1}{end}")
        os.close(self.fd)
        self.fd, self.size = -1, 0

    def close(self) -> None:
        """Write lines that have no newline yet."""
        for stream, rest in self.partial.items():
            if rest:
                self.add([HEAD, escape(rest), self.tail(stream)], len(rest))
                self.partial[stream] = b""
        if self.lost:
            self.add([], 0)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def cuts(parts: list[bytes], room: int, limit: int) -> list[Place]:
    """Where files end: after the entry that fills the first one's `room`, and then each `limit` bytes."""
    ends: list[Place] = []
    if room <= 0:
        ends, room = [(0, 0)], limit
    for index, part in enumerate(parts):
        start = 0
        while len(part) - start >= room:  # below 0: the entry that fills it goes on in this part
            newline = part.find(b"\n", start + max(0, room - 1))
            if newline < 0:
                break
            start, room = newline + 1, limit
            ends.append((index, start))
        room -= len(part) - start
    last = len(parts) - 1, len(parts[-1])
    return ends if ends[-1:] == [last] else [*ends, last]


def between(parts: list[bytes], first: Place, last: Place) -> Parts:
    """The bytes from one place to another, none of them copied."""
    found = [memoryview(part) for part in parts[first[0] : last[0] + 1]]
    found[-1] = found[-1][: last[1]]
    found[0] = found[0][first[1] :]
    return [part for part in found if part]


def write_parts(fd: int, parts: Parts) -> None:
    """writev(2) until all is out. Raises OSError."""
    if len(parts) > PARTS:
        parts = [b"".join(parts)]
    whole = sum(map(len, parts))
    done = os.writev(fd, parts)
    if done < whole:
        write_all(fd, b"".join(parts)[done:])


PARTS = 1000  # that one writev(2) takes: IOV_MAX is 1024


def entries(lines: bytes, end: bytes) -> tuple[bytes, ...]:
    """The entries of whole lines, all at once: nothing here is done line by line."""
    if not lines:
        return ()
    return (HEAD, escape(lines[:-1]).replace(b"\n", b"\\n" + end + HEAD), b"\\n", end)


def escape(text: bytes) -> bytes:
    """What stands between the quotes of a JSON string, but newlines, which are left as they are.

    What is no UTF-8 becomes U+FFFD.
    """
    if not text.isascii():
        text = text.decode("utf-8", "replace").encode()
    for byte, escaped in _ESCAPES:
        if byte in text:
            text = text.replace(byte, escaped)
    return text


# --- followers --------------------------------------------------------------------------------------------


def suffix(path: str) -> str:
    """How the folders of those end who follow the log at `path`."""
    return f".{os.path.basename(os.path.dirname(path))}.log"


def pass_on(path: str, ingest: str, behind: int) -> None:
    """Tell every follower of a file that has just been made, and clean up after those that have gone. No more
    than `behind` of them wait for a follower."""
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
                hand_over(path, folder, behind)
            except OSError:
                pass  # it ends at this moment


def hand_over(path: str, folder: str, behind: int) -> None:
    waiting = sorted(map(int, os.listdir(folder)))
    last = f"{folder}/{waiting[-1] if waiting else -1}"
    name = f"{folder}/{waiting[-1] + 1 if waiting else 0}"
    if len(waiting) < behind:
        os.link(path, name)
    elif not os.path.islink(last):
        os.symlink("missing", name)
