"""A container's folder and its new volumes: before their rows, and again after a power cut.

What a power cut takes and what it leaves depends on what was synced. To sync a folder costs 2 to 10 ms, up to
a third of a start. So only `create` does it, whose container waits; for one that starts at once the row may
stay without a folder. Whatever was fsynced inside of it would have kept it (one journal for all), so nothing
is lost that anybody was promised when it is made again, as it was at first.
"""

from __future__ import annotations

import os

from estiva import files
from estiva.engine.state import locks, teardown
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import MountPoint, Record
    from estiva.store.images import Image


def make(engine: Engine, container_id: str, image: Image, *, durable: bool) -> None:
    """The folder with the read-write layer; `durable`: before anything else is on the disk."""
    directory = engine.paths.container(container_id)
    os.mkdir(directory, 0o700)
    snapshot = engine.store.snapshots.prepare(image.chain, directory)
    if durable:
        for path in (snapshot.upper, directory, engine.paths.containers):
            files.sync_directory(path)


def fill(engine: Engine, points: list[MountPoint], image: Image) -> None:
    """Copy what the image has at the places of volumes into those that are empty, as Docker does."""
    if not points:
        return
    from estiva.engine.mounts import volume_copy

    wanting = [point for point in points if "Detached" in point or volume_copy.wanting(point["Source"])]
    if not wanting:
        return
    rootfs = engine.store.snapshots.view(image.chain)
    try:
        for point in wanting:
            if "Detached" in point:
                from estiva.engine.mounts import volume_mount

                fd = volume_mount.volume(engine, point["Name"])
                try:
                    volume_copy.copy_up(rootfs, point["Destination"], point["Source"], fd)
                finally:
                    os.close(fd)
            else:
                volume_copy.copy_up(rootfs, point["Destination"], point["Source"])
    finally:
        os.close(rootfs)


def _unfinished(directory: str) -> bool:
    """Whether a snapshot of it was cut short: taken.py."""
    try:
        return any(name.startswith("next-") for name in os.listdir(directory))
    except FileNotFoundError:
        return False


def mend(engine: Engine, record: Record, image: Image) -> bool:
    """Make what a power cut took and left the row of: the folder, volumes. Whether something was missing.

    The caller holds the container's lock.
    """
    directory = engine.paths.container(record["Id"])
    if _unfinished(directory):
        from estiva.engine.containers.snapshots import taken

        for _ in taken.recover(engine, record["Id"]):
            pass
    missing = not os.path.isdir(directory + "/work")
    if missing:
        files.make_directory(directory, exist_ok=True)
        engine.store.snapshots.prepare(image.chain, directory)
    elif record["HostConfig"].get("AutoRemove"):
        engine.store.snapshots.prepare(image.chain, directory).settle()  # of an earlier run
    volumes = [p for p in record["Mounts"] if p["Type"] == "volume" and not os.path.isdir(p["Source"])]
    for point in volumes:
        engine.store.volumes.create(point["Name"])
    fill(engine, volumes, image)
    return missing or bool(volumes)


def mend_stopped(engine: Engine, record: Record, image: Image) -> bool:
    """As `mend`, of a container that does not run: its lock is taken for that, if it is free."""
    container_id = record["Id"]
    directory = engine.paths.container(container_id)
    if os.path.isdir(directory + "/work") and not _unfinished(directory):
        return False
    try:
        lock = locks.take(engine.paths, container_id)
    except BlockingIOError:
        return False  # it is being started or removed
    try:
        return bool(containers.status(engine.db, container_id)) and mend(engine, record, image)
    finally:
        locks.let_go(engine.paths, container_id, lock)


def finish_removal(engine: Engine, container_id: str, gone: str) -> bool:
    """Go on where the disk was too full to take the rows of a container away, whose files are gone; not of
    one that has been started again with others. Whether it was there."""
    try:
        lock = locks.take(engine.paths, container_id)
    except BlockingIOError:
        return False
    try:
        there = bool(containers.status(engine.db, container_id)) and not os.path.isdir(
            engine.paths.container(container_id)
        )
        if there:
            teardown.forget_left(engine.paths, engine.db, container_id)
        files.remove_tree(gone)
        locks.leave(engine.paths, container_id)
        return there
    finally:
        os.close(lock)
