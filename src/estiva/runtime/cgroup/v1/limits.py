"""OCI linux.resources as cgroup v1 limits. Only what is named is written.

runtime-spec config-linux.md, "Control groups"; kernel: Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import errno
import os

from estiva.errors import InvalidInput, LimitRefused, Unsupported
from estiva.runtime.cgroup.control import (
    device,
    hugepage_name,
    limit,
    listed,
    number_or_none,
    part,
    put,
    rdma,
    read_or,
    refused,
    size,
    text,
    whole,
)
from estiva.runtime.cgroup.devices import normalise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Place = Callable[[str], str]


def apply(place: Place, resources: dict[str, Any]) -> None:
    """Set every limit that `resources` names; `place` gives the directory in a controller's
    hierarchy.

    Raises InvalidInput, LimitRefused, Unsupported.
    """
    if resources.get("unified"):
        raise Unsupported("linux.resources.unified needs cgroup v2, and this machine has v1")
    if memory := part(resources, "memory"):
        _memory(place("memory"), memory)
    if cpu := part(resources, "cpu"):
        _cpu(place("cpu"), cpu)
        _cpuset(place("cpuset"), cpu)
    pids = whole(part(resources, "pids"), "limit", "pids")
    if pids is not None:
        limit(place("pids") + "/pids.max", "max" if pids < 0 else str(pids), "pids limit", str(pids))
    if block := part(resources, "blockIO"):
        _block(place("blkio"), block)
    if rules := listed(resources, "devices", ""):
        _devices(place("devices"), rules)
    for entry in listed(resources, "hugepageLimits", ""):
        _hugepages(place("hugetlb"), entry)
    if network := part(resources, "network"):
        _network(place, network)
    for name, entry in part(resources, "rdma").items():
        words = rdma(name, entry)
        limit(place("rdma") + "/rdma.max", words, "rdma limit", words)


def _memory(place: str, memory: dict[str, Any]) -> None:
    hard, swap = whole(memory, "limit", "memory"), whole(memory, "swap", "memory")
    hard, swap = hard or None, swap or None  # 0 means that it isn't set
    if hard is not None and hard < 0 and swap is None:
        swap = -1  # memory+swap may not be below memory
    _memory_and_swap(place, hard, swap)
    reservation = whole(memory, "reservation", "memory")
    if reservation:
        shown = size(reservation)
        limit(place + "/memory.soft_limit_in_bytes", str(reservation), "memory reservation", shown)
    swappiness = whole(memory, "swappiness", "memory")
    if swappiness is not None and swappiness >= 0:
        limit(place + "/memory.swappiness", str(swappiness), "memory swappiness")
    tcp = whole(memory, "kernelTCP", "memory")
    if tcp:
        limit(place + "/memory.kmem.tcp.limit_in_bytes", str(tcp), "kernel memory for tcp", size(tcp))
    if memory.get("disableOOMKiller") is not None:
        limit(place + "/memory.oom_control", "1" if memory["disableOOMKiller"] else "0", "oom-kill-disable")


def _memory_and_swap(place: str, hard: int | None, swap: int | None) -> None:
    """At every moment memory.memsw.limit must be at least memory.limit, so what grows is written first."""
    swap_file = place + "/memory.memsw.limit_in_bytes"
    if swap is not None and not os.path.exists(swap_file):
        swap = None  # no swap accounting: `warnings` tells so
    swap_step = (swap_file, swap, "memory and swap limit")
    steps = [(place + "/memory.limit_in_bytes", hard, "memory limit")]
    if swap is not None:
        now = number_or_none(read_or(swap_file))
        grows = now is not None and (swap < 0 or swap > now)
        steps.insert(0 if grows else 1, swap_step)
    for path, value, option in steps:
        if value is not None:
            hint = ""
            if hard is not None and swap is not None and 0 < swap < hard:
                hint = f"memory and swap together ({size(swap)}) can't be less than memory ({size(hard)})"
            limit(path, str(value), option, size(value), hint)


def _cpu(place: str, cpu: dict[str, Any]) -> None:
    shares = whole(cpu, "shares", "cpu")
    if shares:
        # The kernel would silently take the nearest in range.
        if not 2 <= shares <= 262144:
            raise LimitRefused(f"cpu shares {shares} is refused: the minimum is 2, the maximum 262144")
        limit(place + "/cpu.shares", str(shares), "cpu shares")
    _bandwidth(place, cpu)
    _realtime(place, cpu)
    idle = whole(cpu, "idle", "cpu")
    if idle is not None:
        limit(place + "/cpu.idle", str(idle), "cpu idle")


def _either_order(first: tuple[str, int, str], second: tuple[str, int, str]) -> None:
    """Two limits of which the kernel may refuse the one until the other is set."""
    try:
        put(first[0], str(first[1]))
    except OSError:
        limit(second[0], str(second[1]), second[2])
        limit(first[0], str(first[1]), first[2])
    else:
        limit(second[0], str(second[1]), second[2])


def _bandwidth(place: str, cpu: dict[str, Any]) -> None:
    quota, period, burst = (whole(cpu, field, "cpu") for field in ("quota", "period", "burst"))
    period_step = (place + "/cpu.cfs_period_us", period or 0, "cpu period")
    quota_step = (place + "/cpu.cfs_quota_us", quota or 0, "cpu quota")
    if burst == 0:  # before the quota, which may be going below the burst that stands
        limit(place + "/cpu.cfs_burst_us", "0", "cpu burst")
    # The ratio may not pass the parent's in between.
    if period and quota:
        _either_order(period_step, quota_step)
    elif period:
        limit(period_step[0], str(period), "cpu period")
    elif quota:
        limit(quota_step[0], str(quota), "cpu quota")
    if burst:
        limit(place + "/cpu.cfs_burst_us", str(burst), "cpu burst")


def _realtime(place: str, cpu: dict[str, Any]) -> None:
    period, runtime = whole(cpu, "realtimePeriod", "cpu"), whole(cpu, "realtimeRuntime", "cpu")
    hint = "every cgroup above needs as much in its cpu.rt_runtime_us"
    if period and runtime:
        try:
            put(place + "/cpu.rt_period_us", str(period))
        except OSError:
            limit(place + "/cpu.rt_runtime_us", str(runtime), "realtime runtime", hint=hint)
            limit(place + "/cpu.rt_period_us", str(period), "realtime period", hint=hint)
            return
    elif period:
        limit(place + "/cpu.rt_period_us", str(period), "realtime period", hint=hint)
    if runtime:
        limit(place + "/cpu.rt_runtime_us", str(runtime), "realtime runtime", hint=hint)


def _cpuset(place: str, cpu: dict[str, Any]) -> None:
    for field, name in (("cpus", "cpuset cpus"), ("mems", "cpuset mems")):
        value = text(cpu, field, "cpu")
        if value:
            hint = "the cpus or nodes must exist and be allowed to the cgroup above"
            limit(f"{place}/cpuset.{field}", value, name, hint=hint)


def block_weight_file(place: str, suffix: str = "") -> str:
    """The control file of block weights: of the bfq scheduler (since 5.0), or the old one; "" without
    either."""
    for name in ("/blkio.bfq.weight", "/blkio.weight"):
        if os.path.exists(place + name + suffix):
            return place + name + suffix
    return ""


def _block(place: str, block: dict[str, Any]) -> None:
    weight = whole(block, "weight", "blockIO")
    if weight and (path := block_weight_file(place)):
        limit(path, str(weight), "block io weight")
    for entry in listed(block, "weightDevice", "blockIO"):
        where, weight = device(entry, "blockIO.weightDevice"), whole(entry, "weight", "blockIO.weightDevice")
        if weight and (path := block_weight_file(place, "_device")):
            limit(path, f"{where} {weight}", "block io device weight")
    for field, name, option in (
        ("throttleReadBpsDevice", "read_bps_device", "device read rate (bytes/s)"),
        ("throttleWriteBpsDevice", "write_bps_device", "device write rate (bytes/s)"),
        ("throttleReadIOPSDevice", "read_iops_device", "device read rate (operations/s)"),
        ("throttleWriteIOPSDevice", "write_iops_device", "device write rate (operations/s)"),
    ):
        for entry in listed(block, field, "blockIO"):
            where, rate = device(entry, f"blockIO.{field}"), whole(entry, "rate", f"blockIO.{field}")
            if rate is None:
                raise InvalidInput(f"linux.resources.blockIO.{field} needs a rate")
            limit(f"{place}/blkio.throttle.{name}", f"{where} {rate}", option)


def _devices(place: str, rules: list[dict[str, Any]]) -> None:
    """One write a rule, in the order given; each of the two files is opened once, as there are a dozen
    rules."""
    allow = deny = -1
    try:
        for rule in normalise(rules):
            try:
                if rule.allow:
                    if allow < 0:
                        allow = os.open(place + "/devices.allow", os.O_WRONLY | os.O_CLOEXEC)
                    os.write(allow, rule.v1().encode())
                else:
                    if deny < 0:
                        deny = os.open(place + "/devices.deny", os.O_WRONLY | os.O_CLOEXEC)
                    os.write(deny, rule.v1().encode())
            except OSError as error:
                hint = "the cgroup above does not allow it" if error.errno == errno.EPERM else ""
                raise refused("device rule", rule.v1(), error, hint) from error
    finally:
        for fd in (allow, deny):
            if fd >= 0:
                os.close(fd)


def _hugepages(place: str, entry: dict[str, Any]) -> None:
    name, value = hugepage_name(entry), whole(entry, "limit", "hugepageLimits")
    if value is None:
        raise InvalidInput("linux.resources.hugepageLimits needs a limit")
    reserved = f"{place}/hugetlb.{name}.rsvd.limit_in_bytes"
    if os.path.exists(reserved):
        limit(reserved, str(value), f"{name} huge page reservation limit", size(value))
    limit(f"{place}/hugetlb.{name}.limit_in_bytes", str(value), f"{name} huge page limit", size(value))


def _network(place: Place, network: dict[str, Any]) -> None:
    class_id = whole(network, "classID", "network")
    if class_id is not None:
        limit(place("net_cls") + "/net_cls.classid", str(class_id), "network class id")
    for entry in listed(network, "priorities", "network"):
        name, priority = (
            text(entry, "name", "network.priorities"),
            whole(entry, "priority", "network.priorities"),
        )
        if not name or not name.isprintable() or " " in name or priority is None:
            raise InvalidInput("linux.resources.network.priorities needs name and priority")
        limit(place("net_prio") + "/net_prio.ifpriomap", f"{name} {priority}", "network priority")
