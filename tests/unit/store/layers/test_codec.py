"""store/layers/codec.py: every form a layer comes in, damage, and bombs."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from estiva.errors import LayerError, Unsupported
from estiva.store.layers import codec

DATA = random.Random(5).randbytes(3000) * 500
GZIP = gzip.compress(DATA, mtime=0)  # the same in each test process, as test names come of it
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(DATA)
SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"abcde"


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


def expand(data: bytes, step: int = 1000) -> bytes:
    return b"".join(codec.decompress(pieces(data, step)))


@pytest.mark.parametrize("step", [1, 1000, 1 << 22])
@pytest.mark.parametrize(
    ("data", "times"),
    [
        (GZIP, 1),
        (GZIP + GZIP, 2),
        (GZIP + b"\0" * 700, 1),
        (ZSTD, 1),
        (ZSTD + SKIPPABLE + ZSTD, 2),
        (SKIPPABLE + ZSTD, 1),
        (DATA, 1),
    ],
)
def test_forms(data: bytes, times: int, step: int) -> None:
    if step == 1:
        data = data if len(data) < 60_000 else data[:0]
        times = times if data else 0
    assert expand(data, step) == DATA * times


@pytest.mark.parametrize(
    "data",
    [
        GZIP[:-1],
        GZIP[:100],
        GZIP[:-8] + bytes(8),
        GZIP + b"garbage",
        GZIP + b"\0\0x",
        GZIP[:2000] + b"\xff" * 50 + GZIP[2050:],
        ZSTD[:50] + b"\xff" * 50 + ZSTD[100:],
    ],
    ids=range(7),
)
def test_damage(data: bytes) -> None:
    with pytest.raises(LayerError):
        expand(data)


def test_other_compressions_are_named() -> None:
    with pytest.raises(Unsupported, match="bzip2 or xz"):
        expand(b"BZh91AY")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_stopped_in_bounded_memory(kind: str) -> None:
    zeros = bytes(1 << 20)
    gzip_packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packer = gzip_packer if kind == "gzip" else zstandard.ZstdCompressor().compressobj()
    bomb = b"".join(packer.compress(zeros) for _ in range(300)) + packer.flush()
    bound = codec.Bound(free=10 << 20, ratio=100)
    total = largest = 0
    with pytest.raises(LayerError, match="bomb"):
        for piece in codec.decompress(pieces(bomb, 1 << 16), bound):
            total += len(piece)
            largest = max(largest, len(piece))
    assert total < 60 << 20 and largest <= codec.PIECE


def test_an_absolute_bound() -> None:
    with pytest.raises(LayerError):
        list(codec.decompress([DATA], codec.Bound(most=1000)))


def test_stream_reads_as_a_file() -> None:
    import io

    with io.BufferedReader(codec.Stream(iter([b"abc", b"", b"defg"]))) as file:
        assert file.read(2) == b"ab" and file.read() == b"cdefg" and file.read() == b""
