"""A layer again with no time in it after a given one (SOURCE_DATE_EPOCH): the same bytes whenever made."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from estiva.store.tar import writer
from estiva.store.tar.scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiva.store.layers.layers import Layers
    from estiva.store.tar.entry import Entry

_TYPES = {0: b"1", stat.S_IFREG: b"0", stat.S_IFLNK: b"2", stat.S_IFCHR: b"3", stat.S_IFBLK: b"4",
          stat.S_IFDIR: b"5", stat.S_IFIFO: b"6"}  # fmt: skip
_SECOND = 1_000_000_000


def clamp(layers: Layers, diff_id: str, epoch: int) -> str:
    """The diffID of the layer whose times are `epoch` (seconds) at most; its own where none is later.

    A layer with sparse members stays as it is: no build makes one. Raises what reading its tar raises.
    """
    with layers.tar(diff_id) as stream:
        entries: list[Entry] = []
        scanner = Scanner(entries.append)
        while piece := stream.read(1 << 20):
            scanner.feed(piece)
        scanner.close()
    late = epoch * _SECOND
    if all(entry.mtime <= late for entry in entries) or any(entry.sparse is not None for entry in entries):
        return diff_id
    source = _Bytes(layers.chunks(diff_id))
    with layers.sink() as sink:
        for entry in entries:
            sink.write(writer.header(_member(entry, epoch)))
            if entry.kind == stat.S_IFREG and entry.size:
                source.skip(entry.offset)
                for piece in source.take(entry.size):
                    sink.write(piece)
                sink.write(writer.padding(entry.size))
        sink.write(writer.END)
        return layers.commit(sink).diff_id


def _member(entry: Entry, epoch: int) -> writer.Member:
    name = entry.name or b"."
    seconds, nanoseconds = divmod(entry.mtime, _SECOND)
    if seconds >= epoch:
        seconds, nanoseconds = epoch, 0
    return writer.Member(
        name + b"/" if entry.kind == stat.S_IFDIR else name,
        _TYPES[entry.kind],
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size if entry.kind == stat.S_IFREG else 0,
        mtime=seconds,
        nanoseconds=nanoseconds,
        link=entry.link,
        rdev=entry.rdev,
        xattrs=entry.xattrs,
    )


class _Bytes:
    """A stream that is read forwards by position."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.at, self.rest = 0, b""

    def skip(self, position: int) -> None:
        """Go to a position ahead."""
        while self.at + len(self.rest) <= position:
            self.at += len(self.rest)
            self.rest = next(self.pieces)
        self.rest = self.rest[position - self.at :]
        self.at = position

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes in pieces."""
        while size:
            self.rest = self.rest or next(self.pieces)
            piece, self.rest = self.rest[:size], self.rest[size:]
            self.at += len(piece)
            size -= len(piece)
            yield piece
