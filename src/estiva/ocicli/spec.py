"""`spec` of estiva-oci: a config.json to begin with."""

from __future__ import annotations

import os

from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import Conflict, Unsupported
from estiva.ocicli import output
from estiva.ocicli.main import SPEC_VERSION
from estiva.runtime.security import kernel_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.ocicli.main import Context

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def _mount(destination: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
    entry: dict[str, Any] = {"destination": destination, "type": kind, "source": source or kind}
    if options:
        entry["options"] = list(options)
    return entry


def _mounts(rootless: bool) -> list[dict[str, Any]]:
    quiet = ("nosuid", "noexec", "nodev")
    pts = [*quiet[:2], "newinstance", "ptmxmode=0666", "mode=0620"]
    if not rootless:
        pts.append("gid=5")  # tty; an ordinary user has no such group to give
    mounts = [
        _mount("/proc", "proc"),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", *pts),
        _mount("/dev/shm", "tmpfs", *quiet, "mode=1777", "size=65536k", source="shm"),
        _mount("/dev/mqueue", "mqueue", *quiet),
    ]
    if rootless:
        mounts.append(_mount("/sys", "none", "rbind", *quiet, "ro", source="/sys"))
    else:
        mounts.append(_mount("/sys", "sysfs", *quiet, "ro"))
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", *quiet, "relatime", "ro"))
    return mounts


def _unified() -> bool:
    """Whether this machine has cgroup v2 alone: a cgroup namespace is usual there, and as usual not on v1."""
    from estiva.runtime.cgroup.layout import version

    try:
        return version() == "v2"
    except Unsupported:
        return False


def example(rootless: bool) -> dict[str, Any]:
    """A container that runs `sh` on a terminal with hardly any rights."""
    kinds = ["pid", "network", "ipc", "uts", "mount"]
    if _unified():
        kinds.append("cgroup")
    linux: dict[str, Any] = {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    if rootless:
        kinds = [kind for kind in kinds if kind != "network"] + ["user"]
        linux = {
            "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        }
    linux["namespaces"] = [{"type": kind} for kind in kinds]
    linux["maskedPaths"] = list(kernel_paths.MASKED_PATHS)
    linux["readonlyPaths"] = list(kernel_paths.READONLY_PATHS)
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "estiva",
        "mounts": _mounts(rootless),
        "linux": linux,
    }


def spec(context: Context, options: Options) -> int:
    path = os.path.join(options.text("bundle") or ".", "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Conflict(f"file {path} exists", hint="remove it first") from None
    with open(fd, "w") as file:
        file.write(output.pretty(example(options.flag("rootless"))) + "\n")
    return 0


SPEC = Verb(
    spec,
    "",
    "Write a config.json to begin with",
    (
        ("b", "bundle", TEXT, "DIR", "where to (default: the current directory)"),
        ("", "rootless", FLAG, "", "for an ordinary user"),
    ),
    most=0,
)
