"""Mount points that a RUN's container makes in the rootfs and that must not end up in the layer.

A mount needs a file or directory to go on; the runtime makes what is missing. After the command these are
removed again if they are still empty, as are those of /proc, /sys, /dev and the generated files in /etc.
"""

from __future__ import annotations

import os
import stat

from estiva.builder.files.tree import Tree
from estiva.errors import InvalidInput

STANDARD = (
    "/proc",
    "/sys",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/run/.containerenv",
)


class Stubs:
    """Looks `before` the command which mount points are missing, and removes them `after` it."""

    def __init__(self, targets: list[str]) -> None:
        self.targets = [*STANDARD, *targets]
        self.missing: list[str] = []

    def before(self, rootfd: int) -> None:
        tree = Tree(rootfd, owners=True)
        found: set[str] = set()
        for target in self.targets:
            try:
                path = tree.resolve(target, missing=True)
            except InvalidInput:
                continue
            parts = path.split("/")
            for count in range(1, len(parts) + 1):
                prefix = "/".join(parts[:count])
                if not _exists(tree, prefix):
                    found.add(prefix)
        self.missing = sorted(found, key=lambda path: path.count("/"), reverse=True)

    def after(self, rootfd: int) -> None:
        tree = Tree(rootfd, owners=True)
        for path in self.missing:
            try:
                info = tree.stat(path)
                parent, name = tree.parent(path)
            except OSError:
                continue
            try:
                if stat.S_ISDIR(info.st_mode):
                    os.rmdir(name, dir_fd=parent)
                elif stat.S_ISREG(info.st_mode) and info.st_size == 0:
                    os.unlink(name, dir_fd=parent)
            except OSError:  # the command put something there
                pass
            finally:
                os.close(parent)


def _exists(tree: Tree, path: str) -> bool:
    try:
        tree.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
