"""Layers compressed for a registry: gzip on all cores, zstd, or as they are.

gzip is cut into blocks that are deflated at the same time, each with the 32 KiB before it as dictionary and
ended by an empty block on a byte boundary (RFC 1951, section 3.2.4), as pigz does it: one member, readable
everywhere. The same stream gives the same bytes on every machine, however many cores it has.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from estiva.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK = 1 << 20
WINDOW = 1 << 15
FAST = 3  # isal's highest level; zlib's 1 to 9 are slower by far and pack better
LEVELS = {"gzip": (1, 9), "zstd": (1, 22)}
HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name, no time, system unknown


def check_level(method: str, level: int | None) -> None:
    """Raises InvalidInput for a level that the method does not have."""
    if level is None:
        return
    if method not in LEVELS:
        raise InvalidInput("without compression there is no level of it")
    least, most = LEVELS[method]
    if not least <= level <= most:
        raise InvalidInput(f"{method} has the levels {least} to {most}, not {level}")


def compress(chunks: Iterable[bytes], method: str, level: int | None = None) -> Iterator[bytes]:
    """The stream as "gzip" or "zstd", at the method's `level` or a fast one; "tar" leaves it as it is."""
    check_level(method, level)
    if method == "tar":
        yield from chunks
    elif method == "gzip":
        yield from _gzip(_blocks(chunks), level)
    elif method == "zstd":
        import zstandard

        # with any number of threads from one on, the bytes are the same
        packer = zstandard.ZstdCompressor(level=level or 3, threads=max(1, _cores())).compressobj()
        for piece in chunks:
            if out := packer.compress(piece):
                yield out
        yield packer.flush()
    else:
        raise Unsupported(f"layers can't be compressed with {method}")


def _cores() -> int:
    return min(len(os.sched_getaffinity(0)), 8)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The stream in pieces of BLOCK bytes, the last one shorter: blocks must not depend on how it came."""
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        while len(rest) >= BLOCK:
            yield bytes(rest[:BLOCK])
            del rest[:BLOCK]
    if rest:
        yield bytes(rest)


def _gzip(blocks: Iterator[bytes], level: int | None) -> Iterator[bytes]:
    from concurrent.futures import Future, ThreadPoolExecutor

    from isal import isal_zlib

    yield HEADER
    total, crc, before = 0, 0, b""
    waiting: deque[Future[tuple[bytes, int, int]]] = deque()
    cores = _cores()
    pool = ThreadPoolExecutor(cores, "gzip")
    try:
        for block in blocks:
            waiting.append(pool.submit(_deflate, block, before, level))
            before = block[-WINDOW:]
            if len(waiting) > 2 * cores:
                out, crc_of, size = waiting.popleft().result()
                crc, total = isal_zlib.crc32_combine(crc, crc_of, size), total + size
                yield out
        for each in waiting:
            out, crc_of, size = each.result()
            crc, total = isal_zlib.crc32_combine(crc, crc_of, size), total + size
            yield out
    finally:
        pool.shutdown(cancel_futures=True)
    yield b"\x03\0" + struct.pack("<II", crc, total & 0xFFFFFFFF)  # an empty last block, then the trailer


def _deflate(block: bytes, before: bytes, level: int | None) -> tuple[bytes, int, int]:
    import zlib

    from isal import isal_zlib

    packer: Any
    if level is None:
        packer = isal_zlib.compressobj(FAST, isal_zlib.DEFLATED, -15, 9, 0, before)
    else:
        packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, before)
    out = packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)
    return out, isal_zlib.crc32(block), len(block)
