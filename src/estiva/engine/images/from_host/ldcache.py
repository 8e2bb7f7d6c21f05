"""/etc/ld.so.cache in glibc's format 1.1: where ld.so(8) finds a library by name. See ldconfig(8).

A header of 48 bytes (magic, entry count, length of strings), entries of 24 (flags, offset of the name, offset
of the path, unused, hardware capabilities), sorted from the greatest name to the smallest, and the strings.
Numbers are in the machine's byte order, offsets count from the header.
"""

from __future__ import annotations

import functools
import struct
import sys

MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("=20sIIB3xIIII")  # magic, entries, strings, flags, extensions, unused
_ENTRY = struct.Struct("=iIIIQ")


class Entry:
    """A library: `name` as programs ask for it, `path` where it is, `flags` its ABI in ldconfig's terms."""

    __slots__ = ("name", "path", "flags")

    def __init__(self, name: str, path: str, flags: int) -> None:
        self.name = name
        self.path = path
        self.flags = flags


def parse(data: bytes) -> list[Entry]:
    """The entries of a cache file; those for particular processors (glibc-hwcaps) are left out.

    A file that also holds the older format has the newer one behind it. Anything else gives no entries: ld.so
    too goes on without a cache then.
    """
    start = data.find(MAGIC)
    if start < 0 or len(data) < start + _HEADER.size:
        return []
    count = _HEADER.unpack_from(data, start)[1]
    entries = []
    for position in range(count):
        offset = start + _HEADER.size + position * _ENTRY.size
        if offset + _ENTRY.size > len(data):
            break
        flags, key, value, _, hwcap = _ENTRY.unpack_from(data, offset)
        name, path = _string(data, start + key), _string(data, start + value)
        if hwcap == 0 and name and path.startswith("/"):
            entries.append(Entry(name, path, flags))
    return entries


def build(entries: list[Entry]) -> bytes:
    """A cache file of these entries, the same bytes whatever their order."""
    known = {(entry.name, entry.path, entry.flags) for entry in entries}
    ordered = sorted(known, key=lambda item: (_order(item[0]), item[1], item[2]), reverse=True)
    offset = _HEADER.size + len(ordered) * _ENTRY.size
    strings = b""
    table = b""
    for name, path, flags in ordered:
        key = offset + len(strings)
        strings += name.encode() + b"\0"
        value = offset + len(strings)
        strings += path.encode() + b"\0"
        table += _ENTRY.pack(flags, key, value, 0, 0)
    order = 2 if sys.byteorder == "little" else 3
    return _HEADER.pack(MAGIC, len(ordered), len(strings), order, 0, 0, 0, 0) + table + strings


def compare(one: str, two: str) -> int:
    """The order of names that ld.so's binary search expects: runs of digits by value, and after any
    letter.
    """
    a, b = one.encode() + b"\0", two.encode() + b"\0"
    i = j = 0
    while a[i]:
        if _digit(a[i]) and _digit(b[j]):
            first, i = _number(a, i)
            second, j = _number(b, j)
            if first != second:
                return first - second
        elif _digit(a[i]):
            return 1
        elif _digit(b[j]):
            return -1
        elif a[i] != b[j]:
            return a[i] - b[j]
        else:
            i += 1
            j += 1
    return a[i] - b[j]


_order = functools.cmp_to_key(compare)


def _digit(byte: int) -> bool:
    return 48 <= byte <= 57


def _number(text: bytes, position: int) -> tuple[int, int]:
    value = 0
    while _digit(text[position]):
        value = value * 10 + text[position] - 48
        position += 1
    return value, position


def _string(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset, offset + 4096)
    return data[offset:end].decode("utf-8", "surrogateescape") if end >= 0 else ""
