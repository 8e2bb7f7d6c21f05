"""Which cgroup hierarchies are mounted, and where: cgroups(7), cgroup-v1/cgroups.rst, cgroup-v2.rst.

A machine is "v1" when any controller is on a v1 hierarchy (then a v2 tree beside it, the hybrid layout, has
no controllers and is of no use for limits), else "v2" (one unified tree).
"""

from __future__ import annotations

import os

from estiva import files
from estiva.errors import InvalidInput, Unsupported
from estiva.linux.procinfo import unescape

DEFAULT_PARENT = "/estiva"
_LIMIT = (
    64 << 20
)  # bytes of mountinfo: a hundred thousand mounts, the kernel's own limit, are a quarter of that

# Words among a v1 mount's options that name a controller. (`name=` marks a hierarchy without one.)
V1_CONTROLLERS = frozenset(
    ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
    + ("net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc")
)
# Named hierarchies in which a supervisor tracks its processes: a container left outside would be counted to
# (and killed with) the login session it was started from.
NAMED = ("name=systemd", "name=elogind", "name=openrc")


class Layout:
    """The mounted hierarchies: `where` maps a controller to its mount point, `mounts` holds each mount
    point once.

    v1: one entry of `mounts` per hierarchy (co-mounted controllers share one), the v2 tree of the hybrid
    layout left out: that is `hybrid`, else "". v2: `mounts == (root,)`.
    """

    def __init__(
        self, version: str, mounts: tuple[str, ...], where: dict[str, str], hybrid: str = ""
    ) -> None:
        self.version = version
        self.mounts = mounts
        self.where = where
        self.hybrid = hybrid


def parse(mountinfo: str) -> Layout:
    """The layout that a /proc/PID/mountinfo tells of. Raises Unsupported when no cgroup hierarchy is
    mounted."""
    where: dict[str, str] = {}
    named: dict[str, str] = {}
    unified = ""
    for line in mountinfo.split("\n"):
        if " - cgroup" not in line:
            continue
        before, _, after = line.partition(" - ")
        fields = after.split(" ")
        point = unescape(before.split(" ")[4])
        if fields[0] == "cgroup2":
            # The same tree may be mounted twice; the usual place is the one that others will look at.
            if not unified or point == "/sys/fs/cgroup":
                unified = point
        elif fields[0] == "cgroup":
            for word in fields[-1].split(","):
                place = where if word in V1_CONTROLLERS else named if word in NAMED else None
                if place is not None and (word not in place or point.startswith("/sys/fs/cgroup/")):
                    place[word] = point
    if where:
        mounts = tuple(dict.fromkeys([*where.values(), *named.values()]))
        return Layout("v1", mounts, where, unified)
    if unified:
        return Layout("v2", (unified,), {})
    raise Unsupported("no cgroup hierarchy is mounted", hint="mount cgroup2 at /sys/fs/cgroup")


_known: Layout | None = None


def layout() -> Layout:
    """The layout of this process's mount namespace, read once. Raises Unsupported."""
    global _known
    if _known is None:
        told = files.read_bounded("/proc/self/mountinfo", _LIMIT)
        _known = parse(told.decode("utf-8", "surrogateescape"))
    return _known


def version() -> str:
    """ "v1" (also hybrid) or "v2". Raises Unsupported when neither is mounted."""
    return layout().version


def clean(path: str) -> str:
    """A cgroup path in its one spelling: absolute, single slashes, no end slash, no `.` or `..`.

    Names come from users (--cgroup-parent) and bundles (linux.cgroupsPath), so nothing in them may lead out
    of the hierarchy (K9): a `..` takes the name before it away, and at the root it means nothing, as for
    runc. Raises InvalidInput, also when nothing is left, since no container may have the root.
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if not path.startswith("/") or not parts or not path.isprintable():
        raise InvalidInput(
            f"{path!r} is not the path of a cgroup", hint="give an absolute path such as /estiva"
        )
    return "/" + "/".join(parts)


def parent() -> str:
    """The cgroup under which containers get theirs: ESTIVA_CGROUP_PARENT or /estiva. Raises InvalidInput."""
    return clean(os.environ.get("ESTIVA_CGROUP_PARENT") or DEFAULT_PARENT)


def resolve(cgroups_path: str, container_id: str) -> str:
    """The cgroup path for a bundle's linux.cgroupsPath (runtime-spec config-linux.md, "Cgroups Path").

    Absolute: as it is. Empty: below `parent()`. Relative: below `parent()`, whatever `..` are in it.
    systemd's SLICE:PREFIX:NAME, which callers of runc use, becomes the place that systemd would give the
    scope: a-b.slice is /a.slice/a-b.slice.
    """
    if not cgroups_path:
        return clean(f"{parent()}/{container_id}")
    if cgroups_path.startswith("/"):
        return clean(cgroups_path)
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        return parent() + clean(f"/{cgroups_path}")
    slice_name, prefix, name = parts
    steps = (slice_name or "system.slice").removesuffix(".slice").split("-")
    slices = ["-".join(steps[: count + 1]) + ".slice" for count in range(len(steps))] if steps != [""] else []
    scope = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    return clean("/" + "/".join([*slices, scope]))
