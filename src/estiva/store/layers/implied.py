"""What the layers of a chain leave to those below: how directories are that they need but do not name.

Overlayfs shows a directory as its topmost layer has it, where it would be root's and 0755. So, once per
chain, the directories that a lower layer describes differently are made in fixups/TOP/NAME, which mounts.py
puts on top of all layers: directories only, empty, with the mode, owner, time and attributes that count.
"""

from __future__ import annotations

import os
import stat

from estiva import fastjson, files
from estiva.linux import fs
from estiva.paths import Paths
from estiva.store.database import Database
from estiva.store.layers.layer import chains, layer_name
from estiva.store.layers.tree import IMPLIED_MODE
from estiva.store.tar.records import kept_xattr

NONE = "-"
_WALK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS


class Attributes:
    """A directory's own: what `==` compares is what a layer can say about one."""

    __slots__ = ("mode", "uid", "gid", "mtime", "xattrs")

    def __init__(self, mode: int, uid: int, gid: int, mtime: int, xattrs: dict[str, bytes]) -> None:
        self.mode, self.uid, self.gid, self.mtime, self.xattrs = mode, uid, gid, mtime, xattrs

    @classmethod
    def of(cls, fd: int) -> Attributes:
        found = os.fstat(fd)
        xattrs = {name: os.getxattr(fd, name) for name in _names(fd) if kept_xattr(os.fsencode(name))}
        return cls(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns, xattrs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attributes) and self.key() == other.key()

    __hash__ = None  # type: ignore[assignment]

    def key(self) -> tuple[int, int, int, int, dict[str, bytes]]:
        return self.mode, self.uid, self.gid, self.mtime, self.xattrs

    def apply(self, fd: int) -> None:
        os.fchown(fd, self.uid, self.gid)
        os.fchmod(fd, self.mode)
        for name, value in self.xattrs.items():
            os.setxattr(fd, name, value)
        os.utime(fd, ns=(self.mtime, self.mtime))

    def plain(self) -> bool:
        """Whether this is what an unnamed directory shows anyway."""
        return self.key() == (IMPLIED_MODE, 0, 0, 0, {})


def _names(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError:
        return []


def make(paths: Paths, db: Database, lowers: list[str], diff_ids: list[str]) -> tuple[str, str]:
    """(NAME or "-", DEPTH) of a chain, remembered for the next mount. `lowers`: the layers, topmost first."""
    top = layer_name(diff_ids[0])
    directory = f"{paths.fixups}/{top}"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    implied = [_implied(db, diff_id) for diff_id in diff_ids]
    depth = _depth(lowers)
    wanted = _wanted(lowers[:depth], implied)
    with files.Lock(directory + "/lock"):
        name = NONE
        if wanted:
            name = os.urandom(6).hex()
            _write(f"{directory}/{name}", wanted)
        chain = ",".join(diff_ids)
        lines = [*chains(directory + "/chains"), (name, str(depth), chain)]
        if not os.path.isfile(directory + "/chains"):
            files.remove_tree(directory + "/chains")
        files.atomic_write(directory + "/chains", "".join(" ".join(line) + "\n" for line in lines).encode())
    return name, str(depth)


def _implied(db: Database, diff_id: str) -> set[bytes]:
    rows = db.read("SELECT implied FROM layers WHERE diff_id = ?", (diff_id,))
    return (
        {path.encode("latin-1") for path in fastjson.loads(rows[0][0], what="layers.implied")}
        if rows
        else set()
    )


def _depth(lowers: list[str]) -> int:
    """How many layers count: overlayfs does not heed an opaque root, so what lies below one is left out."""
    for position, lower in enumerate(lowers):
        if _opaque(lower):
            return position + 1
    return len(lowers)


def _opaque(target: str | int) -> bool:
    try:
        return os.getxattr(target, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def _wanted(lowers: list[str], implied: list[set[bytes]]) -> dict[bytes, Attributes]:
    """The directories, by absolute path, that a lower layer describes and the topmost layer with them only
    implies; and the parents of these, which must show what they show without the fix. Parents first.
    """
    found: dict[bytes, Attributes] = {}
    roots = [os.open(lower, _WALK) for lower in lowers]
    try:
        for path in sorted(set().union(*implied)):
            attributes, by_lower = _described(path, roots, implied)
            if not by_lower or attributes.plain():
                continue
            found[path] = attributes
            parts = path.split(b"/")
            for count in range(1, len(parts)):
                parent = b"/".join(parts[:count]) or b"/"
                if parent not in found:
                    found[parent] = _described(parent, roots, implied)[0]
    finally:
        for fd in roots:
            os.close(fd)
    return dict(sorted(found.items()))


def _described(path: bytes, roots: list[int], implied: list[set[bytes]]) -> tuple[Attributes, bool]:
    """What the topmost layer that names the directory `path` says of it; whether one above implies it."""
    relative = path.lstrip(b"/") or b"."
    covered = False
    for root, names in zip(roots, implied, strict=False):
        try:
            fd = fs.openat2(root, relative, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, 0, _INSIDE)
        except OSError:
            if _ends(root, relative):
                break
            continue
        try:
            if path not in names:
                return Attributes.of(fd), covered
            covered = True
            if _ends(root, relative):
                break
        finally:
            os.close(fd)
    return Attributes(IMPLIED_MODE, 0, 0, 0, {}), False


def _ends(root: int, relative: bytes) -> bool:
    """Whether this layer hides `relative` of all layers below: something else, a whiteout or an opaque
    directory is on its way.
    """
    parts = relative.split(b"/")
    for count in range(1, len(parts) + 1):
        try:
            fd = fs.openat2(root, b"/".join(parts[:count]), os.O_PATH | os.O_NOFOLLOW, 0, _INSIDE)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode) or _opaque(f"/proc/self/fd/{fd}"):
                return True
        finally:
            os.close(fd)
    return False


def _write(directory: str, wanted: dict[bytes, Attributes]) -> None:
    """Make the tree of empty directories; `wanted` has parents before children."""
    os.mkdir(directory, 0o700)
    base = os.fsencode(directory)
    for path in wanted:
        if path != b"/":
            os.mkdir(base + path, 0o700)
    for path, attributes in reversed(wanted.items()):
        fd = os.open(base + path, _WALK)
        try:
            attributes.apply(fd)
        finally:
            os.close(fd)
