"""One layer as it is after extraction, built in memory from its tar's headers: what each driver makes real.

A tar is a list of instructions: a later entry replaces an earlier one, a hard link names an earlier entry,
a parent may be a symlink or not be named at all. `Tree.add` carries them out on nodes in memory, where no
path can lead outside and nothing is followed by the kernel, so a driver gets a plain tree: every directory
is a directory, every name is there once, every inode knows its data's place in the tar. Drivers thereby
agree, whatever the archive holds (K12).

    Scanner -> Entry -> Tree.add ... Tree.finish -> erofs: index of inodes | dir: files

Layers are independent of each other (image-spec, layer.md): a hard link to a file of a lower layer is an
error, a whiteout hides names of lower layers only and never one of its own layer.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from estiva.errors import LayerError
from estiva.store.tar.entry import Entry, shown

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
AUFS = b".wh..wh."  # aufs' own metadata: never content
MAX_FOLLOW = 40
MAX_STEPS = 50_000_000  # parts of paths looked up in one layer: a bound on time
MAX_DEPTH = 512  # directories below each other; what path-based tools can still reach
IMPLIED_MODE = 0o755


def _directory(name: bytes) -> Entry:
    entry = Entry(name, stat.S_IFDIR, IMPLIED_MODE)
    entry.children = {}
    entry.implied = True
    return entry


class Tree:
    """`add` every entry in the archive's order, then `finish`; `root` is the result.

    Raises LayerError for an entry that a correct extractor can't carry out.
    """

    def __init__(self) -> None:
        self.root = _directory(b"")
        self._places: dict[bytes, Entry] = {b"": self.root}  # directories by real path
        self._hiding: list[Entry] = []  # directories that have whiteouts
        self._finished = False
        self._steps = 0

    def add(self, entry: Entry) -> None:
        parent, _, base = entry.name.rpartition(b"/")
        if not base:
            self._describe(self.root, entry)
            return
        if b".wh." in entry.name and self._special(entry, parent, base):
            return
        place = self._places.get(parent)
        if place is None:
            place = self._walk(parent, entry)
        assert place.children is not None
        old = place.children.get(base)
        kind = entry.kind
        if kind == 0:
            self._hard_link(place, base, entry)
        elif kind == stat.S_IFDIR:
            if old is not None and old.children is not None:
                self._describe(old, entry)
            else:
                entry.children = {}
                self._put(place, base, entry)
        elif old is None:
            place.children[base] = entry
        else:
            self._put(place, base, entry)

    @staticmethod
    def _describe(directory: Entry, entry: Entry) -> None:
        """A directory that is there is described again: content stays, the rest is the newer's."""
        directory.mode, directory.uid, directory.gid = entry.mode, entry.uid, entry.gid
        directory.mtime, directory.xattrs = entry.mtime, entry.xattrs
        directory.implied = False

    def _put(self, place: Entry, base: bytes, entry: Entry) -> None:
        """Name `entry` `base`, in place of whatever had the name."""
        assert place.children is not None
        old = place.children.pop(base, None)
        if old is not None:
            if old.children is not None:
                self._places = {b"": self.root}  # paths below it are gone
            else:
                old.nlink -= 1
        place.children[base] = entry

    def _special(self, entry: Entry, parent: bytes, base: bytes) -> bool:
        """Handle whiteouts and aufs metadata; False for an ordinary name that only contains ".wh."."""
        parts = entry.name.split(b"/")
        if any(part.startswith(AUFS) and part != OPAQUE for part in parts):
            return True
        if any(part.startswith(WHITEOUT) for part in parts[:-1]):
            raise LayerError(f"layer entry {shown(entry.name)} lies below a whiteout")
        if not base.startswith(WHITEOUT):
            return False
        hidden = base[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise LayerError(f"layer entry {shown(entry.name)} is a whiteout of nothing")
        place = self._places.get(parent) or self._walk(parent, entry)
        if base == OPAQUE:
            place.opaque = True
            return True
        if place.whiteouts is None:
            place.whiteouts = set()
            self._hiding.append(place)
        place.whiteouts.add(hidden)
        return True

    def _hard_link(self, place: Entry, base: bytes, entry: Entry) -> None:
        parent, _, name = entry.link.rpartition(b"/")
        source = self._walk(parent, entry, make=False).children if name else None
        target = source.get(name) if source is not None else None
        if target is None:
            raise LayerError(
                f"layer entry {shown(entry.name)} is a hard link to {shown(entry.link)}, which is not there"
            )
        if target.children is not None:
            raise LayerError(
                f"layer entry {shown(entry.name)} is a hard link to the directory {shown(entry.link)}"
            )
        if target.nlink >= 60_000:  # ext4 allows 65,000
            raise LayerError(f"layer entry {shown(entry.name)} has too many hard links")
        assert place.children is not None
        if place.children.get(base) is target:
            return
        self._put(place, base, target)
        target.nlink += 1

    def _walk(self, path: bytes, entry: Entry, *, make: bool = True) -> Entry:
        """The directory `path`, made where missing; symlinks are followed inside this layer's root, as a
        chrooted extractor would. `entry` is named in errors.
        """
        found = self._places.get(path)
        if found is not None:
            return found
        stack = [self.root]
        names: list[bytes] = []
        todo = path.split(b"/")[::-1]
        given = len(todo)  # parts that the archive itself wrote: only these may be made
        followed = 0
        while todo:
            part = todo.pop()
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise LayerError(f"layer entry {shown(entry.name)}: looking up parents takes too long")
            own = len(todo) < given
            given = min(given, len(todo))
            if part in (b"", b"."):
                continue
            if part == b"..":
                if names:
                    names.pop()
                    stack.pop()
                continue
            here = stack[-1]
            assert here.children is not None
            child = here.children.get(part)
            if child is None:
                if not (own and make) or len(stack) >= MAX_DEPTH:
                    raise LayerError(f"layer entry {shown(entry.name)} has a parent that is not there")
                child = here.children[part] = _directory(part)
            if child.children is not None:
                names.append(part)
                stack.append(child)
            elif child.kind == stat.S_IFLNK:
                followed += 1
                if followed > MAX_FOLLOW:
                    raise LayerError(f"layer entry {shown(entry.name)} goes through too many symlinks")
                if child.link.startswith(b"/"):
                    del stack[1:], names[:]
                todo.extend(child.link.split(b"/")[::-1])
            else:
                raise LayerError(f"layer entry {shown(entry.name)} has a parent that is no directory")
        if len(stack) > MAX_DEPTH:
            raise LayerError(f"layer entry {shown(entry.name)} lies deeper than {MAX_DEPTH} directories")
        self._places[b"/".join(names)] = stack[-1]
        return stack[-1]

    def finish(self) -> Tree:
        """Turn whiteouts into nodes: character device 0/0, or an opaque directory when the same layer makes
        a new directory of that name (kernel Documentation/filesystems/overlayfs.rst).
        """
        if self._finished:
            return self
        self._finished = True
        for place in self._hiding:
            assert place.children is not None and place.whiteouts is not None
            for name in place.whiteouts:
                child = place.children.get(name)
                if child is None:
                    place.children[name] = Entry(name, stat.S_IFCHR, 0)
                elif child.children is not None:
                    child.opaque = True
            place.whiteouts = None
        return self

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        """(path, node) of everything, parents first, names sorted; the root is b""."""
        stack = [(b"", self.root)]
        while stack:
            path, node = stack.pop()
            yield path, node
            if node.children:
                prefix = path + b"/" if path else b""
                for name in sorted(node.children, reverse=True):
                    stack.append((prefix + name, node.children[name]))

    def implied(self) -> list[str]:
        """Directories that entries need but the archive does not name: absolute, bytes as Latin-1 text."""
        found: list[str] = []
        stack = [(b"", self.root)]
        while stack:
            path, node = stack.pop()
            if node.implied:
                found.append((path or b"/").decode("latin-1"))
            for name, child in (node.children or {}).items():
                if child.children is not None:
                    stack.append((path + b"/" + name, child))
        found.sort()
        return found


def is_whiteout(node: Entry) -> bool:
    return node.kind == stat.S_IFCHR and node.rdev == (0, 0)
