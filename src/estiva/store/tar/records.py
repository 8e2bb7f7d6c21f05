"""What a tar keeps in text: PAX records, times, extended attributes, sparse maps. Pure functions."""

from __future__ import annotations

from collections.abc import Callable

from estiva.errors import LayerError

SCHILY = b"SCHILY.xattr."
LIBARCHIVE = b"LIBARCHIVE.xattr."
ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
MAX_XATTR_NAME = 255
MAX_XATTR = 1 << 16


def parse_pax(body: bytes) -> tuple[dict[bytes, bytes], list[tuple[int, int]] | None]:
    """The records "LENGTH KEY=VALUE\\n" of a PAX header, the last of a key winning, and the (offset,
    length) pairs that sparse format 0.0 gives by repeating its keys. Raises LayerError.
    """
    records: dict[bytes, bytes] = {}
    pairs: list[tuple[int, int]] = []
    offset: int | None = None
    position = 0
    while position < len(body):
        space = body.find(b" ", position, position + 8)
        digits = body[position:space] if space > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        record = body[space + 1 : end - 1]
        key, equals, value = record.partition(b"=")
        if end > len(body) or end <= space + 1 or body[end - 1] != 10 or not equals or not key:
            raise LayerError("tar has a malformed extended header")
        if key == b"GNU.sparse.offset":
            offset = decimal(value)
        elif key == b"GNU.sparse.numbytes":
            if offset is None:
                raise LayerError("tar has a malformed sparse map")
            pairs.append((offset, decimal(value)))
            offset = None
        elif value or key.startswith(
            SCHILY
        ):  # an empty value deletes a record, but an attribute may be empty
            if b"\0" in value and key in (b"path", b"linkpath", b"GNU.sparse.name"):
                raise LayerError("tar has a NUL in a name")
            records[key] = value
        else:
            records.pop(key, None)
        position = end
    return records, pairs or None


def decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise LayerError("tar has a number that is none")
    return int(text)


def timestamp(text: bytes) -> int:
    """Nanoseconds of a PAX time: decimal seconds with an optional sign and fraction."""
    seconds, _, fraction = text.partition(b".")
    sign = -1 if seconds.startswith(b"-") else 1
    seconds = seconds.removeprefix(b"-")
    if not seconds.isdigit() or len(seconds) > 12 or (fraction and not fraction.isdigit()):
        raise LayerError("tar has a time that is none")
    return sign * (int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def header_xattr(key: bytes, value: bytes) -> tuple[bytes, bytes] | None:
    """The (name, value) of an extended attribute that a record carries and a layer may set, or None."""
    if key.startswith(SCHILY):
        name = key[len(SCHILY) :]
    elif key.startswith(LIBARCHIVE):
        from base64 import b64decode
        from binascii import Error
        from urllib.parse import unquote_to_bytes

        name = unquote_to_bytes(key[len(LIBARCHIVE) :])
        try:
            value = b64decode(value + b"=" * (-len(value) % 4), validate=True)
        except (Error, ValueError):
            raise LayerError("tar has an extended attribute that is not base64") from None
    else:
        return None
    if b"\0" in name or len(name) > MAX_XATTR_NAME or len(value) >= MAX_XATTR:
        raise LayerError("tar has an impossible extended attribute")
    return (name, value) if kept_xattr(name) else None


def kept_xattr(name: bytes) -> bool:
    """Whether a layer may carry this attribute: file capabilities, the user's own, ACLs.

    `trusted.overlay.*` would redirect a directory to anywhere in a lower layer or hide one, labels
    (`security.selinux`, `security.ima`) are the host's to set.
    """
    if name.startswith(b"user."):
        return len(name) > 5 and not name.startswith(b"user.overlay.")
    return name == b"security.capability" or name in ACLS


def pax_map(
    records: dict[bytes, bytes], pairs: list[tuple[int, int]] | None
) -> tuple[bytes | None, int | None, list[tuple[int, int]] | None]:
    """(name, real size, segments) of a PAX sparse member; segments None: the map leads the data (1.0)."""
    name = records.get(b"GNU.sparse.name")
    size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
    real = None if size is None else decimal(size)
    if records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
        return name, real, None
    text = records.get(b"GNU.sparse.map")
    if text is not None:
        numbers = [decimal(part) for part in text.split(b",")]
        if len(numbers) % 2:
            raise LayerError("tar has a malformed sparse map")
        return name, real, list(zip(numbers[::2], numbers[1::2], strict=True))
    return name, real, pairs or []


def inline_lines(block: bytes) -> int:
    """How many lines a format 1.0 map has, by its first block."""
    count, newline, _ = block.partition(b"\n")
    if not newline:
        raise LayerError("tar has a malformed sparse map")
    return 2 * decimal(count) + 1


def inline_map(text: bytes) -> list[tuple[int, int]]:
    """The segments of a complete format 1.0 map: a count, then offset and length, each on a line."""
    count, _, rest = text.partition(b"\n")
    wanted = 2 * decimal(count)
    numbers = [decimal(line) for line in rest.split(b"\n", wanted)[:wanted]]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def old_map(table: bytes, number: Callable[[bytes, str], int]) -> list[tuple[int, int]]:
    """The segments of an old GNU sparse table: 12 bytes offset, 12 bytes length; an empty offset ends it."""
    segments: list[tuple[int, int]] = []
    for position in range(0, len(table) - 23, 24):
        if not table[position]:
            break
        segments.append(
            (
                number(table[position : position + 12], "offset"),
                number(table[position + 12 : position + 24], "length"),
            )
        )
    return segments
