"""A volume of the driver local that has options: what they say, as a detached mount."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from estiva.engine.spec.storage import volume_options
from estiva.engine.state import record as records
from estiva.engine.state import runstate
from estiva.errors import EngineError, EstivaError, InvalidInput, NotFound, Unsupported, reason
from estiva.linux import fs
from estiva.linux import mount as mnt
from estiva.linux.libc import AT_RECURSIVE
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine

FLAGS = volume_options.ATTRIBUTES
PATIENCE = 30.0  # seconds that one waits for the start of another container with the same volume
LOOK_AGAIN = 0.01


def volume(engine: Engine, name: str) -> int:
    """A detached mount of what a volume's options say. Raises errors that name it."""
    options = engine.store.volumes.get(name).options
    words = volume_options.words(options)
    device = options["device"]
    if volume_options.bound(options):
        return _bound(name, device, words)
    kind = options["type"]
    if kind == "tmpfs" and (shared := _shared(engine, name)) >= 0:
        return shared
    try:
        return _filesystem(kind, device, words)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise Unsupported(f"volume {name}: this machine's kernel has no filesystem {kind}") from None
        text = f"failed to mount {kind} {device}" + (f" with {','.join(words)}" if words else "")
        raise EngineError(f"volume {name}: {text}: {reason(error)}") from None


def turn(engine: Engine, name: str) -> int:
    """The lock of a volume that is a tmpfs, an fd; -1 for others. Who has it may mount the volume, and keeps
    it until the run state leads others to that mount (`_shared`). Raises EngineError, NotFound.
    """
    options = engine.store.volumes.get(name).options
    if options.get("type") != "tmpfs" or volume_options.bound(options):
        return -1
    folder = os.path.dirname(engine.store.volumes.path(name))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise EngineError(
                    f"volume {name} is being mounted by the start of another container, which does not go on",
                    hint="`estiva system check` may tell which process is stopped",
                ) from None
            time.sleep(LOOK_AGAIN)


def _shared(engine: Engine, name: str) -> int:
    """The tmpfs that a container has for this volume which runs now, so that both see the same; else -1.

    Each mount of a tmpfs is a new one, where those of a disk or a server are one.
    """
    for container_id in containers.users_of(engine.db, name):
        live = runstate.read(engine.paths, container_id)
        row = containers.get(engine.db, container_id)
        pidfd = runstate.opened(live["pid"], live["start_time"]) if live and row else -1
        if pidfd < 0 or row is None:
            continue
        try:
            for point in records.sound(container_id, row[2])["Mounts"]:
                if point.get("Name") == name and not point.get("Subpath"):
                    return _taken(pidfd, point["Destination"])
        except (OSError, EstivaError):
            continue  # it has ended just now, or has something else there
        finally:
            os.close(pidfd)
    return -1


def _taken(pidfd: int, place: str) -> int:
    """A detached copy of the tmpfs at `place` in a process's mount namespace, by a thread that goes there.

    Raises OSError, EngineError when it is no tmpfs.
    """
    import threading

    from estiva.linux import namespace

    result: list[int] = []

    def body() -> None:
        try:
            namespace.unshare(namespace.CLONE_FS)
            namespace.setns(pidfd, namespace.CLONE_NEWNS, "mount namespace")
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                where = fs.open_in_root(root, place, os.O_PATH | os.O_DIRECTORY, follow=False)
            finally:
                os.close(root)
            try:
                if fs.fstatfs(where) == fs.TMPFS_MAGIC:
                    result.append(mnt.clone_tree("", dirfd=where))
                    mnt.mount_setattr(result[0], "", 0, mnt.MOUNT_ATTR_RDONLY, mnt.MS_PRIVATE)
            finally:
                os.close(where)
        except OSError:
            while result:
                os.close(result.pop())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if not result:
        raise EngineError(f"no tmpfs is at {place}")
    return result[0]


def _bound(name: str, device: str, words: list[str]) -> int:
    try:
        fd = mnt.clone_tree(device, recursive="rbind" in words)
    except OSError as error:
        raise NotFound(f"volume {name}: its device {device}: {reason(error)}") from None
    try:
        mnt.mount_setattr(fd, "", propagation=mnt.MS_PRIVATE, flags=AT_RECURSIVE)
        attributes, clear, rest = _attributes([word for word in words if word not in volume_options.BINDS])
        rest = [word for word in rest if word not in PROPAGATIONS]
        if rest:
            raise InvalidInput(f"volume {name}: {','.join(rest)} can't be said of a bind")
        if attributes | clear:
            mnt.mount_setattr(fd, "", attributes, clear)
    except BaseException:
        os.close(fd)
        raise
    return fd


PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def _attributes(words: list[str]) -> tuple[int, int, list[str]]:
    """MOUNT_ATTR_* to set and to clear, and the words that are the filesystem's own."""
    attributes = clear = 0
    rest = []
    for word in words:
        if word in FLAGS:
            bit, clears = FLAGS[word]
            attributes, clear = (
                (attributes & ~bit, clear | bit) if clears else (attributes | bit, clear & ~bit)
            )
        else:
            rest.append(word)
    return attributes, clear, rest


def _filesystem(kind: str, device: str, words: list[str]) -> int:
    attributes, _, rest = _attributes(words)
    pairs = [("source", device)] + ([("ro", "")] if attributes & mnt.MOUNT_ATTR_RDONLY else [])
    pairs += [(key, value) for key, _, value in (word.partition("=") for word in rest)]
    return mnt.new_filesystem(kind, pairs, attributes)
