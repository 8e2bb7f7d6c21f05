"""Reading tar as it comes: a strict, incremental scanner of headers that never looks at file data.

Understood: ustar, GNU long names and links ('L', 'K'), PAX extended and global headers ('x', 'g'; pax(1)),
numbers in base 256, old GNU sparse ('S') and PAX sparse 0.0, 0.1 and 1.0 members. Whatever is malformed, or
would name a thing outside the archive's root, raises LayerError naming the entry (K12); every size is
bounded (K13).

Where archives leave room, the scanner follows what docker's extractor does: a leading "/" and "./" are
dropped, `..` is resolved by its letters, links, directories and devices have no data whatever their size
field says.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from zlib import adler32

from estiva.errors import LayerError
from estiva.store.tar.entry import (
    BLOCK,
    KINDS,
    MAX_COMPONENT,
    MAX_HEADER,
    MAX_ID,
    MAX_LINK,
    MAX_NAME,
    MAX_SIZE,
    Entry,
    clean,
    shown,
)
from estiva.store.tar.records import (
    header_xattr,
    inline_lines,
    inline_map,
    old_map,
    parse_pax,
    pax_map,
    timestamp,
)

MAX_ENTRIES = 1_000_000
MAX_METADATA = 256 << 20  # bytes of names, links, attributes and sparse maps of one archive
MAX_GLOBAL = 1 << 16  # bytes of records that hold for all entries, and their number
MAX_GLOBALS = 64


def number(field: bytes, what: str) -> int:
    """A numeric header field: octal digits, or base 256 when the first bit is set."""
    first = field[0]
    if first & 0x80:
        if first & 0x40:
            return int.from_bytes(field, "big", signed=True)
        return int.from_bytes(bytes([first & 0x7F]) + field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit():  # int() would take signs and underscores
        raise LayerError(f"tar header has a {what} that is no number")
    try:
        return int(digits, 8)
    except ValueError:
        raise LayerError(f"tar header has a {what} that is no octal number") from None


def _checksum(block: bytes) -> bool:
    """Whether the header's own checksum is right, counted unsigned (POSIX) or signed (old tars)."""
    field = block[148:156]
    wanted = number(field, "checksum")
    own = sum(field)
    # adler32's low half is 1 + the sum of all bytes modulo 65521: ten times faster than sum()
    if ((adler32(block) & 0xFFFF) - 1 - own + 256 - wanted) % 65521 == 0:
        return True
    signed = sum(b - 256 if b > 127 else b for b in block[:148] + block[156:]) + 256
    return signed == wanted


class Scanner:
    """Feed the bytes of a tar in pieces of any size; `sink` gets each Entry once its headers are complete.

    `close()` tells whether the archive ended where an archive may end. Raises LayerError.
    """

    def __init__(self, sink: Callable[[Entry], None], *, max_entries: int = MAX_ENTRIES) -> None:
        self.sink = sink
        self.max_entries = max_entries
        self.entries = 0
        self.position = 0  # bytes consumed
        self._skip = 0
        self._padding = 0  # bytes of that which are no member's
        self._want = BLOCK
        self._pending = bytearray()
        self._state: Callable[[bytes], None] = self._header
        self._zero = False
        self._ended = False
        self._body = 0  # real size of the metadata member being collected
        self._globals: dict[bytes, bytes] = {}
        self._pax: dict[bytes, bytes] | None = None
        self._sparse_records: list[tuple[int, int]] | None = None
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._entry: Entry | None = None
        self._map = bytearray()
        self._lines = 0  # newlines that the map is still to have
        self._metadata = 0

    def feed(self, data: bytes) -> None:
        position, end = 0, len(data)
        base = self.position
        pending = self._pending
        while position < end:
            if self._skip:
                step = min(self._skip, end - position)
                self._skip -= step
                position += step
                continue
            if self._ended:
                break
            want = self._want
            if not pending and end - position >= want:
                unit = data[position : position + want]
                position += want
            else:
                step = min(want - len(pending), end - position)
                pending += data[position : position + step]
                position += step
                if len(pending) < want:
                    break
                unit = bytes(pending)
                pending.clear()
            self.position = base + position
            self._state(unit)
        self.position = base + end

    def close(self, *, unpadded: bool = False) -> None:
        """`unpadded`: the last member's padding may be missing, as in what docker's client sends of a context
        whose Dockerfile came on stdin."""
        if (
            self._skip > (self._padding if unpadded else 0)
            or self._pending
            or self._entry
            or self._pax is not None
            or self._long_name is not None
            or self._long_link is not None
            or self._state != self._header
        ):
            raise LayerError(f"tar is truncated after {self.position} bytes")

    # ---- states: each gets exactly the bytes it asked for with _want

    def _header(self, block: bytes) -> None:
        if block[0] == 0 and not block.strip(b"\0"):
            self._ended, self._zero = self._zero, True
            return
        if self._zero:
            raise LayerError("tar goes on after a block of zeros")
        if not _checksum(block):
            raise LayerError(f"tar header at byte {self.position - BLOCK} has a bad checksum")
        kind = block[156:157]
        if kind in b"xgLK" and kind != b"":
            self._meta(kind, block)
        elif kind in KINDS:
            self._member(kind, block)
        else:
            raise LayerError(f"layer entry {shown(self._raw_name(block))} has the unknown tar type {kind!r}")

    def _meta(self, kind: bytes, block: bytes) -> None:
        size = number(block[124:136], "size")
        if not 0 <= size <= MAX_HEADER:
            raise LayerError(f"tar has an extended header of {size} bytes, more than {MAX_HEADER}")
        if (kind == b"x" and self._pax is not None) or (kind == b"L" and self._long_name is not None):
            raise LayerError("tar has two extended headers for one entry")
        self._body = size
        self._want = -(-size // BLOCK) * BLOCK
        self._state = {b"x": self._pax_body, b"g": self._global_body, b"L": self._name_body}.get(
            kind, self._link_body
        )
        if not size:
            self._state(b"")

    def _resume(self) -> None:
        self._want = BLOCK
        self._state = self._header

    def _pax_body(self, body: bytes) -> None:
        self._resume()
        self._pax, self._sparse_records = parse_pax(body[: self._body])

    def _global_body(self, body: bytes) -> None:
        self._resume()
        self._globals.update(parse_pax(body[: self._body])[0])
        if sum(map(len, self._globals.values())) > MAX_GLOBAL or len(self._globals) > MAX_GLOBALS:
            raise LayerError("tar has too many global headers")

    def _name_body(self, body: bytes) -> None:
        self._resume()
        self._long_name = body[: self._body].partition(b"\0")[0]

    def _link_body(self, body: bytes) -> None:
        self._resume()
        self._long_link = body[: self._body].partition(b"\0")[0]

    @staticmethod
    def _raw_name(block: bytes) -> bytes:
        name = block[:100].partition(b"\0")[0]
        if block[257:263] == b"ustar\0":
            end = 476 if block[508:512] == b"tar\0" else 500  # star keeps times at the end of the prefix
            prefix = block[345:end].partition(b"\0")[0]
            if prefix:
                name = prefix + b"/" + name
        return name

    def _member(self, kind: bytes, block: bytes) -> None:
        self.entries += 1
        if self.entries > self.max_entries:
            raise LayerError(f"tar has more than {self.max_entries} entries")
        raw = self._raw_name(block) if self._long_name is None else self._long_name
        link = block[157:257].partition(b"\0")[0] if self._long_link is None else self._long_link
        entry = Entry(raw, KINDS[kind], number(block[100:108], "mode") & 0o7777)
        entry.link = link
        entry.uid = number(block[108:116], "uid")
        entry.gid = number(block[116:124], "gid")
        entry.size = number(block[124:136], "size")
        entry.mtime = number(block[136:148], "mtime") * 1_000_000_000
        if kind in b"34":
            entry.rdev = number(block[329:337], "device number"), number(block[337:345], "device number")
        records, sparse = self._pax, self._sparse_records
        self._pax = self._sparse_records = self._long_name = self._long_link = None
        if self._globals:
            records = {**self._globals, **(records or {})}
        if records:
            self._apply(entry, records)
        entry.stored = entry.size
        self._check(entry)
        self._count(len(entry.name) + len(entry.link))
        if entry.xattrs:
            self._count(sum(map(len, entry.xattrs.values())) + 100 * len(entry.xattrs))
        entry.offset = self.position
        if kind == b"S":
            self._old_sparse(entry, block)
        elif records and (sparse or any(key.startswith(b"GNU.sparse.") for key in records)):
            self._pax_sparse(entry, records, sparse)
        else:
            self._deliver(entry)

    def _count(self, size: int) -> None:
        self._metadata += size
        if self._metadata > MAX_METADATA:
            raise LayerError(f"tar has more than {MAX_METADATA} bytes of names and attributes")

    def _apply(self, entry: Entry, records: dict[bytes, bytes]) -> None:
        for key, value in records.items():
            if key == b"path":
                entry.name = value
            elif key == b"linkpath":
                entry.link = value
            elif key == b"mtime":
                entry.mtime = timestamp(value)
            elif key in (b"size", b"uid", b"gid"):
                if not value.isdigit() or len(value) > 20:
                    raise LayerError(f"tar has a {key.decode()} record that is no number")
                setattr(entry, key.decode(), int(value))
            else:
                found = header_xattr(key, value)
                if found:
                    if entry.xattrs is None:
                        entry.xattrs = {}
                    entry.xattrs[found[0]] = found[1]

    def _check(self, entry: Entry) -> None:
        raw, link = entry.name, entry.link
        name = entry.name = self._named(raw)
        if entry.kind == stat.S_IFREG:
            if raw.endswith(b"/"):  # how a directory looked before POSIX
                if entry.size:
                    raise LayerError(f"layer entry {shown(raw)} is a directory with data")
                entry.kind = stat.S_IFDIR
            if not 0 <= entry.size <= MAX_SIZE:
                raise LayerError(f"layer entry {shown(raw)} has an impossible size of {entry.size} bytes")
        else:
            if entry.size < 0:
                raise LayerError(f"layer entry {shown(raw)} has a negative size")
            entry.size = entry.stored = 0
        if entry.xattrs and entry.kind not in (stat.S_IFREG, stat.S_IFDIR):
            entry.xattrs = None  # the kernel keeps these attributes on files and directories only (xattr(7))
        if not name and entry.kind != stat.S_IFDIR:
            raise LayerError(f"layer entry {shown(raw)} would replace the root")
        if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
            raise LayerError(f"layer entry {shown(raw)} has an owner out of range")
        if entry.rdev != (0, 0) and not (0 <= entry.rdev[0] < 1 << 12 and 0 <= entry.rdev[1] < 1 << 20):
            raise LayerError(f"layer entry {shown(raw)} has a device number out of range")
        if not -(1 << 62) < entry.mtime < 1 << 63:
            raise LayerError(f"layer entry {shown(raw)} has a time out of range")
        if entry.kind == stat.S_IFLNK:
            entry.mode = 0o777  # as Linux makes them, whatever the archive says
        if entry.kind == 0:
            if not link:
                raise LayerError(f"layer entry {shown(raw)} is a hard link to nothing")
            entry.link = self._named(link)
        elif entry.kind == stat.S_IFLNK and (not link or len(link) > MAX_LINK or b"\0" in link):
            raise LayerError(f"layer entry {shown(raw)} has an impossible link target")

    @staticmethod
    def _named(raw: bytes) -> bytes:
        if len(raw) > MAX_NAME:
            raise LayerError(f"layer entry {shown(raw)}... has a name longer than {MAX_NAME} bytes")
        if b"\0" in raw:
            raise LayerError(f"layer entry {shown(raw)} has a NUL in its name")
        name = raw.rstrip(b"/") if raw.endswith(b"/") else raw
        if b"/." in name or b"//" in name or len(name) > MAX_COMPONENT or name[:1] in (b"/", b".", b""):
            return clean(name)
        return name

    def _deliver(self, entry: Entry) -> None:
        self._entry = None
        self._padding = -entry.stored % BLOCK
        self._skip = entry.stored + self._padding
        self._resume()
        self.sink(entry)

    # ---- sparse members: the map comes in the header, in records, or before the data

    def _old_sparse(self, entry: Entry, block: bytes) -> None:
        entry.size = number(block[483:495], "size")
        self._map[:] = block[386:482]
        self._entry = entry
        self._state = self._old_sparse_more
        if not block[482]:
            self._finish_old_sparse()

    def _old_sparse_more(self, block: bytes) -> None:
        self._map += block[:504]
        if len(self._map) > MAX_HEADER:
            raise LayerError("tar has a sparse map that is too long")
        if not block[504]:
            self._finish_old_sparse()

    def _finish_old_sparse(self) -> None:
        entry = self._entry
        assert entry is not None
        entry.offset = self.position
        self._mapped(entry, old_map(bytes(self._map), number))

    def _pax_sparse(
        self, entry: Entry, records: dict[bytes, bytes], pairs: list[tuple[int, int]] | None
    ) -> None:
        name, size, segments = pax_map(records, pairs)
        if name is not None:
            entry.name = self._named(name)
        if size is not None:
            entry.size = size
        if entry.kind != stat.S_IFREG:
            raise LayerError(f"layer entry {shown(entry.name)} is sparse and no file")
        if segments is not None:
            self._mapped(entry, segments)
            return
        self._entry, self._lines = entry, -1
        self._map.clear()
        self._state = self._inline_map

    def _inline_map(self, block: bytes) -> None:
        entry = self._entry
        assert entry is not None
        self._map += block
        if len(self._map) > MAX_HEADER or len(self._map) > -(-entry.stored // BLOCK) * BLOCK:
            raise LayerError(f"layer entry {shown(entry.name)} has a sparse map that is too long")
        if self._lines < 0:
            self._lines = inline_lines(block)
        self._lines -= block.count(b"\n")
        if self._lines > 0:
            return
        segments = inline_map(bytes(self._map))
        entry.offset = self.position
        entry.stored -= len(self._map)
        self._mapped(entry, segments)

    def _mapped(self, entry: Entry, segments: list[tuple[int, int]]) -> None:
        self._count(100 * len(segments))
        end = total = 0
        for offset, length in segments:
            if offset < end or length < 0:
                raise LayerError(f"layer entry {shown(entry.name)} has an impossible sparse map")
            end = offset + length
            total += length
        if end > entry.size or total != entry.stored or not 0 <= entry.size <= MAX_SIZE:
            raise LayerError(f"layer entry {shown(entry.name)} has an impossible sparse map")
        entry.sparse = segments
        self._deliver(entry)
