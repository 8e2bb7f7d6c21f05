"""Where `build` reads from: the build context, and the Dockerfile."""

from __future__ import annotations

import os
import sys

from estiva.errors import InvalidInput, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cmdline.parser import Options

MAX_DOCKERFILE = 16 << 20
ARCHIVES = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")


def sources(options: Options) -> tuple[str | None, str | None, str | None]:
    """(context folder, path of the Dockerfile, text of the Dockerfile)."""
    place, file = options.arguments[0], options.text("file") or None
    if place == "-":
        if file is not None:
            raise InvalidInput(
                "the Dockerfile comes from stdin already: leave out -f", hint="or give a folder"
            )
        return None, None, _stdin()
    if "://" in place or place.startswith("git@"):
        raise Unsupported(
            f"a build context from {place} is not supported yet", hint="clone it, and give a folder"
        )
    if not os.path.isdir(place):
        raise NotFound(f"the build context {place} is not a folder")
    if file == "-":
        return place, None, _stdin()
    return place, file, None


def _stdin() -> str:
    if os.isatty(0):
        raise InvalidInput("there is no Dockerfile on stdin", hint="redirect one, or give a folder")
    data = sys.stdin.buffer.read(MAX_DOCKERFILE + 1)
    if data.startswith(ARCHIVES) or data[257:262] == b"ustar":
        raise Unsupported(
            "a build context as an archive on stdin is not supported yet", hint="unpack it first"
        )
    if len(data) > MAX_DOCKERFILE:
        raise InvalidInput(f"the Dockerfile on stdin is larger than {MAX_DOCKERFILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except ValueError:
        raise InvalidInput("the Dockerfile on stdin is not UTF-8 text") from None
