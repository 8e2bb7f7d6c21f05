"""The processes of a container of the engine, kept beside a snapshot of its files (cold path).

As checkpoint.py and restore.py have it, by criu(8), save that

- it is restored any number of times, at once, and beside the container that it is of;
- its init may be our own, and so are programs and libraries of the host mapped into it: each is named when
  that is written down, and given back by an fd, if it is still the same file then.

    DIR/*.img        criu's own
    DIR/memory.json  {"streams": {PIPE: fd}, "null": [LABEL], "binds": [DESTINATION],
                      "host": {LABEL: [path, device, inode, bytes, mtime in ns]}}
"""

from __future__ import annotations

import os
import stat

from estiva import fastjson, files
from estiva.errors import Conflict, EngineError, InvalidInput, NotFound, Unsupported, oneline
from estiva.linux import procinfo
from estiva.runtime.cgroup import factory
from estiva.runtime.launch.clone import Init
from estiva.runtime.lifecycle import checkpoint, restore
from estiva.runtime.lifecycle import criu_rpc as rpc
from estiva.runtime.rootfs import mount_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.rootfs.rootfs import Rootfs

NAMES = "memory.json"
_LIMIT = 1 << 20  # bytes of it
_MOST = 1024  # files of the host


class _Container:
    """What `checkpoint` and `restore` ask of a container of theirs."""

    def __init__(self, id: str, directory: str, pid: int, cgroup: str, config: dict[str, Any]) -> None:
        self.id, self.directory, self.pid = id, directory, pid
        self.record: dict[str, Any] = {"id": id, "rootfs": "/", "cgroup": cgroup, "bundle": directory}
        self.record |= {"annotations": {}, "ociVersion": ""}
        self._config = config

    @property
    def cgroup(self) -> Cgroup:
        return factory.open(self.record["cgroup"])

    def config(self) -> dict[str, Any]:
        return self._config


def dump(directory: str, id: str, pid: int, cgroup: str, binds: list[str], monitor: int) -> None:
    """Write the processes of a cgroup, whose init is `pid`, to a new directory; they stand still, and go on
    when they are let. `binds`: where in it mounts from outside are. `monitor` has the other ends of its
    streams. Raises Unsupported without criu, EngineError with criu's first complaint."""
    rpc.version()
    mounts = [{"destination": place, "type": "bind", "source": "/", "options": ["bind"]} for place in binds]
    made: Any = _Container(id, directory, pid, cgroup, {"mounts": mounts})
    how = checkpoint.Options()
    how.images, how.leave_running, how.file_locks = directory, True, True
    images = checkpoint.directory(directory, make=True)
    try:
        named = _named(made, monitor)
        named["binds"] = binds
        fields = checkpoint.common(how, "dump.log", images, -1) + checkpoint.of_container(made, how)
        fields += [(23, rpc.encode([(1, point), (2, label)])) for point, label in checkpoint.outside(made)]
        fields += [(37, label) for label in (*named["host"], *named["null"])]
        data = fastjson.dumps(named).encode("utf-8", "surrogateescape")
        if len(data) > _LIMIT or len(named["host"]) > _MOST:
            raise Unsupported("its processes have too many files of the host open")
        files.atomic_write(f"{directory}/{NAMES}", data)
        criu = rpc.Criu()
        try:
            _ask(criu, rpc.DUMP, fields, f"{directory}/dump.log", "dump")
        finally:
            criu.close()
        os.unlink(f"{directory}/dump.log")
    finally:
        os.close(images)


def _ask(
    criu: rpc.Criu,
    kind: int,
    fields: checkpoint.Fields,
    log: str,
    what: str,
    notified: rpc.Notified | None = None,
) -> None:
    try:
        criu.request(kind, rpc.encode(fields), notified=notified)
    except rpc.Failed as error:
        why = checkpoint.complaint(log) or error.words
        if not why:
            why = os.strerror(error.number).lower() if error.number else "it does not say why"
        lacks = missing()
        raise EngineError(f"criu can't {what} them here: {why}" + (f" ({lacks})" if lacks else "")) from None


def missing() -> str:
    """What this kernel lacks of what criu needs, in its words; "" where it has all."""
    import subprocess

    try:
        done = subprocess.run(
            [rpc.find(), "check"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if done.returncode == 0:
        return ""
    for line in done.stderr[: 1 << 16].decode("utf-8", "replace").split("\n"):
        _, mark, rest = line.partition("Error (")
        if mark:
            return oneline("criu check: " + (rest.partition("): ")[2].strip() or rest))
    return "criu check fails"


def _named(made: Any, monitor: int) -> dict[str, Any]:
    """What leads out of the container by a file: see NAMES."""
    own = checkpoint.table(made.pid)
    theirs = {name for name in _links(f"/proc/{monitor}/fd").values() if name.startswith("pipe:[")}
    streams: dict[str, int] = {}
    null: set[str] = set()
    host: dict[str, list[Any]] = {}
    for pid in dict.fromkeys([made.pid, *made.cgroup.processes()]):
        for name, target in _links(f"/proc/{pid}/fd").items():
            fd = int(name)
            if target in theirs and fd < 3:
                streams.setdefault(target, fd)
                continue
            mount = checkpoint.mount_of(fd, pid)
            if mount < 0 or mount in own:
                continue
            try:
                status = os.stat(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == checkpoint.NULL:
                null.add(f"file[{mount:x}:{status.st_ino:x}]")
        for path in (f"/proc/{pid}/exe", *(f"/proc/{pid}/map_files/{n}" for n in _listed(pid))):
            _host_file(path, own, host)
    return {"streams": streams, "null": sorted(null), "host": host}


def _listed(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/map_files")
    except OSError:
        return []


def _links(folder: str) -> dict[str, str]:
    found = {}
    for name in _names(folder):
        try:
            found[name] = os.readlink(f"{folder}/{name}")
        except OSError:
            continue  # it has just ended
    return found


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _host_file(path: str, own: dict[int, checkpoint.Entry], host: dict[str, list[Any]]) -> None:
    """Name what `path`, a link of /proc, leads to, where that is on no mount of the container's."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # shared memory without a name
    try:
        mount, status = checkpoint.mount_of(fd), os.fstat(fd)
        label = f"file[{mount:x}:{status.st_ino:x}]"
        if mount < 0 or mount in own or label in host or not stat.S_ISREG(status.st_mode):
            return
        place = os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    if place.startswith("/memfd:") or not place.startswith("/"):
        return
    if status.st_nlink == 0:
        raise Unsupported(f"a process has {place.removesuffix(' (deleted)')}, which has been replaced since")
    host[label] = [place, *_same(status)]


def _same(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


# --- restored ---------------------------------------------------------------------------------------------


class Restored(Init):
    """The init of a container that goes on: it has been ready, and started."""

    def go(self) -> None:
        pass

    def ready(self) -> None:
        pass

    def start(self) -> None:
        pass


class Restore(restore.Restore):
    """One that goes on from the images in `directory`, as container `id`. `run` is its run folder, `connect`
    plugs its network in, `stdio` are its streams (-1 where it has none)."""

    def __init__(
        self,
        directory: str,
        id: str,
        run: str,
        config: dict[str, Any],
        rootfs: Rootfs,
        cgroup: Cgroup,
        stdio: tuple[int, int, int],
        connect: Callable[[Init], object],
    ) -> None:
        how = checkpoint.Options()
        how.images, how.work, how.file_locks = directory, f"{run}/criu", True
        made: Any = _Container(id, run, 0, cgroup.path, config)
        bundle: Any = _Bundle(config, rootfs)
        self.group = cgroup
        self.stdio = stdio
        self.connect = connect
        images = checkpoint.directory(directory, make=False)
        super().__init__(made, bundle, how, images, None)

    def go(self) -> Init:
        """Raises InvalidInput for mounts that are others, Conflict for a file of the host that is another,
        EngineError."""
        try:
            rpc.version()
            self.named = self._json(NAMES, dict, required=True, limit=_LIMIT)
            self._check()
            for name in ("root", "criu"):
                files.make_directory(f"{self.made.directory}/{name}", exist_ok=True)
            return self.run()
        finally:
            os.close(self.images)
            for name in ("root", "criu"):
                files.remove_tree(f"{self.made.directory}/{name}")

    def _check(self) -> None:
        named = self.named
        if not all(isinstance(named.get(key), dict) for key in ("streams", "host")) or not all(
            isinstance(named.get(key), list) for key in ("null", "binds")
        ):
            raise InvalidInput(f"{self.how.images}/{NAMES} is damaged")
        own = {m.destination for m in self.mounts if checkpoint.is_bind(m)}
        for place in named["binds"]:
            if place not in own:
                raise InvalidInput(
                    f"its processes had something mounted at {place}",
                    hint=f"mount something there: -v ...:{place}",
                )
        for place in sorted(own - set(named["binds"])):
            raise InvalidInput(f"nothing can be mounted at {place}: its processes go on without")

    def _group(self) -> Cgroup | None:
        return self.group

    def _request(self, service: rpc.Criu, fields: checkpoint.Fields) -> None:
        _ask(service, rpc.RESTORE, fields, f"{self.how.work}/restore.log", "restore", self._notified)

    def _descriptors(self) -> checkpoint.Fields:
        fields: checkpoint.Fields = []
        for pipe, fd in self.named["streams"].items():
            if fd in (0, 1, 2) and self.stdio[fd] >= 0:
                fields.append(self._inherit(pipe, os.dup(self.stdio[fd])))
        for label in self.named["null"]:
            if restore.is_label(label):
                fields.append(self._inherit(label, os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)))
        for label, (path, *same) in self.named["host"].items():
            if restore.is_label(label):
                fields.append(self._inherit(label, _again(path, same)))
        return fields

    def _notified(self, script: str, pid: int, fd: int) -> None:
        if script == "setup-namespaces":
            self.init = Restored.adopt(pid, procinfo.pidfd_open(pid), -1)
            self._loopback(pid)
            self.connect(self.init)


class _Bundle:
    def __init__(self, config: dict[str, Any], rootfs: Rootfs) -> None:
        self.config = config
        self.rootfs = rootfs


def _again(path: str, same: list[int]) -> int:
    """An fd of the file that was there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        raise NotFound(f"{path} has gone since its memory was kept") from None
    if _same(os.fstat(fd)) != same:
        os.close(fd)
        raise Conflict(f"{path} has been replaced since its memory was kept")
    return fd


def binds_of(mounts: list[dict[str, Any]]) -> list[str]:
    """The destinations of those, of an OCI config, that are from outside. Raises Unsupported."""
    found = []
    for mount in mount_plan.plan(mounts):
        if checkpoint.is_bind(mount):
            if mount.subpath or mount.idmap:
                raise Unsupported(f"what is mounted at {mount.destination} can't be given back")
            found.append(mount.destination)
    return found
