"""The erofs driver: a layer is its uncompressed tar, untouched, and a small EROFS image that points into it.

Nothing is extracted: 10,000 files cost one file of 1 MB. Mounting is in store/layers/mounts.py; here the
image is made, and the kernel is asked, once per store, whether it can mount one (Linux 6.12 and later).
"""

from __future__ import annotations

import os

from estiva import files
from estiva.store.layers.drivers.erofs_image import encode
from estiva.store.layers.mounts import open_erofs
from estiva.store.layers.tree import Tree
from estiva.store.tar.scanner import Scanner
from estiva.store.tar.writer import END, Member, header

NAME = "erofs"
INDEX = "index.erofs"


def build(tree: Tree, tar_fd: int, tar_size: int, directory: str) -> None:
    """Write and sync the layer's image below `directory`. Raises Unsupported for what erofs can't hold."""
    image = encode(tree, tar_size)
    fd = os.open(f"{directory}/{INDEX}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        files.write_all(fd, memoryview(image))
        os.fsync(fd)
    finally:
        os.close(fd)


def probe(directory: str) -> str:
    """How this kernel mounts a layer: "erofs+directio", "erofs", or "" if not at all.

    `directory` is an empty one of the caller's, on the filesystem that layers will use. The mount has no
    place in the tree of directories, so that nothing of it can be left.
    """
    content = os.urandom(1300)  # starts 512 bytes into the tar: unaligned for a disk of 4096-byte sectors
    data = header(Member(b"probe", b"0", size=len(content))) + content
    data += b"\0" * (-len(data) % 512) + END
    tree = Tree()
    scanner = Scanner(tree.add)
    scanner.feed(data)
    tar = f"{directory}/probe.tar"
    files.atomic_write(tar, data, sync=False)
    files.atomic_write(f"{directory}/{INDEX}", bytes(encode(tree.finish(), len(data))), sync=False)
    for directio in (True, False):
        try:
            mounted = open_erofs(f"{directory}/{INDEX}", tar, directio=directio)
        except OSError:
            continue
        try:
            with open(os.open("probe", os.O_RDONLY | os.O_CLOEXEC, dir_fd=mounted), "rb") as file:
                if file.read() == content:
                    return "erofs+directio" if directio else "erofs"
        except OSError:
            continue
        finally:
            os.close(mounted)
    return ""
