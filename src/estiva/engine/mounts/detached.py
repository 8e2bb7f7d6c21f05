"""Mounts that are made by who starts a container, as detached mounts whose fds go to its init: images,
overlays that are thrown away (the volume option O), and volumes of the driver local that have options.

No mount is ever attached on the host (open_tree(2), fsmount(2)), so none is left behind, whoever is killed.
"""

from __future__ import annotations

import os

from estiva.engine.mounts import volume_mount
from estiva.engine.spec.storage import volume_options
from estiva.errors import EngineError, InvalidInput, NotFound, Unsupported, reason
from estiva.files import remove_tree
from estiva.linux import fs
from estiva.linux import mount as mnt
from estiva.linux.libc import AT_RECURSIVE
from estiva.store import snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine import Engine
    from estiva.engine.state.types import MountPoint, Record

FLAGS = volume_options.ATTRIBUTES


def mounted(engine: Engine, record: Record) -> dict[str, int]:
    """By destination, fds of detached mounts, the caller's to close. Raises what names the mount's source.

    Beside them, by what is no destination, locks of volumes: whoever has the fds keeps others from mounting
    these volumes, until it has closed them.
    """
    result: dict[str, int] = {}
    volumes = {
        point["Name"]
        for point in record["Mounts"]
        if point.get("Detached") and point["Type"] == "volume" and "Overlay" not in point
    }
    try:
        for name in sorted(volumes):  # in one order, so that none waits for another
            if (lock := volume_mount.turn(engine, name)) >= 0:
                result[f"the lock of volume {name}"] = lock
        for point in record["Mounts"]:
            if point.get("Detached"):
                result[point["Destination"]] = one(engine, record, point)
    except BaseException:
        close(result)
        raise
    return result


def close(fds: dict[str, int]) -> None:
    while fds:
        os.close(fds.popitem()[1])


def one(engine: Engine, record: Record, point: MountPoint) -> int:
    """The detached mount of a mount point."""
    if record["HostConfig"].get("IDMappings") or str(record["HostConfig"].get("UsernsMode") or "") not in (
        "",
        "host",
    ):
        raise Unsupported(
            f"the {what(point)} at {point['Destination']} is not supported in a user namespace of its own"
        )
    try:
        if "Overlay" in point:
            fd = _overlay(engine, record, point)
        elif point["Type"] == "image":
            fd = _image(engine, record, point)
        else:
            fd = volume_mount.volume(engine, point["Name"])
        return _finish(fd, point)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise EngineError(
            f"the {what(point)} can't be mounted at {point['Destination']}: {reason(error)}{where}"
        ) from None


def what(point: MountPoint) -> str:
    """A mount for a message."""
    if "Overlay" in point:
        return f"overlay of {point['Source']}"
    return f"{point['Type']} {point.get('Name') or point['Source']}"


def _finish(fd: int, point: MountPoint) -> int:
    """Its subpath, and what may not be done in it."""
    if point.get("Subpath"):
        whole = fd
        try:
            fd = subtree(whole, point["Subpath"])
        except OSError as error:
            raise InvalidInput(f"no {point['Subpath']} is in the {what(point)}: {reason(error)}") from None
        finally:
            os.close(whole)
    try:
        attributes = 0 if point["RW"] else mnt.MOUNT_ATTR_RDONLY
        clear = 0
        for flag in point.get("Flags") or ():
            bit, clears = FLAGS[flag]
            attributes, clear = (attributes, clear | bit) if clears else (attributes | bit, clear)
        if attributes | clear:
            mnt.mount_setattr(fd, "", attributes, clear, flags=AT_RECURSIVE)
    except BaseException:
        os.close(fd)
        raise
    return fd


# --- images and overlays ---


def _image(engine: Engine, record: Record, point: MountPoint) -> int:
    image = engine.store.images.find(point["ImageId"])
    if image is None:
        raise NotFound(
            f"the image {point['Source']}, mounted at {point['Destination']}, is not here any more",
            hint="make the container anew with an image that is",
        )
    if not point.get("ReadWrite"):
        return engine.store.snapshots.view(image.diff_ids)
    with engine.store.layers.mount(image.diff_ids) as lowers:
        upper, work = _scratch(engine, record, point, lowers[0])
        return snapshots.overlay(lowers, upper, work)


def _overlay(engine: Engine, record: Record, point: MountPoint) -> int:
    source = point["Source"]
    if not os.path.isdir(source):
        raise InvalidInput(f"the source {source} of the volume option O is no folder that is there")
    own = point["Overlay"]
    if own:
        for key in ("upperdir", "workdir"):
            if not os.path.isdir(own[key]):
                raise InvalidInput(
                    f"the {key} {own[key]} of the overlay of {source} is no folder that is there"
                )
        return snapshots.overlay([source], own["upperdir"], own["workdir"])
    return snapshots.overlay([source], *_scratch(engine, record, point, source))


def _scratch(engine: Engine, record: Record, point: MountPoint, lower: str) -> tuple[str, str]:
    """Empty upper and work directories in the container's folder: what was in them is thrown away now."""
    number = [one["Destination"] for one in record["Mounts"]].index(point["Destination"])
    folder = f"{engine.paths.container(record['Id'])}/overlay{number}"
    remove_tree(folder)
    os.mkdir(folder, 0o700)
    snapshots.make_upper(folder + "/upper", lower)
    os.mkdir(folder + "/work", 0o700)
    return folder + "/upper", folder + "/work"


# --- in a mount namespace that nobody sees ---


def subtree(whole: int, path: str) -> int:
    """A detached mount of the folder or file `path` inside the detached mount `whole`. Raises OSError.

    Before Linux 6.15 nothing can be cloned out of a detached mount, so it is attached for that, in a mount
    namespace that a thread of ours makes and takes with it (unshare(2)).
    """
    result: list[int] = []

    def work() -> None:
        inner = fs.open_in_root(whole, path, os.O_PATH)
        try:
            result.append(mnt.clone_tree("", dirfd=inner))
        finally:
            os.close(inner)

    os.close(aside(whole, work))
    return result[0]


def aside(root: int, work: Callable[[], None]) -> int:
    """Do `work` in a thread that has a new mount namespace, in which the detached mount `root` is attached;
    an fd of that namespace: mounts made in it stay as long as that is open.

    No other thread of this process, nor the host, sees a mount. Raises what `work` raises.
    """
    import threading

    from estiva.linux import namespace
    from estiva.linux.libc import AT_FDCWD

    result: list[int] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            namespace.unshare(namespace.CLONE_NEWNS)
            mnt.mount(None, "/", None, mnt.MS_REC | mnt.MS_PRIVATE)
            mnt.move_mount(root, "", AT_FDCWD, "/")
            work()
            result.append(os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return result[0]
