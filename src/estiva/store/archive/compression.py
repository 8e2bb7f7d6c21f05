"""Archives as people keep them: gzip and zstd as layers are, and bzip2 and xz, which layers are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from estiva.errors import LayerError
from estiva.store.layers import codec

_BZIP2, _XZ = b"BZh", b"\xfd7zXZ\x00"
MAGIC = (codec.GZIP_MAGIC, codec.ZSTD_MAGIC, _BZIP2, _XZ)
HEAD = len(_XZ)  # bytes that tell
PIECE = 1 << 20  # bytes to read at once
_XZ_MEMORY = 128 << 20  # bytes that decompression may take, as `xz -9` needs 65 MiB


def decompress(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The uncompressed bytes of an archive that comes in pieces. Raises LayerError for damage, truncation and
    bombs.
    """
    head = b""
    while len(head) < HEAD:
        piece = next(pieces, b"")
        if not piece:
            break
        head += piece
    return plain(head, _again(head, pieces))


def _again(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from pieces


def plain(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same where its first HEAD bytes or more are known, and come again."""
    bound = codec.Bound()
    if head.startswith(_BZIP2):
        import bz2

        return _expand(pieces, bound, bz2.BZ2Decompressor, "bzip2")
    if head.startswith(_XZ):
        import lzma

        return _expand(pieces, bound, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), "xz")
    return codec.decompress(pieces, bound)


def _expand(
    pieces: Iterator[bytes], bound: codec.Bound, make: Callable[[], Any], name: str
) -> Iterator[bytes]:
    """Stream after stream, as `cat a.xz b.xz` makes them."""
    import lzma

    data = b""
    while data := data or next(pieces, b""):
        bound.take(len(data))
        stream = make()
        while not stream.eof:
            if stream.needs_input and not data:
                data = next(pieces, b"")
                bound.take(len(data))
                if not data:
                    raise LayerError(f"{name} stream is truncated")
            try:
                out = stream.decompress(data, codec.PIECE)
            except (OSError, ValueError, EOFError, lzma.LZMAError) as error:
                raise LayerError(f"{name} stream is damaged: {error}") from None
            data = b""
            if out:
                bound.give(len(out))
                yield out
        data = stream.unused_data.lstrip(b"\0")
