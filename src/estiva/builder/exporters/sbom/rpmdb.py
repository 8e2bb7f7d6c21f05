"""rpm's database of installed packages, read as bytes: neither a program of rpm nor SQLite sees it (K2).

    rpmdb.sqlite    a table Packages (hnum, blob) in SQLite's format (sqlite.org/fileformat2.html)
    Packages.db     "ndb": slots that lead to blobs (rpm, lib/backend/ndb/rpmpkg.cc)

Either has a header for each package (rpm.org, "RPM v4 package format", Header structure, without its magic).
What is not as it should be is refused: a damaged page could hide a package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from estiva.errors import InvalidInput

PACKAGES = 50_000
HEADER = 32 << 20  # bytes of one package's
ENTRIES = 4096  # of a header
DEPTH = 20  # of a tree of pages
_SQLITE = b"SQLite format 3\0"
_NDB = b"RpmP"
_TAGS = {1000: "name", 1001: "version", 1002: "release", 1003: "epoch", 1014: "license", 1022: "arch"}
_INT32, _STRING = 4, 6
_LONGEST = 1 << 16  # bytes of a text


def packages(data: bytes) -> Iterator[dict[str, str]]:
    """name, version, release, epoch, license, arch of each, "" where there is none. Raises InvalidInput."""
    if data.startswith(_SQLITE):
        blobs = _sqlite(data)
    elif data.startswith(_NDB):
        blobs = _ndb(data)
    else:
        raise damaged("it is in no form that is known")
    total = 0
    try:
        for number, blob in enumerate(blobs):
            total += len(blob)
            if number >= PACKAGES:
                raise damaged(f"it has more than {PACKAGES} packages")
            if total > len(data):
                raise damaged("it has packages more than once")
            yield _header(blob)
    except (struct.error, IndexError, ValueError):
        raise damaged("it ends too soon") from None


def damaged(why: str) -> InvalidInput:
    return InvalidInput(f"the image's rpm database can't be read: {why}", hint="leave out --sbom")


def _header(blob: bytes) -> dict[str, str]:
    count, size = struct.unpack_from(">II", blob)
    start = 8 + 16 * count
    if count > ENTRIES or start + size > len(blob):
        raise damaged("a header is longer than it is")
    found = dict.fromkeys(_TAGS.values(), "")
    for tag, kind, offset, _ in struct.iter_unpack(">IIII", blob[8:start]):
        if tag not in _TAGS:
            continue
        if offset >= size:
            raise damaged("a header leads out of itself")
        at = start + offset
        if kind == _INT32:
            found[_TAGS[tag]] = str(struct.unpack_from(">I", blob, at)[0])
        elif kind == _STRING:
            end = blob.find(b"\0", at, min(start + size, at + _LONGEST))
            if end < 0:
                raise damaged("a text has no end")
            found[_TAGS[tag]] = blob[at:end].decode("utf-8", "replace")
    return found


def _ndb(data: bytes) -> Iterator[bytes]:
    """The slots are 16 bytes each, the first two the file's header; a blob is at a multiple of 16 bytes."""
    _, version, _, pages = struct.unpack_from("<4sIII", data)
    if version != 0 or pages > 2048:
        raise damaged("its version is not known")
    for at in range(32, pages * 4096, 16):
        magic, number, place, _ = struct.unpack_from("<4sIII", data, at)
        if magic != b"Slot":
            raise damaged("a slot is none")
        if not number:
            continue
        start, same, _, size = struct.unpack_from("<4sIII", data, place * 16)
        begin = place * 16 + 16
        if start != b"BlbS" or same != number or size > HEADER or begin + size > len(data):
            raise damaged("a slot leads to no package")
        yield data[begin : begin + size]


def _sqlite(data: bytes) -> Iterator[bytes]:
    yield from _Sqlite(data).blobs()


class _Sqlite:
    """The rows of one table. Each page is looked at once: a tree that leads back to itself is damaged."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        size = struct.unpack_from(">H", data, 16)[0]
        self.size = 65536 if size == 1 else size
        self.usable = self.size - data[20]
        if self.size < 512 or self.size & (self.size - 1) or self.usable < 480:
            raise damaged("the size of its pages is none")
        self.seen: set[int] = set()

    def blobs(self) -> Iterator[bytes]:
        root = 0
        for kind, name, _, page, *_ in self._rows(1, 0):
            if (kind, name) == ("table", "Packages"):
                root = page if isinstance(page, int) else 0
        if not root:
            raise damaged("there is no table Packages in it")
        for row in self._rows(root, 0):
            if len(row) != 2 or not isinstance(row[1], bytes):
                raise damaged("a row is no package")
            yield row[1]

    def _page(self, number: int) -> int:
        """Where a page begins."""
        start = (number - 1) * self.size
        if number < 1 or start + self.size > len(self.data) or number in self.seen:
            raise damaged("it has no such page, or has it twice")
        self.seen.add(number)
        return start

    def _rows(self, number: int, depth: int) -> Iterator[list[Any]]:
        """Of a table's b-tree, from the page down."""
        if depth > DEPTH:
            raise damaged("it is too deep")
        start = self._page(number)
        at = start + (100 if number == 1 else 0)
        kind, _, count = struct.unpack_from(">BHH", self.data, at)
        if kind not in (0x05, 0x0D):
            raise damaged("a page is of no table")
        head = 12 if kind == 0x05 else 8
        if head + 2 * count > self.size:
            raise damaged("a page has more than fits in it")
        for cell in struct.unpack_from(f">{count}H", self.data, at + head):
            if kind == 0x0D:
                yield _record(self._payload(start + cell))
            else:
                yield from self._rows(struct.unpack_from(">I", self.data, start + cell)[0], depth + 1)
        if kind == 0x05:
            yield from self._rows(struct.unpack_from(">I", self.data, at + 8)[0], depth + 1)

    def _payload(self, at: int) -> bytes:
        """A cell's, with the pages that it overflows to."""
        size, at = _varint(self.data, at)
        _, at = _varint(self.data, at)  # the row's number
        if size > HEADER:
            raise damaged("a row is too long")
        most, least = self.usable - 35, (self.usable - 12) * 32 // 255 - 23
        if size <= most:
            return self.data[at : at + size]
        here = least + (size - least) % (self.usable - 4)
        here = here if here <= most else least
        pieces = [self.data[at : at + here]]
        left = size - here
        following = struct.unpack_from(">I", self.data, at + here)[0]
        while left:
            start = self._page(following)
            following = struct.unpack_from(">I", self.data, start)[0]
            piece = self.data[start + 4 : start + 4 + min(left, self.usable - 4)]
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends)."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type -> bytes


def _record(payload: bytes) -> list[Any]:
    """Its values; of numbers those that are whole, None for what is of no use here."""
    end, at = _varint(payload, 0)
    values: list[Any] = []
    place = end
    while at < end:
        kind, at = _varint(payload, at)
        if kind >= 12:
            size = (kind - 12) // 2
            data = payload[place : place + size]
            if len(data) != size:
                raise damaged("a row ends too soon")
            values.append(data.decode("utf-8", "replace") if kind % 2 else data)
        elif kind in _INTEGERS:
            size = _INTEGERS[kind]
            values.append(int.from_bytes(payload[place : place + size], "big", signed=True))
        else:
            size = 8 if kind == 7 else 0
            values.append(kind - 8 if kind in (8, 9) else None)
        place += size
    return values
