"""Options that this machine's cgroups don't have and that are passed over, as docker does, with a warning."""

from __future__ import annotations

import os

from estiva.runtime.cgroup.control import part
from estiva.runtime.cgroup.layout import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _any_child_has(mount: str, name: str) -> bool:
    """Whether a cgroup that isn't the root has the control file (on v2 the root has hardly any)."""
    try:
        with os.scandir(mount) as entries:
            return any(entry.is_dir() and os.path.exists(f"{entry.path}/{name}") for entry in entries)
    except OSError:
        return False


def warnings(resources: dict[str, Any]) -> list[str]:
    """One line for each option in `resources` that has no effect here."""
    places = layout()
    memory, cpu = part(resources, "memory"), part(resources, "cpu")
    block = part(resources, "blockIO")
    found = []
    tcp = places.version == "v2" and (memory.get("kernelTCP") or 0) > 0
    if (memory.get("kernel") or 0) > 0 or tcp:
        found.append("the kernel memory limit has no effect: the kernel has dropped it")
    leaves = [block, *(block.get("weightDevice") or ())]
    if any(entry.get("leafWeight") for entry in leaves):
        found.append("the block io leaf weight has no effect: the kernel has dropped it")
    if places.version == "v2":
        if memory.get("swappiness") is not None:
            found.append("memory swappiness has no effect: cgroup v2 does not have it")
        if memory.get("disableOOMKiller"):
            found.append("oom-kill-disable has no effect: cgroup v2 does not have it")
        if cpu.get("realtimeRuntime") or cpu.get("realtimePeriod"):
            found.append("realtime runtime and period have no effect: cgroup v2 does not have them")
        if part(resources, "network"):
            found.append("network class and priorities have no effect: cgroup v2 does not have them")
        swap = _any_child_has(places.mounts[0], "memory.swap.max")
        weight = any(_any_child_has(places.mounts[0], name) for name in ("io.weight", "io.bfq.weight"))
    else:
        swap = os.path.exists(places.where.get("memory", "") + "/memory.memsw.limit_in_bytes")
        blkio = places.where.get("blkio", "")
        weight = any(os.path.exists(f"{blkio}/blkio.{name}") for name in ("weight", "bfq.weight"))
        weight = weight or any(_any_child_has(blkio, f"blkio.{name}") for name in ("weight", "bfq.weight"))
    if memory.get("swap") and not swap:
        found.append("the swap limit has no effect: the kernel does not account for swap")
    if (block.get("weight") or block.get("weightDevice")) and not weight:
        found.append("the block io weight has no effect: no scheduler here knows weights")
    return found
