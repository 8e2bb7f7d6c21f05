"""store/layers/compress.py: layers for a registry, the same bytes on every machine."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator

import pytest

from estiva.errors import InvalidInput, Unsupported
from estiva.store.layers import codec, compress

DATA = random.Random(5).randbytes(3000) * 500


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


@pytest.mark.parametrize("method", ["gzip", "zstd", "tar"])
def test_compress_and_back(method: str) -> None:
    out = b"".join(compress.compress(pieces(DATA, 99_999), method))
    assert out == b"".join(compress.compress(pieces(DATA, 99_999), method))
    assert b"".join(codec.decompress([out])) == DATA and codec.kind(out[:4]) in (method, "tar")


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 17])
@pytest.mark.parametrize("level", [None, 1, 9])
def test_parallel_gzip_is_one_member_whatever_the_pieces(size: int, level: int | None) -> None:
    data = (DATA * 3)[:size]
    once = b"".join(compress.compress([data], "gzip", level))
    assert gzip.decompress(once) == data
    assert zlib.decompressobj(31).decompress(once) == data
    assert once == b"".join(compress.compress(pieces(data, 77_777), "gzip", level))


def test_gzip_and_zstd_do_not_depend_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for cores in (1, 2, 7):
        monkeypatch.setattr(compress, "_cores", lambda count=cores: count)
        made.append([b"".join(compress.compress(pieces(DATA * 3, 1 << 18), m)) for m in ("gzip", "zstd")])
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize(("method", "level"), [("gzip", 0), ("gzip", 10), ("zstd", 23), ("tar", 1)])
def test_levels_that_are_none(method: str, level: int) -> None:
    with pytest.raises(InvalidInput):
        list(compress.compress([b""], method, level))


def test_a_method_that_is_none() -> None:
    with pytest.raises(Unsupported, match="bzip2"):
        list(compress.compress([b""], "bzip2"))
