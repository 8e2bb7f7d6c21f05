"""Decompressing layers: gzip (several members, zeros behind the last), zstd (several frames), or none.

The first bytes tell which. Input comes as an iterator of pieces, output goes out in pieces of at most 1 MiB,
whatever the input expands to, and all in all not more than a bound (K13). The libraries release the
interpreter while they work.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from estiva.errors import LayerError, Unsupported

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE = 1 << 20
FREE = 2 << 30  # output that any layer may expand to
RATIO = 200  # beyond that: at most so many bytes out for each byte in
MAX_OUTPUT = 1 << 40
MAX_WINDOW = 1 << 27  # zstd: what `zstd -d` itself accepts

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Bound:
    """How much may come out, for what went in."""

    def __init__(self, free: int = FREE, ratio: int = RATIO, most: int = MAX_OUTPUT) -> None:
        self.free, self.ratio, self.most = free, ratio, most
        self.taken = self.given = 0

    def take(self, count: int) -> None:
        self.taken += count

    def give(self, count: int) -> None:
        self.given += count
        if self.given > self.most or (self.given > self.free and self.given > self.taken * self.ratio):
            raise LayerError(
                f"layer expands from {self.taken} to more than {self.given} bytes:"
                " refused as a decompression bomb"
            )


def kind(magic: bytes) -> str:
    """ "gzip", "zstd" or "tar" by the first 4 bytes. Raises Unsupported for compressions no layer uses."""
    if magic[:2] == GZIP_MAGIC:
        return "gzip"
    if magic[:4] == ZSTD_MAGIC or (magic[1:4] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5):
        return "zstd"
    if magic[:3] == b"BZh" or magic[:4] == b"\xfd7zX":
        raise Unsupported("layers compressed with bzip2 or xz are not supported")
    return "tar"


def method(media_type: str) -> str:
    """ "gzip", "zstd" or "tar" by the media type of a layer."""
    if media_type.endswith(("gzip", "tar.gzip")):
        return "gzip"
    return "zstd" if media_type.endswith("zstd") else "tar"


def decompress(chunks: Iterable[bytes], bound: Bound | None = None) -> Iterator[bytes]:
    """The uncompressed bytes of a whole stream. Raises LayerError for damage, truncation and bombs."""
    source = iter(chunks)
    bound = bound or Bound()
    head = b""
    while len(head) < 4:
        piece = next(source, None)
        if piece is None:
            break
        head += piece
    expand = {"gzip": _gunzip, "zstd": _unzstd, "tar": _plain}[kind(head)]
    return expand(_counted(head, source, bound), bound)


def _counted(head: bytes, source: Iterator[bytes], bound: Bound) -> Iterator[bytes]:
    if head:
        bound.take(len(head))
        yield head
    for piece in source:
        bound.take(len(piece))
        yield piece


def _plain(source: Iterator[bytes], bound: Bound) -> Iterator[bytes]:
    for piece in source:
        bound.give(len(piece))
        yield piece


def _gunzip(source: Iterator[bytes], bound: Bound) -> Iterator[bytes]:
    from isal import igzip_lib

    data = b""
    while True:
        while len(data) < 2:  # between members
            piece = next(source, None)
            if piece is None:
                if data.strip(b"\0"):
                    raise LayerError("gzip stream ends in garbage")
                return
            data += piece
        if data[:2] != GZIP_MAGIC:
            for piece in (data, *source):
                if piece.strip(b"\0"):
                    raise LayerError("gzip stream ends in garbage")
            return
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not member.eof:
            if member.needs_input and not data:
                data = next(source, b"")
                if not data:
                    raise LayerError("gzip stream is truncated")
            try:
                out = member.decompress(data, PIECE)
            except (igzip_lib.error, EOFError, ValueError) as error:  # type: ignore[misc]
                raise LayerError(f"gzip stream is damaged: {error}") from None
            data = b""
            if out:
                bound.give(len(out))
                yield out
        data = member.unused_data


class _Pull:
    """An iterator of pieces as the file that zstandard reads from."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self.source = source
        self.rest = b""

    def read(self, size: int) -> bytes:
        data = self.rest or next(self.source, b"")
        self.rest = data[size:]
        return data[:size]


def _unzstd(source: Iterator[bytes], bound: Bound) -> Iterator[bytes]:
    import zstandard

    pull = _Pull(source)
    reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(
        pull,  # type: ignore[arg-type]
        read_across_frames=True,
    )
    while True:
        try:
            out = reader.read(PIECE)
        except zstandard.ZstdError as error:
            raise LayerError(f"zstd stream is damaged: {error}") from None
        if not out:
            return  # a stream cut between blocks also ends so: the tar's own end and the diffID tell
        bound.give(len(out))
        yield out


class Stream(io.RawIOBase):
    """An iterator of pieces as a readable file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.rest = memoryview(piece)
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self.rest))
        target[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


def file_chunks(fd: int, size: int | None = None, start: int = 0) -> Iterator[bytes]:
    """The bytes of an open file, `size` of them or all, without moving its offset; the fd stays open."""
    while size is None or size > 0:
        piece = os.pread(fd, PIECE if size is None else min(PIECE, size), start)
        if not piece:
            return
        start += len(piece)
        if size is not None:
            size -= len(piece)
        yield piece
