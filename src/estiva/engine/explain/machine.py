"""`doctor`: what the kernel and the packages of this machine lack, and what to install.

Looked at, not tried, save the store's own probe of layers: nothing is mounted, loaded or made. A module that
can be loaded counts as there, since the kernel loads it on first use.
"""

from __future__ import annotations

import os

from estiva import programs
from estiva.errors import EstivaError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiva.engine import Engine

OK, MISSING, OPTIONAL = "ok", "missing", "optional"
_LIMIT = 16 << 20  # bytes of modules.dep
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
# program, package on Debian and Ubuntu, whether containers need it, what for
PROGRAMS = (
    ("nft", "nftables", True, "networks of containers"),
    ("mkfs.erofs", "erofs-utils", False, "layers that are mounted instead of extracted"),
    ("dash", "dash", False, "monitors that wait in 0.3 MB of memory"),
    ("ps", "procps", False, "`estiva top`"),
    ("criu", "criu", False, "checkpoints of estiva-oci"),
    ("newuidmap", "uidmap", False, "user namespaces of other users than root"),
)
MODULES = (
    ("overlay", True, "root filesystems"),
    ("bridge", True, "networks of containers"),
    ("veth", True, "networks of containers"),
    ("nf_tables", True, "published ports and isolation"),
    ("erofs", False, "layers that are mounted instead of extracted"),
    ("macvlan", False, "networks of the driver macvlan"),
    ("ipvlan", False, "networks of the driver ipvlan"),
)


class Finding:
    """One thing: its `name`, whether it is there (OK, MISSING, OPTIONAL: not there and not needed), `why` it
    is wanted, and the `package` that has it."""

    def __init__(self, name: str, state: str, why: str, package: str = "") -> None:
        self.name = name
        self.state = state
        self.why = why
        self.package = package


def examine(engine: Engine) -> list[Finding]:
    """All that Estiva uses, as it is on this machine."""
    return [*_kernel(), *_cgroups(), *_packages(), *_store(engine)]


def install(found: list[Finding], *, needed: bool) -> str:
    """The command that installs what is `needed`, or all else that is missing; "" for nothing."""
    state = MISSING if needed else OPTIONAL
    packages = sorted({each.package for each in found if each.package and each.state == state})
    return f"apt install {' '.join(packages)}" if packages else ""


def _state(there: bool, needed: bool) -> str:
    return OK if there else MISSING if needed else OPTIONAL


def _kernel() -> Iterator[Finding]:
    release = os.uname().release
    yield Finding(f"Linux {release}", _state(_version(release) >= (5, 6), True), "5.6 or newer")
    for name in NAMESPACES:
        there = os.path.exists(f"/proc/self/ns/{name}")
        yield Finding(f"namespace {name}", _state(there, True), "isolation")
    yield Finding(
        "namespace time", _state(os.path.exists("/proc/self/ns/time"), False), "a container's own clock"
    )
    filters = os.path.exists("/proc/sys/kernel/seccomp/actions_avail")
    yield Finding("seccomp filters", _state(filters, True), "system calls that containers must not make")
    known = modules(release)
    filesystems = _read("/proc/filesystems").split()
    for name, needed, why in MODULES:
        there = name in known or name in filesystems or os.path.isdir(f"/sys/module/{name}")
        if there or known:  # a kernel without a list of modules may have it built in: not told
            yield Finding(f"kernel module {name}", _state(there, needed), why)
    yield Finding("/dev/fuse", _state(os.path.exists("/dev/fuse"), False), "FUSE inside of containers")


def _version(release: str) -> tuple[int, ...]:
    numbers = release.split("-")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdigit())


def modules(release: str) -> set[str]:
    """The modules that this kernel has, built in or to be loaded; empty where that is not written down."""
    found = set()
    for name in ("modules.builtin", "modules.dep"):
        for line in _read(f"/lib/modules/{release}/{name}").splitlines():
            file = line.partition(":")[0].rpartition("/")[2]
            found.add(file.partition(".ko")[0].replace("-", "_"))
    return found


def _cgroups() -> Iterator[Finding]:
    from estiva.runtime.cgroup.layout import layout

    try:
        places = layout()
    except Unsupported as error:
        yield Finding("cgroups", MISSING, f"{error}: {error.hint}")
        return
    if places.version == "v2":
        has = set(_read(places.mounts[0] + "/cgroup.controllers").split())
        io = "io" in has
    else:
        has, io = set(places.where), "blkio" in places.where
    for name in CONTROLLERS:
        yield Finding(
            f"cgroup {places.version} {name}", _state(name in has, True), "limits, and an end for all"
        )
    yield Finding(f"cgroup {places.version} io", _state(io, False), "limits of block devices")


def _packages() -> Iterator[Finding]:
    from estiva.linux import seccomp

    try:
        seccomp.library()
        there = True
    except EstivaError:
        there = False
    yield Finding("libseccomp", _state(there, True), "seccomp filters", "libseccomp2")
    for program, package, needed, why in PROGRAMS:
        yield Finding(program, _state(bool(programs.find(program)), needed), why, package)


def _store(engine: Engine) -> Iterator[Finding]:
    try:
        yield Finding(f"layers by {engine.store.layers.driver}", OK, "images")
    except EstivaError as error:
        yield Finding("layers", MISSING, f"{error}" + (f": {error.hint}" if error.hint else ""))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_LIMIT)
    except OSError:
        return ""
