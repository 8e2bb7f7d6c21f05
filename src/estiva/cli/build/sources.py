"""Where `build` reads from: the build context, and the Dockerfile."""

from __future__ import annotations

import os
import sys

from estiva.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cmdline.parser import Options

MAX_DOCKERFILE = 16 << 20
HEAD = 512  # bytes that tell an archive from a Dockerfile
ARCHIVES = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")
ELSEWHERE = ("http://", "https://", "git://", "ssh://", "github.com/")


def sources(options: Options) -> tuple[str | Rest | None, str | None, str | None]:
    """(context, place of the Dockerfile, text of the Dockerfile). The context is a folder, an address, or a
    file to read an archive from."""
    place, file = options.arguments[0], options.text("file") or None
    if place == "-":
        return _from_stdin(file)
    if not os.path.isdir(place):
        if place.startswith("file://"):
            raise InvalidInput(
                f"a build context from {place} is refused", hint=f"name the folder itself: {place[7:]}"
            )
        if not place.lower().startswith(ELSEWHERE) and not _is_scp(place):
            raise NotFound(f"the build context {place} is not a folder")
    if file == "-":
        head = _head()
        return place, None, _text(head)
    return place, file, None


def _is_scp(place: str) -> bool:
    """Whether it is as USER@HOST:PATH, git over ssh."""
    user, at, rest = place.partition("@")
    return bool(at and user and "/" not in user and ":" in rest.partition("/")[0])


def _from_stdin(file: str | None) -> tuple[Rest | None, str | None, str | None]:
    """An archive is the context, and -f names a file in it; all else is a Dockerfile without a context."""
    if file == "-":
        raise InvalidInput("stdin can't be both the build context and the Dockerfile", hint="give a folder")
    head = _head()
    if head.startswith(ARCHIVES) or _is_tar(head):
        return Rest(head), file, None
    if file is not None:
        raise InvalidInput("the Dockerfile comes from stdin already: leave out -f", hint="or give a folder")
    return None, None, _text(head)


def _is_tar(head: bytes) -> bool:
    """Whether it begins with a tar header: its checksum is right (tar(5))."""
    digits = head[148:156].strip(b"\0 ")
    if len(head) < HEAD or not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(head) - sum(head[148:156]) + 8 * 32


def _head() -> bytes:
    if os.isatty(0):
        raise InvalidInput("there is no Dockerfile on stdin", hint="redirect one, or give a folder")
    return sys.stdin.buffer.read(HEAD)


def _text(head: bytes) -> str:
    data = head + sys.stdin.buffer.read(MAX_DOCKERFILE + 1 - len(head))
    if len(data) > MAX_DOCKERFILE:
        raise InvalidInput(f"the Dockerfile on stdin is larger than {MAX_DOCKERFILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except ValueError:
        raise InvalidInput("the Dockerfile on stdin is not UTF-8 text") from None


class Rest:
    """Stdin, its first bytes included, which were read already."""

    def __init__(self, head: bytes) -> None:
        self.head = head

    def read(self, size: int = -1) -> bytes:
        head, self.head = self.head, b""
        return head or sys.stdin.buffer.read(size)
