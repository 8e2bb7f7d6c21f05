"""Digests: `sha256:` or `sha512:` and lower-case hex (image-spec descriptor.md, "Digests").

Upper-case hex names the same bytes under a second name, so it is refused (K10).
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib

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
    import hashlib

    return "sha256:" + hashlib.sha256(data).hexdigest()


def short(text: str) -> str:
    """The first twelve hex digits, as lists of images and progress lines show a digest."""
    return text.rpartition(":")[2][:12]
