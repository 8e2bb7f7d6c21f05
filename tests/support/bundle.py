"""A minimal OCI config over a tiny busybox root filesystem, for tests on the real kernel."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from estiva.runtime.launch import container
from estiva.runtime.launch.clone import Init
from estiva.runtime.rootfs.rootfs import Rootfs

# fmt: off
APPLETS = [
    "sh", "cat", "echo", "ls", "true", "false", "id", "env", "sleep", "stat", "mount", "umount", "hostname",
    "pwd", "kill", "ps", "head", "tail", "touch", "mkdir", "rm", "tty", "stty", "grep", "dd", "readlink",
    "sysctl", "chmod", "cut", "wc", "ln", "mknod", "test", "printf", "uname", "tr",
]
# fmt: on
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
]  # fmt: skip
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

requires_kernel = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("busybox") is None, reason="needs root and a static busybox"
)


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A busybox root filesystem that nobody writes to: take it as a layer."""
    return make_root(str(tmp_path_factory.mktemp("box")))


@pytest.fixture
def rootfs(box: str) -> Iterator[Rootfs]:
    """A throw-away overlay over `box`."""
    with layered(box) as plan:
        yield plan


def make_root(directory: str) -> str:
    """A root filesystem with /bin/busybox and its applets."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root"):
        os.makedirs(f"{directory}/{name}")
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, f"{directory}/bin/busybox")
    for applet in APPLETS:
        os.symlink("busybox", f"{directory}/bin/{applet}")
    with open(f"{directory}/etc/passwd", "w") as file:
        file.write(
            "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n1234:x:0:0::/:/bin/sh\n"
        )
    with open(f"{directory}/etc/group", "w") as file:
        file.write("root:x:0:\nada:x:1000:\nadm:x:4:ada\nwheel:x:10:root\n")
    return directory


def standard_mounts() -> list[dict[str, Any]]:
    """What docker gives a container, as OCI mounts."""
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*quiet, "mode=1777", "size=67108864"],
        },
    ]


MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
]  # fmt: skip
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def config(*args: str, **process: Any) -> dict[str, Any]:
    """An OCI config that runs `args`; keywords go into its process."""
    caps = {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.2.0",
        "hostname": "box",
        "process": {"args": list(args), "env": [PATH], "cwd": "/", "capabilities": caps} | process,
        "root": {"path": "rootfs"},
        "mounts": standard_mounts(),
        "linux": {
            "namespaces": [{"type": name} for name in NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }


@contextlib.contextmanager
def layered(root: str) -> Iterator[Rootfs]:
    """A throw-away overlay over the directory `root`."""
    with tempfile.TemporaryDirectory(prefix="estiva-test-", dir="/dev/shm") as directory:
        for name in ("upper", "work"):
            os.mkdir(f"{directory}/{name}")
        yield Rootfs([root], f"{directory}/upper", f"{directory}/work")


def drain(fd: int) -> bytes:
    """All that comes out of an fd until its end (EIO of a pty counts as such); closes it."""
    chunks = []
    try:
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
    except OSError:
        pass
    finally:
        os.close(fd)
    return b"".join(chunks)


def finish(init: Init, out: int) -> tuple[int, str]:
    """Start, wait and tidy up: (exit status, output). `out` is the reading end of its stdout."""
    try:
        init.ready()
        init.start()
        text = drain(out).decode(errors="replace")
        return os.waitstatus_to_exitcode(init.wait()), text
    finally:
        init.close()


def run(spec: dict[str, Any], rootfs: Rootfs, **options: Any) -> tuple[int, str]:
    """Run to the end: (exit status, stdout and stderr). A negative status is a signal's number."""
    out, into = os.pipe()
    try:
        init = container.create(spec, rootfs, id="test", stdio=(-1, into, into), **options)
    finally:
        os.close(into)
    try:
        return finish(init, out)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(out)
        raise


class Running:
    """A container that stays: `with Running(spec, rootfs) as it`, ended at the end of the block."""

    def __init__(self, spec: dict[str, Any], rootfs: Rootfs, **options: Any) -> None:
        self.out, into = os.pipe()
        self.init = container.create(spec, rootfs, id="test", stdio=(-1, into, into), **options)
        os.close(into)

    def __enter__(self) -> Running:
        self.init.ready()
        self.init.start()
        # execve hands the parent's fd back before /proc shows the new arguments
        while not self._shows_arguments():
            time.sleep(0.002)
        return self

    def _shows_arguments(self) -> bool:
        try:
            with open(f"/proc/{self.init.pid}/cmdline") as line, open(f"/proc/{self.init.pid}/stat") as stat:
                return bool(line.read()) or stat.read().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.init.signal(9)
        self.init.wait()
        self.init.close()
        os.close(self.out)

    def read(self, until: str, timeout: float = 120.0) -> str:
        """Its output up to and with `until`."""
        text = b""
        deadline = time.monotonic() + timeout
        os.set_blocking(self.out, False)
        while until.encode() not in text:
            assert time.monotonic() < deadline, f"no {until!r} in {text!r}"
            try:
                data = os.read(self.out, 4096)
            except BlockingIOError:
                time.sleep(0.005)
                continue
            assert data, f"it ended without {until!r}: {text!r}"
            text += data
        return text.decode()
