"""Writing tar: one header per member, ustar where it holds what there is, PAX records where it does not.

The same members always give the same bytes: no user names, no access times, device numbers only for devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import adler32

from estiva.errors import EngineError
from estiva.store.tar.entry import shown

BLOCK = 512
END = b"\0" * 1024
_MAX_OCTAL7 = 0o7777777
_MAX_OCTAL11 = 0o77777777777


class Member:
    """What a header says. type: the tar's type flag; mtime: seconds; nanoseconds: beyond them, for times
    after 1970; xattrs without those of overlayfs.
    """

    __slots__ = (
        "name",
        "type",
        "mode",
        "uid",
        "gid",
        "size",
        "mtime",
        "nanoseconds",
        "link",
        "rdev",
        "xattrs",
    )

    def __init__(
        self,
        name: bytes,
        type: bytes,
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime: int = 0,
        nanoseconds: int = 0,
        link: bytes = b"",
        rdev: tuple[int, int] = (0, 0),
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime = mtime
        self.nanoseconds = nanoseconds
        self.link = link
        self.rdev = rdev
        self.xattrs = xattrs


def padding(size: int) -> bytes:
    """The zeros that fill up the last block of `size` bytes of data."""
    return b"\0" * (-size % BLOCK)


def header(member: Member) -> bytes:
    """The blocks that come before the member's data. Raises EngineError for what none can say."""
    records: dict[bytes, bytes] = {}
    name, prefix = _split(member.name)
    if name is None or not member.name.isascii():
        records[b"path"] = member.name
        name, prefix = name if name is not None else member.name[:100], prefix
    link = member.link
    if len(link) > 100 or not link.isascii():
        records[b"linkpath"] = link
        link = link[:100]
    uid = _fit(b"uid", member.uid, _MAX_OCTAL7, records)
    gid = _fit(b"gid", member.gid, _MAX_OCTAL7, records)
    size = _fit(b"size", member.size, _MAX_OCTAL11, records)
    mtime = _fit(b"mtime", member.mtime, _MAX_OCTAL11, records)
    if member.nanoseconds:
        records[b"mtime"] = b"%d.%09d" % (member.mtime, member.nanoseconds)
    for key, value in (member.xattrs or {}).items():
        if b"=" in key:  # it would be cut there, and be another (pax(1))
            raise EngineError(
                f"/{shown(member.name)} can't be kept in a tar: it has the attribute {shown(key)}"
            )
        records[b"SCHILY.xattr." + key] = value
    out = b""
    if records:
        body = b"".join(_record(key, records[key]) for key in sorted(records))
        out = _block(b"PaxHeaders/" + name[-80:], b"x", 0o644, 0, 0, len(body), 0, b"", (0, 0), b"")
        out += body + padding(len(body))
    return out + _block(name, member.type, member.mode, uid, gid, size, mtime, link, member.rdev, prefix)


def _fit(key: bytes, value: int, limit: int, records: dict[bytes, bytes]) -> int:
    if 0 <= value <= limit:
        return value
    records[key] = str(value).encode()
    return 0


def _split(name: bytes) -> tuple[bytes | None, bytes]:
    """(name, prefix) as ustar keeps them, (None, b"") when they don't fit: 155 + "/" + 100 bytes."""
    if len(name) <= 100:
        return name, b""
    cut = name.rfind(b"/", 0, 156)
    # any cut with 1 to 100 bytes behind it would do: the last one, each time
    if cut > 0 and 0 < len(name) - cut - 1 <= 100:
        return name[cut + 1 :], name[:cut]
    return None, b""


def _record(key: bytes, value: bytes) -> bytes:
    """LENGTH KEY=VALUE, where LENGTH counts its own digits (pax(1))."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return str(length).encode() + b" " + key + b"=" + value + b"\n"


def _block(
    name: bytes,
    type: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    rdev: tuple[int, int],
    prefix: bytes,
) -> bytes:
    devices = b"%07o\0%07o\0" % rdev if type in b"34" else b"\0" * 16
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime),
            b"        ",
            type,
            link.ljust(100, b"\0"),
            b"ustar\x0000",
            b"\0" * 64,
            devices,
            prefix.ljust(155, b"\0"),
            b"\0" * 12,
        )
    )
    return block[:148] + b"%06o\0 " % _sum(block) + block[156:]


def _sum(block: bytes) -> int:
    """The sum of a header's bytes. adler32's low half is 1 + that modulo 65521, which half a block can't
    reach; it is ten times faster than sum()."""
    return (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
