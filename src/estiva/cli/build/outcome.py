"""What `build` writes of its outcome to files that were asked for: the image's id, and buildx's metadata.

Only of a build that has come to its end: what an earlier one wrote is taken away before it begins.
"""

from __future__ import annotations

import os
import stat

from estiva.errors import NotFound, oneline
from estiva.files import atomic_write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cmdline.parser import Options

OPTIONS = ("iidfile", "metadata-file")
REF = "0123456789abcdefghijklmnopqrstuvwxyz"  # of a build's name, as BuildKit makes it


def begin(options: Options) -> None:
    """Raises NotFound for a file in a folder that there isn't; OSError."""
    for name in OPTIONS:
        path = options.text(name)
        folder = os.path.dirname(path) or "."
        if path and not os.path.isdir(folder):
            raise NotFound(
                f"the folder {folder} of --{name} is not there", hint=f"mkdir -p {oneline(folder)}"
            )
        if path and _regular(path):
            os.unlink(path)


def write(options: Options, image_id: str, tags: list[str], more: dict[str, Any] | None = None) -> None:
    """`more` is what else is known by buildx's names: of what was exported, of provenance. Raises OSError."""
    if options.text("iidfile"):
        _put(options.text("iidfile"), image_id)
    if options.text("metadata-file"):
        write_metadata(options.text("metadata-file"), metadata(image_id, tags) | (more or {}))


def metadata(image_id: str, tags: list[str]) -> dict[str, Any]:
    """Of an image in the local store: as with docker's own builder, its digest is that of its config."""
    from estiva.oci.reference import Reference

    found = {
        "buildx.build.ref": "default/default/" + "".join(REF[byte % len(REF)] for byte in os.urandom(25)),
        "containerimage.config.digest": image_id,
        "containerimage.digest": image_id,
    }
    if tags:
        found["image.name"] = ",".join(str(Reference.parse(tag)) for tag in tags)
    return found


def write_metadata(path: str, found: dict[str, Any]) -> None:
    """Raises OSError."""
    import json

    _put(path, json.dumps(found, indent=2, sort_keys=True))


def _regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _put(path: str, text: str) -> None:
    """A new file, or into what is there if that is none: a device, a pipe, what a link leads to."""
    if os.path.lexists(path) and not _regular(path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        atomic_write(path, text.encode(), mode=0o644, sync=False)
