"""An empty volume filled from what the image has at its place, by fd (K1): see trees.py.

One container at a time fills a volume, and who comes meanwhile waits for it: it holds the lock of the
volume's folder. The files come into a folder beside it first, which is `filling` until all are there and
`filled` then; who is killed leaves one of these, to be begun anew or moved into `_data`, where what is there
already stays.
"""

from __future__ import annotations

import errno
import fcntl
import os

from estiva.engine.mounts.terms import ALL, FOLDER, dress
from estiva.engine.mounts.trees import Copy
from estiva.files import flock, remove_tree
from estiva.linux import fs


def wanting(target: str) -> bool:
    """Whether the volume at `target` (its _data) is empty, or is being filled."""
    return not os.listdir(target) or os.path.lexists(f"{os.path.dirname(target)}/filled")


def copy_up(rootfs: int, path: str, target: str, mounted: int = -1) -> None:
    """Copy the directory `path` of `rootfs` into the volume at `target`, owner, mode and times too; `mounted`
    is what is mounted as that volume, if something is.

    Does nothing if the image has no directory there or the volume isn't empty (Docker's rule).
    """
    try:
        source = fs.open_in_root(rootfs, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return
        raise
    lock = -1
    try:
        lock = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        flock(lock, fcntl.LOCK_EX, os.path.dirname(target))
        if mounted >= 0:
            _fill_mounted(source, mounted)
        else:
            _fill(source, os.path.dirname(target), target)
    finally:
        os.close(source)
        if lock >= 0:
            os.close(lock)


def _fill_mounted(source: int, mounted: int) -> None:
    target = os.open(".", FOLDER, dir_fd=mounted)
    try:
        if not os.listdir(target):
            Copy().tree(source, target)
    finally:
        os.close(target)


def _fill(source: int, folder: str, target: str) -> None:
    filling, filled = folder + "/filling", folder + "/filled"
    if not os.path.lexists(filled):
        remove_tree(filling)
        if os.listdir(target):
            return
        os.mkdir(filling, 0o700)
        inside = os.open(filling, FOLDER)
        try:
            Copy().tree(source, inside)
        finally:
            os.close(inside)
        os.rename(filling, filled)
    inside = os.open(filled, FOLDER)
    outside = os.open(target, FOLDER)
    try:
        for name in os.listdir(inside):
            try:
                fs.renameat2(inside, name, outside, name, fs.RENAME_NOREPLACE)
            except FileExistsError:
                pass
        dress(outside, os.fstat(inside), inside, ALL)
    finally:
        os.close(outside)
        os.close(inside)
    remove_tree(filled)
