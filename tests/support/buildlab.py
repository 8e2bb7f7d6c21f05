"""Builds in a store of the tests' own, with a step runner that is a fork, a mount namespace and a chroot.

The real runner is the engine's; this one lets the builder be tested by itself.
"""

from __future__ import annotations

import functools
import io
import os
import posixpath
import shutil
import signal
import stat
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from estiva import fastjson
from estiva.builder.cache.local import Cache
from estiva.builder.exporters import timestamps
from estiva.builder.request import Request, Step
from estiva.builder.solver.executor import build
from estiva.builder.solver.job import epoch as epoch_of
from estiva.errors import NotFound
from estiva.linux import fs, mount, namespace
from estiva.oci import config as configs
from estiva.paths import Paths
from estiva.store import Store
from estiva.store.images import Image

APPLETS = ("sh", "cat", "ls", "echo", "env", "id", "mkdir", "rm", "touch", "chmod", "chown", "test")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n"
GROUP = "root:x:0:\nuser:x:1001:\nextra:x:2000:user\n"


class Lab:
    """One store with the image `box`, and a build context directory."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="estiva-build-", dir="/var/tmp")
        state = _with_box()
        if state is not None:
            with tarfile.open(fileobj=io.BytesIO(state)) as tar:
                tar.extractall(self.folder, filter="fully_trusted")
        self.store = Store(Paths(self.folder + "/root", self.folder + "/run"))
        self.context = Path(self.folder, "context")
        self.context.mkdir()
        self.events: list[dict[str, Any]] = []
        self.steps: list[Step] = []
        self.resolved: list[tuple[str, str | None, bool]] = []
        self.files = 0
        self.box = self.store.images.resolve("box") if state is not None else self.make_box()

    def close(self) -> None:
        self.store.layers.unmount_all()
        self.store.close()
        assert not [line for line in open("/proc/self/mounts") if self.folder in line]
        shutil.rmtree(self.folder)

    def make_box(self) -> Image:
        return self.image("box", {"Env": ["PATH=/bin"], "Cmd": ["sh"]})

    def image(self, name: str, config: dict[str, Any], **fields: Any) -> Image:
        """A tagged image with busybox in it."""
        snapshot = self.store.snapshots.prepare([])
        upper = Path(snapshot.upper)
        upper.chmod(0o755)
        for directory in ("bin", "etc", "tmp", "root"):
            (upper / directory).mkdir()
        shutil.copy("/usr/bin/busybox", upper / "bin/busybox")
        for applet in APPLETS:
            (upper / "bin" / applet).symlink_to("busybox")
        (upper / "etc/passwd").write_text(PASSWD)
        (upper / "etc/group").write_text(GROUP)
        layer = snapshot.commit()
        snapshot.discard()
        document = configs.derive(configs.new("amd64"), layer.diff_id, created_by="box", created=1000.0)
        document["config"] = config
        document.update(fields)
        image = self.store.images.add(fastjson.dumps(document).encode())
        self.store.images.tag(image.id, name)
        return self.store.images.resolve(name)

    def write(self, **files: str) -> None:
        """Files of the context; `__` in a name is a slash and `_dot_` a dot."""
        for name, text in files.items():
            self.put(name.replace("__", "/").replace("_dot_", "."), text)

    def put(self, name: str, text: str | bytes, mode: int = 0o644) -> Path:
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    def build(self, text: str | None, *, look: Callable[[], object] | None = None, **options: Any) -> Image:
        """Build a Dockerfile; `events` and `steps` are those of this build."""
        self.events, self.steps = [], []
        options.setdefault("context", str(self.context))
        request = Request(dockerfile_text=text, **options)
        try:
            image = build(
                request,
                store=self.store,
                run_step=self.run_step,
                resolve_image=self.resolve_image,
                progress=self.events.append,
                look=look,
            )
            epoch = epoch_of(request)
            if epoch is None:
                return image
            cache = Cache(self.store, off=request.no_cache)
            return timestamps.clamp(cache, image, self.box, epoch)  # as the engine does
        finally:
            left = os.listdir(self.store.paths.ingest) + os.listdir(self.store.paths.cache + "/build/work")
            assert left == [], "the build left something half done"
            assert os.listdir(self.store.paths.run_root + "/build") == []

    def resolve_image(self, name: str, *, platform: str | None, pull: bool) -> Image:
        self.resolved.append((name, platform, pull))
        return self.store.images.resolve(name)

    def statuses(self) -> dict[str, str]:
        """instruction -> how it ended."""
        return {
            e["instruction"]: e["status"]
            for e in self.events
            if "instruction" in e and "seconds" in e and e["status"] != "running"
        }

    def output(self) -> str:
        return b"".join(event["data"] for event in self.events if event["status"] == "output").decode()

    def warnings(self) -> list[str]:
        return [event["message"] for event in self.events if event["status"] == "warning"]

    # -- looking into images

    def read(self, image: Image, path: str) -> str:
        with self.open(image.diff_ids, path, os.O_RDONLY) as fd, open(os.dup(fd)) as file:
            return file.read()

    def stat(self, image: Image, path: str) -> os.stat_result:
        with self.open(image.diff_ids, posixpath.dirname(path), os.O_PATH) as fd:
            return os.stat(posixpath.basename(path), dir_fd=fd, follow_symlinks=False)

    def mode(self, image: Image, path: str) -> str:
        """`0644 0:0`"""
        info = self.stat(image, path)
        return f"{stat.S_IMODE(info.st_mode):04o} {info.st_uid}:{info.st_gid}"

    def names(self, image: Image, path: str) -> list[str]:
        with self.open(image.diff_ids, path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            return sorted(os.listdir(fd))

    def layer_names(self, image: Image) -> list[str]:
        """The members of the last layer's tar."""
        with self.store.layers.tar(image.diff_ids[-1]) as file, tarfile.open(fileobj=file) as archive:
            return sorted(archive.getnames())

    def open(self, diff_ids: list[str], path: str, flags: int) -> _Opened:
        root = self.store.snapshots.view(diff_ids)
        try:
            return _Opened(fs.open_in_root(root, path or "/", flags))
        finally:
            os.close(root)

    # -- running a step

    def run_step(self, step: Step) -> int:
        self.steps.append(step)
        root = step.snapshot.mount()
        mountpoint = tempfile.mkdtemp(dir=self.folder)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(writer, 1)
                os.dup2(writer, 2)
                _enter(root, mountpoint, step)
            except BaseException as error:
                os.write(2, f"step: {error!r}\n".encode())
            os._exit(127)
        os.close(writer)
        os.close(root)
        with open(reader, "rb", buffering=0) as file:
            while data := file.read(4096):
                step.output(data)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.rmdir(mountpoint)
        return status if status >= 0 else 128 - status


@functools.cache
def _with_box() -> bytes | None:
    """A tar of a store with the image, made once for each test process; None where the driver has all files of a
    layer, and their times to the nanosecond."""
    with tempfile.TemporaryDirectory(prefix="estiva-build-", dir="/var/tmp") as folder:
        lab = Lab.__new__(Lab)
        lab.store = Store(Paths(folder + "/root", folder + "/run"))
        lab.make_box()
        lab.store.layers.unmount_all()
        lab.store.close()
        if list(Path(folder).glob("root/layers/*/fs")):
            return None
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar.add(
                f"{folder}/root", "root", filter=lambda member: None if member.name == "root/run" else member
            )
        return data.getvalue()


class _Opened:
    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)


def _enter(root: int, mountpoint: str, step: Step) -> None:
    namespace.unshare(namespace.CLONE_NEWNS)
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE, None)
    mount.move_mount(root, "", fs.AT_FDCWD, mountpoint, mount.MOVE_MOUNT_F_EMPTY_PATH)
    os.makedirs(mountpoint + "/dev", exist_ok=True)  # as a runtime does
    mount.mount("tmpfs", mountpoint + "/dev", "tmpfs", 0, None)
    for each in step.mounts:
        target = mountpoint + each["destination"]
        if each["type"] == "tmpfs":
            os.makedirs(target, exist_ok=True)
            mount.mount("tmpfs", target, "tmpfs", 0, None)
            continue
        fd = step.mounted.get(each["destination"], -1)
        if stat.S_ISDIR(os.stat(fd if fd >= 0 else each["source"]).st_mode):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "a").close()
        if fd >= 0:
            mount.move_mount(fd, "", fs.AT_FDCWD, target)
            continue
        mount.mount(each["source"], target, None, mount.MS_BIND, None)
        if "ro" in each["options"]:
            mount.mount(None, target, None, mount.MS_BIND | mount.MS_REMOUNT | mount.MS_RDONLY, None)
    os.chroot(mountpoint)
    os.chdir(step.cwd)
    if step.user:
        os.setgroups([])
        uid = int(step.user) if step.user.isdecimal() else 1000
        os.setgid(uid)
        os.setuid(uid)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    env = dict(item.split("=", 1) for item in step.env)
    try:
        os.execvpe(step.argv[0], step.argv, env)
    except FileNotFoundError:
        raise NotFound(f"{step.argv[0]} not found") from None
