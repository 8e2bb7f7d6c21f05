"""Checkpoint: the processes of a container and what they hold are written to files by criu(8).

criu walks the container from outside. What leads out of it must be named, or criu refuses: bind mounts,
device nodes that are binds, namespaces with a path, and the files that stdin, stdout and stderr are. Each
gets a label, under which `criu_restore` says what is to be there then.

    DIR/*.img               criu's own
    DIR/descriptors.json    what fds 0 to 2 were, as runc has it: ["/dev/null", "pipe:[7]", "pipe:[8]"]
    DIR/external.json       {"files": {LABEL: fd}, "null": [LABEL]}: files of the host that were open
"""

from __future__ import annotations

import os
import stat

from estiva import fastjson, files, programs
from estiva.errors import Conflict, EngineError, InvalidInput, Unsupported, oneline
from estiva.linux import fs, procinfo
from estiva.linux import mount as mnt
from estiva.runtime.cgroup.control import read
from estiva.runtime.cgroup.layout import layout
from estiva.runtime.lifecycle import criu_rpc as rpc
from estiva.runtime.rootfs import mount_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.lifecycle.containers import Container
    from estiva.runtime.lifecycle.criu_rpc import Criu

    Fields = list[tuple[int, int | str | bytes]]

DESCRIPTORS = "descriptors.json"
EXTERNAL = "external.json"
CONFIGS = ("/etc/criu/estiva.conf", "/etc/criu/runc.conf")
CGROUP_MODES = {"": 6, "ignore": 0, "soft": 3, "full": 4, "strict": 5}  # criu_cg_mode
CLONE_NEWNET = 0x40000000
NULL = os.makedev(1, 3)
NOTIFY_DIR = "/run/notify"


class Options:
    """The flags of `checkpoint` and `restore`; the names are criu's."""

    def __init__(self) -> None:
        self.images = "checkpoint"
        self.work = ""
        self.parent = ""  # relative to the images
        self.leave_running = False
        self.pre_dump = False
        self.page_server: tuple[str, int] | None = None
        self.status_fd = -1
        self.lsm_profile = ""
        self.lsm_mount_context = ""
        self.cgroups_mode = ""
        self.systemd = False  # restore into a scope of systemd's
        self.ext_unix_sk = self.tcp_established = self.shell_job = self.file_locks = False
        self.auto_dedup = self.link_remap = self.tcp_skip_in_flight = self.lazy_pages = False


def common(how: Options, log: str, images: int, work: int) -> Fields:
    """The criu_opts that a dump and a restore share. criu opens our fds by our /proc."""
    fields: Fields = [(1, images), (9, 4), (10, log), (12, 1), (24, 1), (38, CLONE_NEWNET), (50, 1)]
    if how.cgroups_mode not in CGROUP_MODES:
        raise InvalidInput(
            f"--manage-cgroups-mode {how.cgroups_mode}: there is no such mode",
            hint="ignore, soft, full or strict",
        )
    fields.append((34, CGROUP_MODES[how.cgroups_mode]))
    fields.append((51, CONFIGS[0] if os.path.exists(CONFIGS[0]) else CONFIGS[1]))
    if work >= 0:
        fields.append((17, work))
    if not programs.find("iptables-restore"):
        # criu locks the network meanwhile, by iptables unless told otherwise. By nftables (2) a namespace
        # that stays can't be locked again, and without connections to keep there is nothing to lock (3).
        fields.append((64, 2 if how.tcp_established else 3))
    for field, on in (
        (4, how.ext_unix_sk),
        (5, how.tcp_established),
        (7, how.shell_job),
        (8, how.file_locks),
        (16, how.auto_dedup),
        (48, how.lazy_pages),
    ):
        if on:
            fields.append((field, 1))
    return fields


def directory(path: str, *, make: bool) -> int:
    """An fd of the directory for images or logs. Raises InvalidInput."""
    try:
        if make:
            os.makedirs(path, mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"{path}: {os.strerror(error.errno or 0).lower()}") from None


def checkpoint(made: Container, how: Options) -> None:
    """Write the container to `how.images`; it is dead afterwards unless that is to be left running.

    Raises Conflict, InvalidInput, Unsupported, EngineError with criu's first complaint.
    """
    status = made.status()
    if status not in ("running", "paused"):
        raise Conflict(f"container {made.id} cannot be checkpointed in {status} state")
    rpc.version()
    images = directory(how.images, make=True)
    work = -1
    try:
        fields = common(how, "dump.log", images, -1)
        if how.work:
            work = directory(how.work, make=True)
            fields.append((17, work))
        _parent(how, fields)
        if how.page_server:
            address, port = how.page_server
            fields.append((11, rpc.encode([(1, address), (2, port)])))
        if how.pre_dump:
            rpc.require(rpc.MEM_TRACK, "--pre-dump (memory tracking)")
        if how.lazy_pages:
            rpc.require(rpc.LAZY_PAGES, "--lazy-pages (userfaultfd)")
            _check_status_fd(how.status_fd)
        fields += of_container(made, how)
        if not how.pre_dump:
            for point, label in outside(made):
                fields.append((23, rpc.encode([(1, point), (2, label)])))
            fields += [(37, label) for label in _descriptors(made, images)]
        held = made.lock()
        criu = rpc.Criu()
        try:
            run(criu, rpc.PRE_DUMP if how.pre_dump else rpc.DUMP, fields, how, "dump", made.id)
        finally:
            criu.close()
            os.close(held)
    finally:
        os.close(images)
        if work >= 0:
            os.close(work)


def _parent(how: Options, fields: Fields) -> None:
    """--parent-path: the images that only what has changed since is added to."""
    if not how.parent:
        return
    if how.parent.startswith("/"):
        raise InvalidInput("--parent-path must be relative to --image-path")
    if not os.path.isdir(f"{how.images}/{how.parent}"):
        raise InvalidInput(f"invalid --parent-path: {how.images}/{how.parent} is not a directory")
    fields += [(14, how.parent), (15, 1)]


def _check_status_fd(fd: int) -> None:
    import fcntl

    if fd < 0:
        return
    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        raise InvalidInput(f"--status-fd {fd} is not open") from None
    if mode == os.O_RDONLY:
        raise InvalidInput(f"--status-fd {fd} can't be written to")


def of_container(made: Container, how: Options) -> Fields:
    """Whom to dump, and the namespaces that are not its own."""
    config = made.config()
    fields: Fields = [(2, made.pid), (13, made.record["rootfs"])]
    for field, on in ((3, how.leave_running), (18, how.link_remap), (46, how.tcp_skip_in_flight)):
        if on:
            fields.append((field, 1))
    for kind, key, path in external_namespaces(config):
        fields.append((37, f"{kind}[{os.stat(path).st_ino}]:{key}"))
    group = made.cgroup
    if group is not None:
        places = layout()
        point = places.where.get("freezer") if places.version == "v1" else places.mounts[0]
        if point:
            fields.append((44, point + group.path))
        fields += _hierarchies(made.pid, group)
    return fields


def _hierarchies(init: int, group: Cgroup) -> Fields:
    """The hierarchies whose cgroups are to be dumped, where those are not all.

    criu dumps the whole tree below each cgroup that a process is in. In a hierarchy where the container was
    given no place, or where somebody has moved a process out of it, that tree is others', or the machine's.
    """
    named: dict[str, bool] = {}
    for pid in dict.fromkeys([init, *group.processes()]):
        try:
            lines = read(f"/proc/{pid}/cgroup").split("\n")
        except OSError:
            continue  # it has just ended
        for line in lines:
            _, colon, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if colon:
                ours = path == group.path or path.startswith(group.path + "/")
                named[controllers] = named.get(controllers, True) and ours
    if all(named.values()):
        return []
    kept: Fields = [(43, controllers) for controllers, ours in named.items() if ours]
    return kept or [(34, CGROUP_MODES["ignore"])]


def external_namespaces(config: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(criu's name, key, path) of the namespaces that stay while the container is away: net and pid."""
    found = []
    for entry in (config.get("linux") or {}).get("namespaces") or ():
        kind, path = entry["type"], entry.get("path")
        if path and kind in ("network", "pid"):
            found.append(
                ("net", "extRootNetNS", path) if kind == "network" else ("pid", "extRootPidNS", path)
            )
        elif path and kind in ("mount", "cgroup"):
            raise Unsupported(f"criu can't restore into the {kind} namespace {path}")
    return found


# --- mounts -----------------------------------------------------------------------------------------------


class Entry:
    """A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)); `point` as the process sees it."""

    __slots__ = ("id", "parent", "root", "point", "fstype")

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        self.id, self.parent = int(words[0]), int(words[1])
        self.root, self.point = procinfo.unescape(words[3]), procinfo.unescape(words[4])
        self.fstype = after.split(" ")[0]


def table(pid: int | str) -> dict[int, Entry]:
    """The mounts that a process sees, by id."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        entries = [Entry(line) for line in file if " - " in line]
    return {entry.id: entry for entry in entries}


def mount_of(fd: int, pid: int | str = "self") -> int:
    """The id of the mount that an fd is on; -1 when the fd is gone."""
    try:
        return procinfo.mount_id(fd, pid)
    except (OSError, StopIteration):
        return -1


def outside(made: Container) -> list[tuple[str, str]]:
    """(mount point, label) of each mount whose source is not the container's own.

    A bind's label is its destination in the config, and that of a mount below one of them the place there; a
    masked file's /dev/null; else the mount point.
    """
    config = made.config()
    mounts = table(made.pid)
    labels: dict[int, str] = {}
    root = os.open(f"/proc/{made.pid}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        binds = [m.destination for m in mount_plan.plan(config.get("mounts") or []) if is_bind(m)]
        for destination in [*binds, NOTIFY_DIR]:
            found = _mount_at(root, destination)
            if found in mounts and mounts[found].point != "/":
                labels.setdefault(found, destination)
        for entry in mounts.values():
            if entry.id not in labels and entry.root != "/" and (rdev := _device_at(root, entry)):
                masks = rdev == NULL and not entry.point.startswith("/dev/")
                labels[entry.id] = "/dev/null" if masks else entry.point
    finally:
        os.close(root)
    for entry in mounts.values():
        if entry.id in labels:
            continue
        above = mounts.get(entry.parent)
        while above is not None and above.id not in labels and above.point != "/":
            above = mounts.get(above.parent)
        if above is not None and above.id in labels:
            labels[entry.id] = labels[above.id].rstrip("/") + entry.point[len(above.point) :]
        elif entry.fstype == "cgroup":  # v1: binds of the container's places in the host's hierarchies
            labels[entry.id] = entry.point
    return [(mounts[id].point, label) for id, label in labels.items()]


def is_bind(mount: mount_plan.Mount) -> bool:
    return mount.bind and not mount.flags & mnt.MS_REMOUNT


def _mount_at(root: int, path: str) -> int:
    try:
        fd = fs.open_in_root(root, path, os.O_PATH)
    except OSError:
        return -1
    try:
        return mount_of(fd)
    finally:
        os.close(fd)


def _device_at(root: int, entry: Entry) -> int:
    """The number of the device that is bound there, or 0. /dev/console is of the container's own devpts."""
    if entry.fstype not in ("devtmpfs", "tmpfs"):
        return 0
    try:
        fd = fs.open_in_root(root, entry.point, os.O_PATH, follow=False)
    except OSError:
        return 0
    try:
        status = os.fstat(fd)
        if mount_of(fd) != entry.id or not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            return 0
        return status.st_rdev
    finally:
        os.close(fd)


# --- fds --------------------------------------------------------------------------------------------------


def _descriptors(made: Container, images: int) -> list[str]:
    """Write descriptors.json and external.json; the labels of files on mounts that the container hasn't."""
    own = table(made.pid)
    null: set[str] = set()
    found: dict[str, int] = {}
    group = made.cgroup
    for pid in dict.fromkeys([made.pid, *(group.processes() if group is not None else ())]):
        try:
            fds = sorted(map(int, os.listdir(f"/proc/{pid}/fd")))
        except OSError:
            continue  # it has just ended
        for fd in fds:
            mount = mount_of(fd, pid)
            try:
                status = os.stat(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            label = f"file[{mount:x}:{status.st_ino:x}]"
            if mount < 0 or mount in own:
                continue
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == NULL:
                null.add(label)
            elif stat.S_ISREG(status.st_mode) and pid == made.pid and fd < 3:
                found.setdefault(label, fd)
    for name, value in (
        (DESCRIPTORS, made.record.get("stdio") or []),
        (EXTERNAL, {"files": found, "null": sorted(null)}),
    ):
        path = f"/proc/self/fd/{images}/{name}"
        files.atomic_write(path, fastjson.dumps(value).encode("utf-8", "surrogateescape"), sync=False)
    return [*found, *sorted(null)]


def run(
    criu: Criu, kind: int, fields: Fields, how: Options, name: str, id: str, notified: Any = None
) -> rpc.Message:
    """Have it done. The error is criu's own first complaint, out of its log."""

    def told(script: str, pid: int, fd: int) -> None:
        if script == "status-ready" and how.status_fd >= 0:  # the page server listens
            os.write(how.status_fd, b"\0")
            os.close(how.status_fd)
            how.status_fd = -1
        if notified is not None:
            notified(script, pid, fd)

    log = f"{how.work or how.images}/{name}.log"
    try:
        return criu.request(kind, rpc.encode(fields), notified=told)
    except rpc.Failed as error:
        why = complaint(log) or error.words
        if not why:
            why = os.strerror(error.number).lower() if error.number else "it does not say why"
        raise EngineError(f"criu can't {name} container {id}: {why} (see {log})") from None


def complaint(path: str) -> str:
    """The first error in a log of criu's, without its time and place; "" when there is none to be found."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        text = file.read(4 << 20).decode("utf-8", "replace")
    for line in text.split("\n"):
        _, mark, rest = line.partition("Error (")
        if mark and not any(harmless in rest for harmless in ("RLIMIT_NOFILE", "tun: ")):
            return oneline(rest.partition("): ")[2].strip() or rest)
    return ""
