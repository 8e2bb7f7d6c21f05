"""fds 0 to 2 that are the null device: never the host's own file. Through its fd, by fchmod(2) or
/proc/self/fd/0, root of a container could give that another mode or owner; the owner's id is enough.
"""

from __future__ import annotations

import os
import stat

from estiva.linux import mount as mnt

DEVICE = os.makedev(1, 3)


def guard() -> None:
    """On the host: open them anew by a copy of the mount that is read-only, and attached nowhere. An ordinary
    user can make none, and needs none: the device is not his."""
    fds = [fd for fd in (0, 1, 2) if is_null(fd)]
    if not fds:
        return
    try:
        copy = mnt.clone_tree("/dev/null")
    except OSError:
        return
    try:
        mnt.mount_setattr(copy, "", mnt.MOUNT_ATTR_RDONLY)
        _put(f"/proc/self/fd/{copy}", fds)
    finally:
        os.close(copy)


def own() -> None:
    """In the container's root: they become its own /dev/null, if it has one, so that they are called so."""
    fds = [fd for fd in (0, 1, 2) if is_null(fd)]
    if fds:
        try:
            _put("/dev/null", fds, os.O_NOFOLLOW)
        except OSError:
            pass


def _put(path: str, fds: list[int], flags: int = 0) -> None:
    new = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        if is_null(new):
            os.set_blocking(new, True)
            for fd in fds:
                os.dup2(new, fd)
    finally:
        os.close(new)


def is_null(fd: int) -> bool:
    """Whether it is open, and the null device."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == DEVICE
