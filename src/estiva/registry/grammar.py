"""The words of the distribution protocol for client and server: names, tags, ranges, sizes, media types.

Nothing that comes over the wire becomes a path, a key or a header before it has passed through here (K9).
"""

from __future__ import annotations

import re

# distribution-spec, "Pulling manifests". Separators and letters never overlap: no backtracking blows up.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
UPLOAD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
NAME_LENGTH = 255

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)

MANIFEST_LIMIT = 4 << 20  # bytes; the spec asks for at least this much
CONFIG_LIMIT = 8 << 20
TOKEN_LIMIT = 64 << 10
ERROR_LIMIT = 16 << 10

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_CHUNK_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})")
_BYTE_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def is_name(text: str) -> bool:
    """Whether `text` is a repository name."""
    return len(text) <= NAME_LENGTH and NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` is a lower-case sha256 or sha512 digest."""
    return DIGEST.fullmatch(text) is not None


def is_media_type(text: str) -> bool:
    """Whether `text` is a media type without parameters (RFC 6838, section 4.2)."""
    return MEDIA_TYPE.fullmatch(text) is not None


def bare_type(header: str) -> str:
    """A Content-Type without its parameters, which the spec says to ignore."""
    return header.partition(";")[0].strip()


def content_range(header: str) -> tuple[int, int, int | None] | None:
    """First byte, last byte and total of a 206's Content-Range (RFC 9110, section 14.4); None: malformed."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        return None
    total = None if match[3] == "*" else int(match[3])
    return int(match[1]), int(match[2]), total


def chunk_range(header: str) -> tuple[int, int] | None:
    """First and last byte of an upload chunk or of an upload's status, None if malformed."""
    match = _CHUNK_RANGE.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        return None
    return int(match[1]), int(match[2])


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The (offset, count) that a Range header asks of `size` bytes; None: send all of it.

    Several ranges, or another unit, are ignored, as RFC 9110, section 14.2, allows. Raises ValueError for a
    range that can't be satisfied.
    """
    match = _BYTE_RANGE.fullmatch(header.strip())
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        count = min(int(match[2]), size)
        if count == 0:
            raise ValueError("empty suffix range")
        return size - count, count
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    if first >= size:
        raise ValueError("range starts past the end")
    return first, last - first + 1
