"""What the layer tests share: tars from the standard library's writer, stores of their own, trees as data."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from typing import Any

from estiva.paths import Paths
from estiva.store import Store
from estiva.store.layers.layers import Layers

DIR, LINK, HARD, CHR, BLK, FIFO = (
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)
CAP = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def member(
    name: str, type: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = type
    info.mode = 0o755 if type == DIR else 0o644
    info.mtime = 1_000_000_000
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, {"link": "linkname", "pax": "pax_headers"}.get(key, key), value)
    return info, data


def tar_of(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def xattr(name: str, value: bytes) -> dict[str, str]:
    return {"SCHILY.xattr." + name: value.decode("utf-8", "surrogateescape")}


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def store_at(directory: str | os.PathLike[str], driver: str) -> Iterator[Store]:
    """A store of its own, with that driver for new layers; nothing stays mounted."""
    root = os.fspath(directory)
    store = Store(Paths(root + "/state", root + "/run"))
    store._layers = Layers(store.paths, store.db, store.content, driver=driver)
    try:
        yield store
    finally:
        store.layers.unmount_all()
        left = [line for line in open("/proc/self/mountinfo") if root in line]
        store.db.close()
        assert not left


def add(store: Store, data: bytes) -> str:
    """Apply a tar; its diffID."""
    fd = os.memfd_create("tar")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, 0)
        return store.layers.apply_tar(fd).diff_id
    finally:
        os.close(fd)


def pull(store: Store, data: bytes, *, blob: bytes | None = None, step: int = 10_000) -> str:
    """Take a tar in as a registry's gzip layer; its diffID."""
    blob = gzip.compress(data, mtime=0) if blob is None else blob
    with store.layers.ingest(
        digest(blob), len(blob), "application/vnd.oci.image.layer.v1.tar+gzip", digest(data)
    ) as i:
        for at in range(i.offset, len(blob), step):
            i.feed(blob[at : at + step])
        i.commit()
    return digest(data)


def tree(root: str | int, *, names: bool = True) -> dict[str, tuple[Any, ...]]:
    """path -> (type and mode, owner, size or link or device, content, mtime, attributes, number of names)."""
    found: dict[str, tuple[Any, ...]] = {}
    base = root if isinstance(root, str) else f"/proc/self/fd/{root}/."
    inodes: dict[int, list[str]] = {}
    for directory, directories, files in os.walk(base):
        for name in [".", *directories, *files] if directory == base else [*directories, *files]:
            path = os.path.normpath(os.path.join(directory, name)) if name != "." else base
            at = os.lstat(path)
            content: Any = None
            if stat.S_ISREG(at.st_mode):
                with open(path, "rb") as file:
                    content = at.st_size, hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(at.st_mode):
                content = os.readlink(path)
            elif not stat.S_ISDIR(at.st_mode):
                content = at.st_rdev
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.overlay.") or key == "trusted.overlay.opaque"
            }
            short = os.path.relpath(path, base) if name != "." else "."
            if not stat.S_ISDIR(at.st_mode):
                inodes.setdefault(at.st_ino, []).append(short)
            found[short] = (
                oct(at.st_mode),
                at.st_uid,
                at.st_gid,
                content,
                at.st_mtime_ns // 10**9,
                attributes,
            )
    if names:
        for group in inodes.values():
            if len(group) > 1:
                for short in group:
                    found[short] += (tuple(sorted(group)),)
    return found


def layer_tree(store: Store, diff_id: str) -> dict[str, tuple[Any, ...]]:
    """What a single layer's directory shows."""
    with store.layers.mount([diff_id]) as lowers:
        return tree(lowers[0])


@contextlib.contextmanager
def viewed(store: Store, *diff_ids: str) -> Iterator[str]:
    """The path of a merged view of a chain, base first."""
    fd = store.snapshots.view(list(diff_ids))
    try:
        yield f"/proc/self/fd/{fd}/."
    finally:
        os.close(fd)
