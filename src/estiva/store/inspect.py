"""Looking into images: what each layer adds, changes, removes and wastes, and what differs between two.

Layers are read from their tars' headers, as the drivers read them (store/layers/tree.py), and laid over each
other in memory: nothing is mounted or extracted. Two images are compared through read-only mounts of both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from estiva.store.layers.tree import Tree, is_whiteout
from estiva.store.tar.scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.store import Store
    from estiva.store.images import Image
    from estiva.store.tar.entry import Entry

CHUNK = 1 << 20


class _Node:
    """A path of the merged tree: who it comes from, and what tells a change of a directory."""

    __slots__ = ("children", "layer", "meta", "size")

    def __init__(self, entry: Entry, layer: int, size: int) -> None:
        self.layer = layer
        self.size = size
        self.meta = _meta(entry)
        self.children: dict[bytes, _Node] | None = None if entry.children is None else {}


def _meta(entry: Entry) -> tuple[Any, ...]:
    return entry.mode, entry.uid, entry.gid, entry.xattrs or {}


class Share:
    """What one layer does: counts of paths, and bytes of file content. `wasted` of its bytes are overwritten
    or removed by layers above it."""

    def __init__(self) -> None:
        self.added = self.changed = self.removed = 0
        self.content = self.wasted = 0


class _Merge:
    def __init__(self) -> None:
        self.root: _Node | None = None
        self.shares: list[Share] = []

    def lay(self, tree: Tree) -> None:
        self.shares.append(Share())
        number = len(self.shares) - 1
        if self.root is None:
            self.root = _Node(tree.root, number, 0)
        seen: set[int] = set()
        stack = [(self.root, tree.root)]
        while stack:
            below, above = stack.pop()
            assert below.children is not None
            if above.opaque:
                for node in below.children.values():
                    self._drop(node, number, count=True)
                below.children.clear()
            for name, entry in (above.children or {}).items():
                pair = self._put(below.children, name, entry, number, seen)
                if pair is not None:
                    stack.append(pair)

    def _put(
        self, siblings: dict[bytes, _Node], name: bytes, entry: Entry, number: int, seen: set[int]
    ) -> tuple[_Node, Entry] | None:
        """One name of a layer; the pair of directories to go into next."""
        share, old = self.shares[number], siblings.get(name)
        if is_whiteout(entry):
            if old is not None:
                del siblings[name]
                self._drop(old, number, count=True)
            return None
        size = 0
        if entry.kind == stat.S_IFREG and id(entry) not in seen:  # a hard link's bytes are there once
            seen.add(id(entry))
            size = entry.size
        share.content += size
        if entry.children is not None and old is not None and old.children is not None:
            if not entry.implied and _meta(entry) != old.meta:
                share.changed += 1
                old.meta, old.layer = _meta(entry), number
            return old, entry
        if old is None:
            share.added += 1
        else:
            share.changed += 1
            if old.children is not None:
                for node in old.children.values():
                    self._drop(node, number, count=True)
            self._drop(old, number, count=False)
        node = siblings[name] = _Node(entry, number, size)
        return (node, entry) if entry.children is not None else None

    def _drop(self, node: _Node, number: int, *, count: bool) -> None:
        """Paths that layer `number` hides; their bytes were for nothing."""
        stack = [node]
        while stack:
            node = stack.pop()
            self.shares[number].removed += count
            if node.layer != number:
                self.shares[node.layer].wasted += node.size
            if count:
                stack.extend((node.children or {}).values())


def layers(store: Store, image: Image) -> list[dict[str, Any]]:
    """Each layer of an image, base first: {"diff_id", "size" (of its tar), "added", "changed", "removed"
    (paths), "content", "wasted" (bytes of files), "created_by", "created"}.

    Directories that a layer only names again do not count as changed. Raises NotFound, LayerError.
    """
    merge = _Merge()
    for diff_id in image.diff_ids:
        tree = Tree()
        scanner = Scanner(tree.add)
        for piece in store.layers.chunks(diff_id):
            scanner.feed(piece)
        scanner.close()
        merge.lay(tree.finish())
    steps = [step for step in store.images.history(image)[::-1] if not step["empty"]]
    return [
        {
            "diff_id": diff_id,
            "size": store.layers.get(diff_id).size,
            "added": share.added,
            "changed": share.changed,
            "removed": share.removed,
            "content": share.content,
            "wasted": share.wasted,
            "created_by": step["created_by"] or step["comment"],
            "created": step["created"],
        }
        for diff_id, share, step in zip(image.diff_ids, merge.shares, steps, strict=True)
    ]


def diff(store: Store, first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[str, str]]:
    """("A", "C" or "D", path) of what a chain of layers has that another had not, has otherwise, or not any
    more; sorted. Times alone are no difference, and of a directory that is gone all below it is named.
    """
    with _View(store, first) as before, _View(store, second) as after:
        yield from _compare(before, after, "")


def _compare(before: int, after: int, path: str) -> Iterator[tuple[str, str]]:
    old, new = set(os.listdir(before)), set(os.listdir(after))
    for name in sorted(old | new):
        here = f"{path}/{name}"
        if name not in new:
            yield from _all("D", before, name, here)
        elif name not in old:
            yield from _all("A", after, name, here)
        else:
            yield from _both(before, after, name, here)


def _both(before: int, after: int, name: str, here: str) -> Iterator[tuple[str, str]]:
    one = os.stat(name, dir_fd=before, follow_symlinks=False)
    two = os.stat(name, dir_fd=after, follow_symlinks=False)
    directories = stat.S_ISDIR(one.st_mode), stat.S_ISDIR(two.st_mode)
    described = one.st_mode, one.st_uid, one.st_gid, _xattrs(before, name)
    same = described == (two.st_mode, two.st_uid, two.st_gid, _xattrs(after, name))
    if not same or (not directories[0] and not _same(before, after, name, one, two)):
        yield "C", here
    if directories == (True, True):
        with _Below(before, name) as old, _Below(after, name) as new:
            yield from _compare(old, new, here)
    elif directories[0]:
        with _Below(before, name) as old:
            for child in sorted(os.listdir(old)):
                yield from _all("D", old, child, f"{here}/{child}")
    elif directories[1]:
        with _Below(after, name) as new:
            for child in sorted(os.listdir(new)):
                yield from _all("A", new, child, f"{here}/{child}")


def _all(kind: str, directory: int, name: str, here: str) -> Iterator[tuple[str, str]]:
    yield kind, here
    if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        with _Below(directory, name) as fd:
            for child in sorted(os.listdir(fd)):
                yield from _all(kind, fd, child, f"{here}/{child}")


class _View:
    """A with-block with the fd of a chain's root directory, in a mount that is gone after it."""

    def __init__(self, store: Store, diff_ids: Sequence[str]) -> None:
        mounted = store.snapshots.view(diff_ids)  # names the mount, but can't be read
        try:
            self.fd = os.open(f"/proc/self/fd/{mounted}/.", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            os.close(mounted)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)


class _Below:
    """A with-block with the fd of a subdirectory."""

    def __init__(self, directory: int, name: str) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(name, flags, dir_fd=directory)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)


def _same(before: int, after: int, name: str, one: os.stat_result, two: os.stat_result) -> bool:
    """Whether two things of one kind that are no directories have the same content."""
    if stat.S_ISLNK(one.st_mode):
        return os.readlink(name, dir_fd=before) == os.readlink(name, dir_fd=after)
    if not stat.S_ISREG(one.st_mode):
        return one.st_rdev == two.st_rdev
    if one.st_size != two.st_size:
        return False
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    left = os.open(name, flags, dir_fd=before)
    try:
        right = os.open(name, flags, dir_fd=after)
        try:
            while piece := os.read(left, CHUNK):
                if piece != os.read(right, len(piece)):
                    return False
            return True
        finally:
            os.close(right)
    finally:
        os.close(left)


def _xattrs(directory: int, name: str) -> dict[str, bytes]:
    path = f"/proc/self/fd/{directory}/{name}"
    return {
        key: os.getxattr(path, key, follow_symlinks=False)
        for key in os.listxattr(path, follow_symlinks=False)
        if not key.startswith("trusted.overlay.")
    }
