"""What a container sees of its files, by an fd of its root: of one that runs through its init's
/proc/PID/root, of one that does not in a mount namespace of a thread, which goes with its last fd.
"""

from __future__ import annotations

import os

from estiva.engine.state import eventlog, locks, lookup, runstate
from estiva.errors import Conflict, EngineError, InvalidInput, reason
from estiva.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from estiva.engine import Engine
    from estiva.engine.state.gate import Reading
    from estiva.engine.state.types import MountPoint, Record

NOBODY = 65534  # user_namespaces(7): whom an id that a namespace lacks belongs to
MAP_LIMIT = 340  # lines of a map, by the kernel


class View:
    """A block with a container's files.

    root: an O_PATH fd; owner: the host's ids of the container's root, None where they are 0; inside, outside:
    ids of its files as it has them, and as the host has them.
    """

    def __init__(self, engine: Engine, ref: str) -> None:
        self.engine = engine
        self.ref = ref
        self.root = -1
        self.owner: tuple[int, int] | None = None
        self._maps: list[list[tuple[int, int, int]]] = []
        self._held: list[int] = []
        self._lock = -1
        self._reading: Reading | None = None
        self.id = ""
        self.name = ref
        self.about: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            while self.root < 0:
                record = lookup.resolve(self.engine, self.ref)
                self.id, self.name = record["Id"], record["Name"].removeprefix("/")
                self.about = eventlog.about(record)
                if record["State"]["Restarting"]:
                    self._waiting(record)
                elif record["State"]["Running"]:
                    self._running()
                else:
                    self._stopped(record)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for fd in self._held:
            os.close(fd)
        self._held = []
        lock, self._lock = self._lock, -1
        if lock >= 0:
            locks.let_go(self.engine.paths, self.id, lock)
        if self._reading is not None:
            self._reading.__exit__()
            self._reading = None

    def _running(self) -> None:
        """/proc/PID/root counts if the process that the run state tells of lives after it was opened."""
        live = lookup.running_state(self.engine, self.id)
        pidfd = runstate.opened(live["pid"], live["start_time"])
        if pidfd < 0:
            raise Conflict(f"container {self.name} has ended just now")
        try:
            try:
                root = os.open(f"/proc/{live['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                self._held.append(root)
                if live.get("root"):
                    self.owner = (live["root"][0], live["root"][1])
                    self._maps = [_read_map(f"/proc/{live['pid']}/{kind}_map") for kind in ("uid", "gid")]
            except (FileNotFoundError, ProcessLookupError):
                raise Conflict(f"container {self.name} has ended just now") from None
            if not state.alive(live["pid"], live["start_time"]):
                raise Conflict(f"container {self.name} has ended just now")
        finally:
            os.close(pidfd)
        self.root = root

    def _stopped(self, record: Record) -> None:
        """Nobody starts or removes it meanwhile: we hold its lock."""
        import time

        from estiva.engine.state.life import halted
        from estiva.store import containers

        try:
            self._lock = locks.take(self.engine.paths, self.id)
        except BlockingIOError:
            halted.refuse(self.engine.paths, self.id, self.name)
            time.sleep(lookup.LOOK_AGAIN)  # it is being started, removed, or looked into by another
            return
        if containers.status(self.engine.db, self.id) in ("", "running"):
            lock, self._lock = self._lock, -1
            locks.let_go(self.engine.paths, self.id, lock)
            return  # it was, between our look and our lock
        self._mounted(record)

    def _waiting(self, record: Record) -> None:
        """Of one that waits for its next run, which does not begin meanwhile."""
        import time

        from estiva.engine.state import gate
        from estiva.store import containers

        try:
            reading = self._reading = gate.Reading(self.engine.paths.container(self.id)).__enter__()
        except FileNotFoundError:
            time.sleep(lookup.LOOK_AGAIN)  # it is being removed
            return
        if containers.waits(self.engine.db, self.id):
            self._mounted(record)
        else:
            self._reading = None
            reading.__exit__()
            time.sleep(lookup.LOOK_AGAIN)  # that run has begun, and is not there yet

    def _mounted(self, record: Record) -> None:
        """All that it would see, in a mount namespace of ours; over what its runs have below the image too,
        so that mount points are not made in its read-write layer."""
        from estiva.engine.containers import folder
        from estiva.engine.mounts import detached, initlayer
        from estiva.engine.state import based

        image = based.image_of(self.engine, record)
        folder.mend(self.engine, record, image)
        snapshot = self.engine.store.snapshots.prepare(image.chain, self.engine.paths.container(self.id))
        root = snapshot.mount(beneath=[initlayer.provide(self.engine.paths)])
        self._held.append(root)
        readonly = bool(record["HostConfig"].get("ReadonlyRootfs"))
        made = detached.mounted(self.engine, record)
        try:
            self._held.append(_assemble(root, self._mounts(record), made, readonly))
        finally:
            detached.close(made)
        self.root = root

    def _mounts(self, record: Record) -> list[dict[str, object]]:
        """OCI mounts of its volumes and bind mounts, whose sources are there, and of its own files."""
        from estiva.engine.mounts import points
        from estiva.engine.spec import oci_config

        def there(point: MountPoint) -> bool:
            if point.get("Detached"):
                return True
            return point["Type"] in ("bind", "volume") and os.path.lexists(point["Source"])

        mounted = points.oci([point for point in record["Mounts"] if there(point)])
        taken = {mount["destination"] for mount in mounted}
        directory = self.engine.paths.container(self.id)
        for name in ("resolv.conf", "hostname", "hosts"):
            source, place = f"{directory}/{name}", f"/etc/{name}"
            if place not in taken and os.path.exists(source):
                mounted.append({"destination": place, "type": "bind", "source": source, "options": ["bind"]})
        return oci_config.order([], mounted)

    def tell(self, action: str) -> None:
        """Note in the event log what was done: archive-path (read) or extract-to-dir (written)."""
        eventlog.write(self.engine.paths, "container", action, self.id, self.about)

    # --- whose files are ---

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """The container's ids of the host's."""
        return self._through(uid, gid, 1, 0)

    def outside(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's ids of the container's. Raises InvalidInput for those that it lacks."""
        found = self._through(uid, gid, 0, 1)
        if self._maps and NOBODY in found and NOBODY not in (uid, gid):
            raise InvalidInput(
                f"the user namespace of {self.name} has no id {uid}:{gid}", hint="leave out -a (--archive)"
            )
        return found

    def _through(self, uid: int, gid: int, given: int, wanted: int) -> tuple[int, int]:
        if not self._maps:
            return uid, gid
        result = []
        for number, extents in zip((uid, gid), self._maps, strict=True):
            fits = [one for one in extents if one[given] <= number < one[given] + one[2]]
            result.append(number - fits[0][given] + fits[0][wanted] if fits else NOBODY)
        return result[0], result[1]


class Mapped:
    """In a user namespace the host's root has no id to make files by: this thread has those of the
    container's root meanwhile.
    """

    def __init__(self, owner: tuple[int, int] | None) -> None:
        self.owner = owner

    def __enter__(self) -> None:
        if self.owner is not None:
            from estiva.linux import fsid, process

            self.dumpable = process.dumpable() == 1
            fsid.take(*self.owner)

    def __exit__(self, *exception: object) -> None:
        if self.owner is not None:
            from estiva.linux import fsid, process

            fsid.take(os.geteuid(), os.getegid())
            if self.dumpable:
                process.set_dumpable(True)


def _read_map(path: str) -> list[tuple[int, int, int]]:
    """uid_map or gid_map of /proc/PID: (inside, outside, how many)."""
    result = []
    with open(path, encoding="ascii") as file:
        for line in file.readlines(MAP_LIMIT * 40):
            first, other, count = map(int, line.split())
            result.append((first, other, count))
    return result


def _assemble(root: int, mounts: list[dict[str, object]], detached: dict[str, int], readonly: bool) -> int:
    """Mount in the detached mount `root`, in a mount namespace that is kept by the fd which is returned.
    `detached` has, by destination, fds for mounts that are made already.
    """
    from estiva.engine.mounts.detached import aside
    from estiva.linux import mount as mnt
    from estiva.runtime.rootfs import mount_plan
    from estiva.runtime.rootfs import mounts as applying

    planned = mount_plan.plan(mounts)

    def work() -> None:
        for mount in planned:
            if mount.destination in detached:
                mount.fd = os.dup(detached[mount.destination])
            applying.apply(mount, root)
        if readonly:
            mnt.mount_setattr(root, "", mnt.MOUNT_ATTR_RDONLY)

    try:
        return aside(root, work)
    except OSError as error:
        what = f": {error.filename}" if error.filename else ""
        raise EngineError(f"the container's files can't be mounted{what}: {reason(error)}") from None
