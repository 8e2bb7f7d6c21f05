"""What is above a cgroup in the v2 tree: where the caller is, and which controllers are handed down.

cgroup-v2.rst, "Enabling and Disabling", "No Internal Process Constraint" and "Threads".
"""

from __future__ import annotations

import errno
import os

from estiva.errors import Conflict
from estiva.runtime.cgroup.base import denied, listed, step_error
from estiva.runtime.cgroup.control import put, read, read_or

# Controllers that can divide between threads (cgroup-v2.rst, "Threads").
THREADED = ("cpu", "cpuset", "perf_event", "pids")


# Where processes go that stand in the way of the "no internal processes" rule in our own cgroup.
LEAF = "estiva.init"


def own_cgroup(strip: bool = True) -> str:
    """The caller's cgroup in the v2 tree, from the mount's root; "" for the root. With `strip` the one that
    was delegated: the leaf that `evacuate` made is not counted."""
    for line in read("/proc/self/cgroup").split("\n"):
        if line.startswith("0::"):
            path = line[3:].rstrip("/")
            return path.removesuffix("/" + LEAF) if strip else path
    return ""


def enable(root: str, path: str, wanted: set[str]) -> None:
    """Switch controllers on for a cgroup: in cgroup.subtree_control of every cgroup above it, from the root
    down.

    What the machine has not, or what was not delegated to the caller, stays off: the limit that needs it is
    then refused by name. Raises Conflict for a cgroup that has processes of its own, or is threaded.
    """
    above = path.split("/")[:-1]
    for depth in range(1, len(above) + 1):
        place = "/".join(above[:depth])
        control = f"{root}{place}/cgroup.subtree_control"
        missing = wanted & set(read_or(f"{root}{place}/cgroup.controllers").split())
        missing -= set(read_or(control).split())
        # All in one write. Should one of them be impossible, the others are still to be had; those of
        # THREADED last, because with one of them alone a cgroup with processes turns into the root of a
        # threaded subtree.
        if missing and not _switch_on(control, missing, root, place):
            for name in sorted(missing, key=lambda name: (name in THREADED, name)):
                _switch_on(control, {name}, root, place)


def _switch_on(control: str, names: set[str], root: str, place: str) -> bool:
    """Write to cgroup.subtree_control; False when the kernel says no. Raises Conflict."""
    for _ in range(5):
        try:
            put(control, " ".join(["+" + name for name in sorted(names)]))
            return True
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
                return False
            # Our own delegated cgroup, or the root of our cgroup namespace: its processes may be moved.
            if place == own_cgroup() and evacuate(root + place):
                continue
            if error.errno == errno.EOPNOTSUPP:
                raise step_error("can't limit what is below cgroup", place, error) from error
            raise Conflict(
                f"cgroup {place} has processes of its own, so it can't limit the cgroups below it",
                hint="give --cgroup-parent a cgroup without processes",
            ) from error
    return False


def evacuate(directory: str) -> bool:
    """Move the processes of our own delegated cgroup into a leaf below it; False when there were none.

    A cgroup other than the real root hands out controllers only while it has no processes itself ("no
    internal processes" in cgroup-v2.rst). Its processes are the caller's and those it shares a scope or a
    container with.
    """
    # 0 is a process of an outer pid namespace, which can't be named; written, it would be ourselves
    pids = [str(pid) for pid in listed(directory) if pid]
    if not pids:
        return False
    leaf = f"{directory}/{LEAF}"
    try:
        os.makedirs(leaf, 0o755, exist_ok=True)
    except OSError as error:
        raise denied(leaf, error) from error
    for pid in pids:
        try:
            put(leaf + "/cgroup.procs", pid)
        except OSError as error:
            # a kernel thread can't be moved; others may just have ended
            if error.errno not in (errno.ESRCH, errno.EINVAL):
                raise step_error("can't move a process to cgroup", leaf, error) from error
    return True
