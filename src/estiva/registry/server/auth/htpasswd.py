"""Who may use the registry server: an htpasswd file as the Apache tools write it.

Supported: bcrypt (`htpasswd -B`, the one to use), `$apr1$` (-m) and `{SHA}` (-s), which are here to be read,
not to be recommended. Other kinds are refused when the file is read, not at a login. The file is read again
when it changes; one that became unreadable leaves the users as they were.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading

from estiva import files
from estiva.errors import EstivaError, InvalidInput, NotFound, Unsupported

LIMIT = 1 << 20
REMEMBERED = 10_000
BCRYPT = ("$2a$", "$2b$", "$2y$")
COST = 14  # the dearest bcrypt that a login may take: each step more doubles the second it costs
_CHARACTERS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Htpasswd:
    """The users of one file. Safe to be used by several threads."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.stamp = _stamp(path)
        self.hashes = _read(path)
        self.accepted: set[bytes] = set()

    def accepts(self, user: str, password: str) -> bool:
        """Whether this user has this password. Blocks: a bcrypt of the usual cost takes 50 ms and more."""
        self._refresh()
        # What was right once is remembered, by a digest only, for as long as the file stays as it is.
        seen = hashlib.sha256(f"{len(user)}:{user}:{password}".encode("utf-8", "surrogateescape")).digest()
        with self.lock:
            hashes, stored = self.hashes, self.hashes.get(user)
            if seen in self.accepted:
                return True
        if stored is None:
            # as slow as a wrong password, so that the time does not tell who is a user
            verify(next(iter(hashes.values()), "{SHA}"), password.encode("utf-8", "surrogateescape"))
            return False
        if not verify(stored, password.encode("utf-8", "surrogateescape")):
            return False
        with self.lock:
            if self.hashes is hashes:
                if len(self.accepted) >= REMEMBERED:
                    self.accepted.clear()
                self.accepted.add(seen)
        return True

    def _refresh(self) -> None:
        stamp = _stamp(self.path)
        if stamp == self.stamp or stamp is None:
            return
        try:
            hashes = _read(self.path)
        except (EstivaError, OSError):
            return
        with self.lock:
            self.stamp, self.hashes = stamp, hashes
            self.accepted = set()


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: str) -> dict[str, str]:
    try:
        text = files.read_bounded(path, LIMIT).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}") from None
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        user, colon, password = line.partition(":")
        if not colon or not user:
            raise InvalidInput(f"{path}: line {number} is not USER:HASH")
        if password.startswith(BCRYPT):
            _check_bcrypt(path, number, password)
        elif not password.startswith(("{SHA}", "$apr1$")) or (
            password[0] == "$" and password.count("$") != 3
        ):
            raise Unsupported(
                f"{path}: line {number}: the hash of {user!r} is of a kind that is not supported",
                hint="make it with htpasswd -B",
            )
        hashes[user] = password
    return hashes


def _check_bcrypt(path: str, number: int, stored: str) -> None:
    import importlib.util

    if importlib.util.find_spec("bcrypt") is None:
        raise Unsupported(f"{path}: line {number} has a bcrypt hash", hint="pip install bcrypt")
    cost = stored[4:6]
    if len(stored) != 60 or not cost.isascii() or not cost.isdigit() or not 4 <= int(cost) <= COST:
        raise InvalidInput(f"{path}: line {number} is not a bcrypt hash of cost 4 to {COST}")


def verify(stored: str, password: bytes) -> bool:
    """Whether `password` has the hash `stored`."""
    if stored.startswith(BCRYPT):
        import bcrypt

        try:
            # bcrypt knows 72 bytes, and other programs cut there too
            return bcrypt.checkpw(password[:72].replace(b"\0", b""), stored.encode())
        except ValueError:
            return False
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
