"""Digests: `sha256:` or `sha512:` and lower-case hex (image-spec descriptor.md, "Digests").

Upper-case hex names the same bytes under a second name, so it is refused (K10).
"""

from __future__ import annotations

import sys

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib

LITTLE = 1 << 18  # bytes
PIECE = 1 << 16  # bytes
HEX = frozenset("0123456789abcdef")
LENGTHS = {"sha256": 64, "sha512": 128}


def is_hex(text: str) -> bool:
    """True for lower-case hexadecimal digits only, at least one."""
    return bool(text) and HEX.issuperset(text)


def parse(text: str) -> tuple[str, str]:
    """Split a digest into (algorithm, hex). Raises InvalidInput for anything but a canonical one."""
    algorithm, _, encoded = text.partition(":")
    length = LENGTHS.get(algorithm)
    if length is None:
        raise InvalidInput(f"invalid digest {text[:200]!r}: the algorithm must be sha256 or sha512")
    if len(encoded) != length or not HEX.issuperset(encoded):
        raise InvalidInput(f"invalid digest {text[:200]!r}: {algorithm} needs {length} lower-case hex digits")
    return algorithm, encoded


def valid(text: object) -> bool:
    """True if `text` is a canonical digest."""
    if not isinstance(text, str):
        return False
    algorithm, _, encoded = text.partition(":")
    return len(encoded) == LENGTHS.get(algorithm) and HEX.issuperset(encoded)


def hasher(algorithm: str) -> hashlib._Hash:
    """A new hash object of a digest's algorithm."""
    import hashlib

    return hashlib.sha512() if algorithm == "sha512" else hashlib.sha256()


def sha256(data: bytes | bytearray | memoryview) -> str:
    """The sha256 digest of `data`."""
    return "sha256:" + _sha256(data)


class Sha256:
    """A hash object, as hashlib.sha256 is, for what may be little."""

    def __init__(self) -> None:
        self._kept = bytearray()  # what is not hashed yet
        self._total: hashlib._Hash | None = None

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._kept += data
        if len(self._kept) >= PIECE:
            self._total = self._total or hasher("sha256")
            self._total.update(self._kept)
            self._kept.clear()

    def hexdigest(self) -> str:
        if self._total is None:
            return _sha256(self._kept)
        total = self._total.copy()
        total.update(self._kept)
        return total.hexdigest()


_left = LITTLE


def _sha256(data: bytes | bytearray | memoryview) -> str:
    """The first bytes that a process hashes are hashed by the interpreter's own code, if it has one (cpython,
    Modules/_hacl): OpenSSL takes 3 ms to load, and is five times as fast then.
    """
    global _left
    _left -= len(data)
    if _left > 0 and "_hashlib" not in sys.modules:
        try:
            from _sha2 import sha256  # type: ignore[import-not-found]
        except ImportError:
            try:
                from _sha256 import sha256  # type: ignore[import-not-found]  # Python 3.11
            except ImportError:
                from hashlib import sha256
    else:
        from hashlib import sha256
    return str(sha256(data).hexdigest())


def short(text: str) -> str:
    """The first twelve hex digits, as lists of images and progress lines show a digest."""
    return text.rpartition(":")[2][:12]
