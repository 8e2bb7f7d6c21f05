"""What copied paths amount to, for the cache's key: names, types, modes, content; where they are kept, owners
and extended attributes.

Times count for nothing, so a fresh checkout of the same files is the same source. A key may only come of
the bytes and attributes that went into the layer, or of the one look that found the layer (K20): what is
looked at for a key and read again for the copy could be another's file by then.
"""

from __future__ import annotations

import os
import stat

from estiva.files import write_all
from estiva.oci.digest import Sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable

_PIECE = 1 << 17
MOST = 100_000  # paths that are listed
ATTRIBUTES = ("security.capability", "user.")  # the second is a prefix


class Record:
    """Paths added in the order of a walk -> one digest. `owners`: owners and attributes count. `listed` gets
    the mode, owner and content of each path, below `top`, up to MOST of them. `paths`: how many there are.
    """

    def __init__(self, owners: bool, listed: dict[str, list[str]] | None = None, top: str = "") -> None:
        self.owners = owners
        self.listed = listed
        self.top = top
        self.paths = 0
        self.total = Sha256()

    def add(self, name: str, info: os.stat_result, content: str = "") -> None:
        """One path. `content`: a file's by `content`, a symlink's target; a device's number is in `info`."""
        self.paths += 1
        mode = stat.S_IFLNK if stat.S_ISLNK(info.st_mode) else info.st_mode
        owner = f"{info.st_uid}:{info.st_gid}" if self.owners else ""
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            content = str(info.st_rdev)
        fields = (name, oct(mode), owner, content)
        if self.listed is not None and len(self.listed) < MOST:
            path = f"{self.top}/{name}".strip("/") or "."
            self.listed[path] = [f"{stat.S_IMODE(mode):04o}", owner, f"{stat.S_IFMT(mode):o} {content}"]
        self.total.update("\0".join(fields).encode("utf-8", "surrogateescape") + b"\0\0")

    def digest(self) -> str:
        return self.total.hexdigest()


def nothing() -> None:
    """A look that finds nothing."""


def content(fd: int, kept: dict[str, bytes], to: int = -1, *, look: Callable[[], object] = nothing) -> str:
    """A regular file's content and the attributes that are kept of it; `to` is a file that gets it, too.
    `look` is called for each piece: what it raises ends that.
    """
    total = Sha256()
    offset = 0
    while piece := os.pread(fd, _PIECE, offset):
        look()
        total.update(piece)
        if to >= 0:
            write_all(to, piece)
        offset += len(piece)
    return told(total, kept)


def told(total: hashlib._Hash | Sha256, kept: dict[str, bytes]) -> str:
    """A file's content and attributes, of which `total` (sha256) has had all bytes."""
    for name in sorted(kept):
        key, value = os.fsencode(name), kept[name]
        total.update(b"\0%d %d " % (len(key), len(value)) + key + value)
    return total.hexdigest() + (f":{len(kept)}" if kept else "")


def attributes(fd: int) -> dict[str, bytes]:
    """The extended attributes of an open file that a copy keeps: its capabilities and the user's own."""
    try:
        names = os.listxattr(fd)
    except OSError:  # a filesystem without
        return {}
    return {name: os.getxattr(fd, name) for name in names if name.startswith(ATTRIBUTES)}
