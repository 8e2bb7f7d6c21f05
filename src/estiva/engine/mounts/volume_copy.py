"""A new volume filled from what the image has at its place, by fd (K1): see trees.py."""

from __future__ import annotations

import errno
import os

from estiva.engine.mounts import trees
from estiva.linux import fs


def copy_up(rootfs: int, path: str, target: str) -> None:
    """Copy the directory `path` of `rootfs` into the empty host directory `target`, owner, mode and times
    too.

    Does nothing if the image has no directory there or `target` isn't empty (Docker's rule).
    """
    if os.listdir(target):
        return
    try:
        source = fs.open_in_root(rootfs, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return
        raise
    destination = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        trees.Copy().tree(source, destination)
    finally:
        os.close(source)
        os.close(destination)
