"""The socket of a server that was started again, in the containers that have mounted it.

A bind mount of a socket's file is of that very file: the next server makes another one of the same name, and
what the containers have leads nowhere. What each has asked for is the server at this path, so it gets the new
socket in the place of the one that was deleted, by a thread in its mount namespace.

    parent    the destination's folder, opened in the container's root; what the container may do to the path
              from then on changes nothing
    old       a socket without any name left (st_nlink 0): the one that the mount was made of. As it is a
              mount point, the container can neither rename nor remove it (EBUSY)
    new       a detached mount of what is at the server's path, made before the thread goes there
"""

from __future__ import annotations

import os
import stat
import threading

from estiva.engine.state import record as records
from estiva.engine.state import runstate
from estiva.errors import EstivaError
from estiva.linux import fs, namespace
from estiva.linux import mount as mnt
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import MountPoint, Record


def socket(engine: Engine, path: str) -> list[str]:
    """Give the containers that run and have mounted the socket at `path` the one that is there now; their
    ids. One that has a user namespace of its own keeps what it has."""
    result: list[str] = []
    path = os.path.realpath(path)
    if not os.path.exists(engine.paths.database):
        return result
    for container_id, status, text in containers.every(engine.db):
        if status != "running" or '"bind"' not in text:
            continue
        try:
            record = records.sound(container_id, text)
        except EstivaError:
            continue
        points = [point for point in record["Mounts"] if _is_of(point, path)]
        if points and not _mapped(record) and _into(engine, container_id, points, path):
            result.append(container_id)
    return result


def _is_of(point: MountPoint, path: str) -> bool:
    """Whether it is a mount of what is at `path`, perhaps by a symlink that leads there."""
    source = point.get("Source") or ""
    return point["Type"] == "bind" and not point.get("IDMap") and os.path.realpath(source) == path


def _mapped(record: Record) -> bool:
    host = record["HostConfig"]
    return bool(host.get("IDMappings")) or str(host.get("UsernsMode") or "") not in ("", "host")


def _into(engine: Engine, container_id: str, points: list[MountPoint], path: str) -> bool:
    """Whether any of these mounts of a container was renewed."""
    live = runstate.read(engine.paths, container_id)
    pidfd = runstate.opened(live["pid"], live["start_time"]) if live else -1
    if pidfd < 0:
        return False
    renewed: list[str] = []
    made: list[int] = []

    def body() -> None:
        try:
            for point in points:
                made.append(mnt.clone_tree(path))
                attributes = 0 if point.get("RW", True) else mnt.MOUNT_ATTR_RDONLY
                mnt.mount_setattr(made[-1], "", attributes, propagation=mnt.MS_PRIVATE)
            namespace.unshare(namespace.CLONE_FS)
            namespace.setns(pidfd, namespace.CLONE_NEWNS, "mount namespace")
            for point, new in zip(points, made, strict=True):
                if _exchange(point["Destination"], new):
                    renewed.append(point["Destination"])
        except OSError:
            pass  # it has ended just now, or has made something else of the place

    try:
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    finally:
        for fd in (pidfd, *made):
            os.close(fd)
    return bool(renewed)


def _exchange(destination: str, new: int) -> bool:
    """In the container's mount namespace: the mount `new` in the place of one of a deleted socket."""
    folder, name = os.path.split(destination.rstrip("/"))
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        parent = fs.open_in_root(root, folder, os.O_PATH | os.O_DIRECTORY)
    finally:
        os.close(root)
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISSOCK(there.st_mode) or there.st_nlink:
            return False
        os.fchdir(parent)
        mnt.umount2(name, mnt.MNT_DETACH | mnt.UMOUNT_NOFOLLOW)
        mnt.move_mount(new, "", parent, name)
        return True
    finally:
        os.close(parent)
