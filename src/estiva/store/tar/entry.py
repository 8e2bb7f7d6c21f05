"""One member of a tar, and the rules for names that every layer must keep (K12, K13)."""

from __future__ import annotations

import stat

from estiva.errors import LayerError

BLOCK = 512
MAX_HEADER = 1 << 20  # bytes of one PAX header, GNU long name or sparse map
MAX_NAME = 4096
MAX_COMPONENT = 255
MAX_LINK = 4095
MAX_SIZE = 1 << 50
MAX_ID = (1 << 32) - 2

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
KINDS = {
    b"0": stat.S_IFREG,
    b"\0": stat.S_IFREG,
    b"7": stat.S_IFREG,  # contiguous: an ordinary file everywhere
    b"S": stat.S_IFREG,
    b"1": 0,
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}


class Entry:
    """One member; the layer's tree (store/layers/tree.py) uses the same object as its node.

    kind: S_IFMT bits, 0 for a hard link. name, link: bytes, name cleaned and relative ("" is the root).
    mtime: nanoseconds. offset: bytes, of the data in the tar. sparse: [(offset, length)] of it, or None.
    """

    __slots__ = (
        "name", "kind", "mode", "uid", "gid", "size", "mtime", "link", "rdev", "xattrs", "offset", "sparse",
        "stored", "children", "whiteouts", "implied", "opaque", "nlink", "mark",
    )  # fmt: skip

    def __init__(self, name: bytes, kind: int, mode: int) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = 0
        self.gid = 0
        self.size = 0
        self.mtime = 0
        self.link = b""
        self.rdev = (0, 0)
        self.xattrs: dict[bytes, bytes] | None = None
        self.offset = 0
        self.stored = 0  # bytes of data in the archive
        self.sparse: list[tuple[int, int]] | None = None
        self.children: dict[bytes, Entry] | None = None
        self.whiteouts: set[bytes] | None = None
        self.implied = False
        self.opaque = False
        self.nlink = 1
        self.mark = 0  # the drivers' own use

    def attributes(self) -> dict[bytes, bytes]:
        """The extended attributes on the disk: its own, and overlayfs' mark of an opaque directory."""
        values = dict(self.xattrs or {})
        if self.opaque:
            values[b"trusted.overlay.opaque"] = b"y"
        return values

    def __repr__(self) -> str:
        return f"Entry({self.name!r}, {self.kind | self.mode:o}, size={self.size})"


def shown(name: bytes) -> str:
    """A member's name for a message: one line, whatever is in it."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clean(name: bytes) -> bytes:
    """`name` without leading "/", "./" and empty parts; "" is the root. Raises LayerError if it leaves it."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise LayerError(f"layer entry {shown(name)} leaves the root")
            parts.pop()
        elif part and part != b".":
            if len(part) > MAX_COMPONENT:
                raise LayerError(f"layer entry {shown(name)} has a name longer than {MAX_COMPONENT} bytes")
            parts.append(part)
    return b"/".join(parts)
