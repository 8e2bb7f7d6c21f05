"""Restore: a container is made of the images of a checkpoint (checkpoint.py).

criu builds it in a mount namespace where the bundle's root filesystem is mounted once more, since it must be
a mount point, and where what is missing to mount on is made. That namespace ends with criu: nothing is ever
mounted on the host. The images' own instructions are followed by criu, with root's rights, so who may write
images may do what root may; what is read of them here (two small JSON files) is bounded and checked (K19).
"""

from __future__ import annotations

import os
import stat
import time

from estiva import fastjson, files
from estiva.errors import EngineError, InvalidInput, NotFound, Unsupported
from estiva.linux import fs, procinfo
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux.libc import AT_FDCWD
from estiva.runtime import state, sync
from estiva.runtime.cgroup.control import read
from estiva.runtime.cgroup.layout import layout
from estiva.runtime.launch.clone import Init
from estiva.runtime.launch.hooks import Hooks
from estiva.runtime.lifecycle import checkpoint, create, operations
from estiva.runtime.lifecycle import criu_rpc as rpc
from estiva.runtime.rootfs import mount_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.runtime.bundle.bundle import Bundle
    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.lifecycle.containers import Container

_LIMIT = 64 << 10  # bytes of a JSON file among the images
_LABELS = 256
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def restore(
    root: str, id: str, bundle: Bundle, how: checkpoint.Options, console: Callable[[int], None] | None
) -> tuple[Container, Init]:
    """A running container of the images in `how.images`. Its terminal's master goes to `console`, and with
    the Init. Nothing is left on an error. Raises Conflict when the id is taken, InvalidInput, EngineError."""
    rpc.version()
    checkpoint.external_namespaces(bundle.config)
    images = checkpoint.directory(how.images, make=False)
    try:
        made = create.begin(root, id, bundle)
        try:
            files.make_directory(f"{made.directory}/notify", 0o755)
            files.make_directory(f"{made.directory}/root")
            init = Restore(made, bundle, how, images, console).run()
            made.let_go()
            os.rmdir(f"{made.directory}/root")
        except BaseException:
            operations.undo(made)
            made.let_go()
            raise
    finally:
        os.close(images)
    return made, init


class Restore:
    """One restore: what its steps share."""

    def __init__(
        self,
        made: Container,
        bundle: Bundle,
        how: checkpoint.Options,
        images: int,
        console: Callable[[int], None] | None,
    ) -> None:
        self.made = made
        self.bundle = bundle
        self.how = how
        self.images = images
        self.console = console
        self.init: Init | None = None
        self.master = -1
        self.root = f"{made.directory}/root"
        self.extra: list[int] = []  # fds for criu
        keys = ("ociVersion", "id", "bundle", "annotations")
        self.hooks = Hooks(bundle.config.get("hooks"), {key: made.record[key] for key in keys})
        self.mounts = mount_plan.plan(bundle.config.get("mounts") or [])

    def run(self) -> Init:
        how, made = self.how, self.made
        group = self._group()
        if how.work:
            os.close(checkpoint.directory(how.work, make=True))
        try:
            fields: checkpoint.Fields = [
                (6, 1),
                (13, self.root),
                (26, 1),
            ]  # evasive_devices, root, rst_sibling
            for field, text in ((53, how.lsm_profile), (63, how.lsm_mount_context)):
                if text:
                    fields.append((field, text))
            fields += [(23, rpc.encode([(1, label), (2, source)])) for label, source in self._sources()]
            fields += self._namespaces()
            fields += self._descriptors()
            # Opened where criu mounts, or it could not mount there.
            places = (how.images, how.work or how.images)
            service = rpc.Criu(tuple(self.extra), self._prepare, places)
            try:
                if not os.path.samestat(os.fstat(service.opened[0]), os.fstat(self.images)):
                    raise InvalidInput(f"{how.images} has just been replaced")
                fields += checkpoint.common(how, "restore.log", *service.opened)
                if group is not None:
                    service.enter(group)
                    group.settled()
                    for line in read(f"/proc/{service.pid}/cgroup").split("\n"):
                        _, controllers, path = line.split(":", 2)
                        fields.append((25, rpc.encode([(1, controllers), (2, path)])))
                self._request(service, fields)
            finally:
                service.close()
        except BaseException:
            if self.init is not None:
                self.init.close()
            elif self.master >= 0:
                os.close(self.master)
            raise
        finally:
            for fd in self.extra:
                os.close(fd)
            if group is not None:
                group.settled()
        if self.init is None:
            raise EngineError(f"criu has restored container {made.id} without a word of its pid")
        return self.init

    def _group(self) -> Cgroup | None:
        return create.cgroup_of(self.made, self.bundle, self.how.systemd)

    def _request(self, service: rpc.Criu, fields: checkpoint.Fields) -> None:
        checkpoint.run(service, rpc.RESTORE, fields, self.how, "restore", self.made.id, self._notified)

    # --- before ---------------------------------------------------------------------------------------------

    def _sources(self) -> list[tuple[str, str]]:
        """(label, path on the host) for each mount that criu.outside has labelled, and some more."""
        found = [(checkpoint.NOTIFY_DIR, f"{self.made.directory}/notify"), ("/dev/null", "/dev/null")]
        mounted = [entry.point for entry in checkpoint.table("self").values()]
        for mount in self.mounts:
            if mount.fstype == "cgroup" and layout().version == "v1":
                for point in layout().mounts if self.made.record["cgroup"] else ():
                    name = point.rpartition("/")[2]
                    label = f"{mount.destination.rstrip('/')}/{name}"
                    found.append((label, point + self.made.record["cgroup"]))
            if not checkpoint.is_bind(mount):
                continue
            if mount.subpath or mount.idmap:
                raise Unsupported(f"{mount.destination}: criu can't restore this kind of mount")
            source = os.path.realpath(mount.source)
            found.append((mount.destination, source))
            if mount.recursive:
                below = source.rstrip("/") + "/"
                target = mount.destination.rstrip("/") + "/"
                found += [
                    (target + p[len(below) :], p) for p in mounted if p.startswith(below) and p != below
                ]
        devices = [f"/dev/{name}" for name in _DEVICES]
        devices += [entry["path"] for entry in (self.bundle.config.get("linux") or {}).get("devices") or ()]
        found += [(path, path) for path in devices]
        return list(dict(reversed(found)).items())

    def _namespaces(self) -> checkpoint.Fields:
        """Those with a path: net and pid by an fd under the key of the checkpoint, others joined by criu."""
        from estiva.runtime.launch.open_namespace import open_namespace

        fields: checkpoint.Fields = []
        for kind, key, path in checkpoint.external_namespaces(self.bundle.config):
            fd = open_namespace("network" if kind == "net" else kind, path)
            fields.append(self._inherit(key, fd))
        for entry in (self.bundle.config.get("linux") or {}).get("namespaces") or ():
            if entry.get("path") and entry["type"] not in ("network", "pid"):
                fields.append((39, rpc.encode([(1, entry["type"]), (2, entry["path"])])))
        return fields

    def _inherit(self, key: str, fd: int) -> tuple[int, bytes]:
        """Give criu an fd of ours for what has that key."""
        self.extra.append(fd)
        return 27, rpc.encode([(1, key), (2, rpc.EXTRA + len(self.extra) - 1)])

    def _descriptors(self) -> checkpoint.Fields:
        """stdin, stdout and stderr in place of the pipes and files that were there."""
        fields: checkpoint.Fields = []
        before = self._json(checkpoint.DESCRIPTORS, list, required=True)
        for fd, name in enumerate(before[:3]):
            if isinstance(name, str) and name.startswith("pipe:[") and name[6:-1].isdigit():
                fields.append((27, rpc.encode([(1, name), (2, fd)])))
        external = self._json(checkpoint.EXTERNAL, dict, required=False)
        found, null = external.get("files") or {}, external.get("null") or []
        if not isinstance(found, dict) or not isinstance(null, list) or len(found) + len(null) > _LABELS:
            raise InvalidInput(f"{self.how.images}/{checkpoint.EXTERNAL} is damaged")
        for label, fd in found.items():
            if is_label(label) and fd in (0, 1, 2):
                fields.append((27, rpc.encode([(1, label), (2, fd)])))
        for label in null:
            if is_label(label):
                fields.append(self._inherit(label, os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)))
        return fields

    def _json(self, name: str, kind: type, *, required: bool, limit: int = _LIMIT) -> Any:
        """A small JSON file of the images, which others may have made."""
        path = f"{self.how.images}/{name}"
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.images)
        except FileNotFoundError:
            if required:
                raise NotFound(f"{path}: no such file or directory", hint="is it a checkpoint?") from None
            return kind()
        except OSError as error:
            raise InvalidInput(f"{path} can't be read: {os.strerror(error.errno or 0).lower()}") from None
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InvalidInput(f"{path} is not a file")
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidInput(f"{path} is larger than {limit} bytes")
        value = fastjson.loads(data, what=path)
        if not isinstance(value, kind):
            raise InvalidInput(f"{path} is damaged")
        return value

    # --- in the child that becomes criu ---------------------------------------------------------------------

    def _prepare(self) -> None:
        """The root filesystem as a mount point, with everything in it that was made to mount on.

        Binds are put there for a moment, for those that go on top of them.
        """
        ns.unshare(ns.CLONE_NEWNS)
        mnt.mount(None, "/", None, mnt.MS_REC | mnt.MS_PRIVATE)
        root = self.bundle.rootfs.mount()
        mnt.move_mount(root, "", AT_FDCWD, self.root)
        taken: list[int] = []
        memory: list[str] = []  # criu fills a tmpfs itself
        for mount in self.mounts:
            place = mount.destination.rstrip("/") + "/"
            if mount.fstype in ("cgroup", "cgroup2") or any(
                place.startswith(m) and place != m for m in memory
            ):
                continue
            if mount.fstype == "tmpfs":
                memory.append(place)
            if mount.flags & mnt.MS_REMOUNT:
                continue
            if not mount.bind:
                os.close(fs.mkdir_in_root(root, mount.destination))
                continue
            copy = mnt.clone_tree(mount.source, recursive=mount.recursive)
            if stat.S_ISDIR(os.fstat(copy).st_mode):
                target = fs.mkdir_in_root(root, mount.destination)
            else:
                target = fs.create_in_root(root, mount.destination)
            mnt.move_mount(copy, "", target, "")
            os.close(target)
            taken.append(copy)
        for copy in reversed(taken):
            mnt.umount2(f"/proc/self/fd/{copy}", mnt.MNT_DETACH)
            os.close(copy)
        os.close(root)

    # --- what criu tells ------------------------------------------------------------------------------------

    def _notified(self, script: str, pid: int, fd: int) -> None:
        if script == "setup-namespaces":
            for kind in ("prestart", "createRuntime"):
                self.hooks.run(kind, pid, "created")
        elif script == "orphan-pts-master" and fd >= 0:
            self.master = sync.at_least(os.dup(fd), 3)
            if self.console is not None:
                self.console(self.master)
        elif script == "post-restore":
            made = self.made
            self.init = Init.adopt(pid, procinfo.pidfd_open(pid), self.master)
            made.record["pid"] = made.pid = pid
            made.record["start_time"] = procinfo.start_time(pid)
            made.record["created"] = time.time()
            self._loopback(pid)
            state.write(made.directory, made.record)

    def _loopback(self, pid: int) -> None:
        """criu leaves an own network namespace empty, and so is `lo` down: the container had it up."""
        entries = (self.bundle.config.get("linux") or {}).get("namespaces") or ()
        if not any(entry["type"] == "network" and not entry.get("path") for entry in entries):
            return
        child = os.fork()
        if child == 0:
            try:
                fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                ns.setns(fd, ns.CLONE_NEWNET)
                ns.loopback_up()
            finally:
                os._exit(0)
        os.waitpid(child, 0)


def is_label(text: Any) -> bool:
    """Whether it is what criu calls an open file: file[MOUNT:INODE], both hexadecimal."""
    if not isinstance(text, str) or not text.startswith("file[") or not text.endswith("]"):
        return False
    parts = text[5:-1].split(":")
    return len(parts) == 2 and all(p and len(p) <= 16 and set(p) <= set("0123456789abcdef") for p in parts)
