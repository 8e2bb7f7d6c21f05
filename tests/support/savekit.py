"""Images as a saved archive has them, of whatever engine: config, history, and the tree of all layers in one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
import tarfile
from typing import Any

KINDS = {
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}
SHOWN = 400  # bytes of a text file that are compared as text, to be read when they differ


@dataclasses.dataclass
class Node:
    """One file; hard links are one Node under several paths."""

    kind: str
    mode: int
    owner: str
    time: int  # seconds
    content: str = ""  # text, or a digest; where a link points; a device's numbers
    attributes: dict[str, str] = dataclasses.field(default_factory=dict)


class Archive:
    """A docker-archive, or several: `image(name)` is (config document, tree) of one. Layers are read once."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[dict[str, Any], list[str]]] = {}
        self.layers: dict[str, list[tuple[str, Node | str]]] = {}

    def add(self, path: str) -> None:
        with tarfile.open(path) as archive:
            for entry in json.load(_member(archive, "manifest.json")):
                document = json.load(_member(archive, entry["Config"]))
                diff_ids = document["rootfs"]["diff_ids"] or []
                for name, diff_id in zip(entry["Layers"], diff_ids, strict=True):
                    if diff_id not in self.layers:
                        with tarfile.open(fileobj=_member(archive, name)) as layer:
                            self.layers[diff_id] = list(_nodes(layer))
                for tag in entry["RepoTags"] or []:
                    self.documents[tag] = document, diff_ids

    def image(self, name: str) -> tuple[dict[str, Any], dict[str, Node]]:
        document, diff_ids = self.documents[name]
        tree: dict[str, Node] = {}
        for diff_id in diff_ids:
            _apply(tree, self.layers[diff_id])
        return document, tree


def _member(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None, name
    return file


def _nodes(layer: tarfile.TarFile) -> Any:
    """(path, Node) of each member; the path of another one for a hard link."""
    for info in layer:
        path = _path(info.name)
        if info.islnk():
            yield path, _path(info.linkname)
            continue
        kind = "file" if info.isreg() else KINDS[info.type]
        content = info.linkname if info.issym() else ""
        if info.isreg():
            content = _content(_member(layer, info.name) if info.size else None, info.size)
        elif info.ischr() or info.isblk():
            content = f"{info.devmajor}:{info.devminor}"
        attributes = {
            key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape").hex()
            for key, value in info.pax_headers.items()
            if key.startswith("SCHILY.xattr.")
        }
        mode = 0 if info.issym() else info.mode & 0o7777
        yield path, Node(kind, mode, f"{info.uid}:{info.gid}", int(info.mtime), content, attributes)


def _content(file: Any, size: int) -> str:
    data = file.read() if file else b""
    assert len(data) == size
    if size <= SHOWN:
        return repr(data)
    return f"{size} bytes, sha256 {hashlib.sha256(data).hexdigest()}"


def _path(name: str) -> str:
    return posixpath.normpath("/" + name)


def _apply(tree: dict[str, Node], members: list[tuple[str, Node | str]]) -> None:
    """One layer over what is there; whiteouts are for what lower layers have."""
    for path, _ in members:
        directory, name = posixpath.split(path)
        if name == ".wh..wh..opq":
            _remove(tree, directory, itself=False)
        elif name.startswith(".wh."):
            _remove(tree, posixpath.join(directory, name[4:]))
    for path, node in members:
        if posixpath.basename(path).startswith(".wh."):
            continue
        if isinstance(node, str):
            node = tree[node]
        if node.kind != "dir":
            _remove(tree, path)
        tree[path] = node


def _remove(tree: dict[str, Node], path: str, itself: bool = True) -> None:
    prefix = path.rstrip("/") + "/"
    for each in [each for each in tree if each.startswith(prefix) and each != "/"]:
        del tree[each]
    if itself:
        tree.pop(path, None)
