"""Who may use the registry server: an htpasswd file as the Apache tools write it.

Supported: `{SHA}` (htpasswd -s) and `$apr1$` (htpasswd -m). bcrypt and crypt(3) hashes need a C library
that Python no longer offers; a file that holds one is refused when the server starts, not at a login.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from estiva import files
from estiva.errors import InvalidInput, NotFound, Unsupported

LIMIT = 1 << 20
_CHARACTERS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Htpasswd:
    """The users of one file, read once."""

    def __init__(self, path: str) -> None:
        try:
            text = files.read_bounded(path, LIMIT).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            raise NotFound(f"no such file: {path}") from None
        self.hashes: dict[str, str] = {}
        self.accepted: set[bytes] = set()
        for number, line in enumerate(text.splitlines(), 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            user, colon, password = line.partition(":")
            if not colon or not user:
                raise InvalidInput(f"{path}: line {number} is not USER:HASH")
            if not password.startswith(("{SHA}", "$apr1$")):
                raise Unsupported(
                    f"{path}: line {number}: the hash of {user!r} is of a kind that is not supported",
                    hint="make it with htpasswd -m (apr1) or htpasswd -s (SHA)",
                )
            self.hashes[user] = password

    def accepts(self, header: str) -> bool:
        """Whether an Authorization header's Basic credentials are right (RFC 7617)."""
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except ValueError:
            return False
        stored = self.hashes.get(user)
        # apr1 costs a millisecond: what was right once is remembered, by its digest only.
        seen = hashlib.sha256(header.encode("utf-8", "surrogateescape")).digest()
        if seen in self.accepted:
            return True
        if not colon or stored is None or not verify(stored, password.encode()):
            return False
        self.accepted.add(seen)
        return True


def verify(stored: str, password: bytes) -> bool:
    """Whether `password` has the hash `stored`."""
    if stored.startswith("{SHA}"):
        made = "{SHA}" + base64.b64encode(hashlib.sha1(password, usedforsecurity=False).digest()).decode()
    else:
        made = apr1(password, stored.split("$")[2])
    return hmac.compare_digest(made.encode(), stored.encode("utf-8", "surrogateescape"))


def _md5(*parts: bytes) -> bytes:
    return hashlib.md5(b"".join(parts), usedforsecurity=False).digest()


def apr1(password: bytes, salt_text: str) -> str:
    """Apache's variant of the MD5-based crypt (a thousand rounds)."""
    salt = salt_text[:8].encode("utf-8", "surrogateescape")
    inner = _md5(password, salt, password)
    parts = [password, b"$apr1$", salt, (inner * (len(password) // 16 + 1))[: len(password)]]
    bits = len(password)
    while bits:
        parts.append(b"\0" if bits & 1 else password[:1])
        bits >>= 1
    digest = _md5(*parts)
    for turn in range(1000):
        parts = [password if turn & 1 else digest]
        if turn % 3:
            parts.append(salt)
        if turn % 7:
            parts.append(password)
        parts.append(digest if turn & 1 else password)
        digest = _md5(*parts)
    groups = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)]
    encoded = "".join(_base64(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in groups)
    return f"$apr1${salt_text[:8]}${encoded}{_base64(digest[11], 2)}"


def _base64(value: int, count: int) -> str:
    return "".join(_CHARACTERS[value >> 6 * position & 63] for position in range(count))
