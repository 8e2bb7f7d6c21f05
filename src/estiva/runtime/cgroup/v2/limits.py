"""OCI linux.resources as cgroup v2 limits. Only what is named is written.

runtime-spec config-linux.md, "Control groups"; kernel: Documentation/admin-guide/cgroup-v2.rst. The
specification's fields were drawn for v1; where the unit differs, the conversion is the one that runc and
crun use.
"""

from __future__ import annotations

import errno
import os

from estiva.errors import InvalidInput, LimitRefused, Unsupported, oneline
from estiva.linux.procinfo import in_user_namespace
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def cpu_weight(shares: int) -> int:
    """cpu.weight (1..10000, default 100) for cpu.shares (2..262144, default 1024).

    A quadratic in log2 that takes lowest, default and highest to lowest, default and highest: runc since
    1.3.2, crun since 1.23. The former straight line gave 1024 shares a weight of 39.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    level = log2(shares)
    return ceil(10 ** ((level * level + 125 * level) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """io.weight (1..10000) for blkio.weight (10..1000): a straight line."""
    return 1 + (weight - 10) * 9999 // 990


def apply(root: str, path: str, resources: dict[str, Any]) -> None:
    """Set every limit that `resources` names for the cgroup `path` of the tree that is mounted at `root`.

    Raises InvalidInput, LimitRefused, Conflict.
    """
    place = root + path
    _have_controllers(root, path, resources)
    if memory := part(resources, "memory"):
        _memory(place, memory)
    if cpu := part(resources, "cpu"):
        _cpu(place, cpu)
    pids = whole(part(resources, "pids"), "limit", "pids")
    if pids is not None:
        limit(place + "/pids.max", "max" if pids < 0 else str(pids), "pids limit", str(pids))
    if block := part(resources, "blockIO"):
        _block(place, block)
    for entry in listed(resources, "hugepageLimits", ""):
        name, value = hugepage_name(entry), whole(entry, "limit", "hugepageLimits")
        if value is None:
            raise InvalidInput("linux.resources.hugepageLimits needs a limit")
        reserved = f"{place}/hugetlb.{name}.rsvd.max"
        if os.path.exists(reserved):
            limit(reserved, str(value), f"{name} huge page reservation limit", size(value))
        limit(f"{place}/hugetlb.{name}.max", str(value), f"{name} huge page limit", size(value))
    for name, entry in part(resources, "rdma").items():
        words = rdma(name, entry)
        limit(place + "/rdma.max", words, "rdma limit", words)
    if rules := listed(resources, "devices", ""):
        _devices(root, path, rules)
    for key, value in part(resources, "unified").items():
        _unified(place, key, value)


def _have_controllers(root: str, path: str, resources: dict[str, Any]) -> None:
    """Switch on what the limits need beyond what every container has."""
    wanted = {
        name for name, field in (("hugetlb", "hugepageLimits"), ("rdma", "rdma")) if resources.get(field)
    }
    cpu = part(resources, "cpu")
    if cpu.get("cpus") or cpu.get("mems"):
        wanted.add("cpuset")
    for key in part(resources, "unified"):
        wanted.add(str(key).partition(".")[0])
    wanted -= {"cgroup"}
    if wanted:
        from estiva.runtime.cgroup.v2.tree import enable

        enable(root, path, wanted)


def _memory(place: str, memory: dict[str, Any]) -> None:
    hard, swap = whole(memory, "limit", "memory"), whole(memory, "swap", "memory")
    if hard and hard > 0 and memory.get("checkBeforeUpdate"):
        used = number_or_none(read_or(place + "/memory.current"))
        if used is not None and used > hard:
            raise LimitRefused(f"memory limit {size(hard)} is refused: {size(used)} are in use already")
    if swap and os.path.exists(place + "/memory.swap.max"):
        value, shown = "max", "unlimited"
        if swap > 0:
            if not hard:
                now = number_or_none(read_or(place + "/memory.max"))
                if now is None:
                    raise InvalidInput("a memory and swap limit needs a memory limit")
                hard_now = now
            else:
                hard_now = hard
            if hard_now < 0 or swap < hard_now:
                raise LimitRefused(
                    f"memory and swap limit {size(swap)} is refused: it is less than the memory limit "
                    f"{size(hard_now)}"
                )
            value, shown = str(swap - hard_now), size(swap)
        limit(place + "/memory.swap.max", value, "memory and swap limit", shown)
    if hard:
        limit(place + "/memory.max", "max" if hard < 0 else str(hard), "memory limit", size(hard))
    reservation = whole(memory, "reservation", "memory")
    if reservation:
        value = "max" if reservation < 0 else str(reservation)
        limit(place + "/memory.low", value, "memory reservation", size(reservation))


def _cpu(place: str, cpu: dict[str, Any]) -> None:
    shares = whole(cpu, "shares", "cpu")
    if shares:
        if not 2 <= shares <= 262144:
            raise LimitRefused(f"cpu shares {shares} is refused: the minimum is 2, the maximum 262144")
        limit(place + "/cpu.weight", str(cpu_weight(shares)), "cpu shares", str(shares))
    _bandwidth(place, cpu)
    idle = whole(cpu, "idle", "cpu")
    if idle is not None:
        limit(place + "/cpu.idle", str(idle), "cpu idle")
    for field in ("cpus", "mems"):
        value = text(cpu, field, "cpu")
        if value:
            hint = "the cpus or nodes must exist and be allowed to the cgroup above"
            limit(f"{place}/cpuset.{field}", value, f"cpuset {field}", hint=hint)


def _bandwidth(place: str, cpu: dict[str, Any]) -> None:
    """cpu.max is "QUOTA PERIOD", cpu.max.burst at most the quota."""
    quota, period, burst = (whole(cpu, field, "cpu") for field in ("quota", "period", "burst"))
    if burst == 0:
        limit(place + "/cpu.max.burst", "0", "cpu burst")
    if quota or period:
        amount, _, rest = read_or(place + "/cpu.max", "max 100000").partition(" ")
        if quota:
            amount = str(quota) if quota > 0 else "max"
        option = "cpu quota" if quota else "cpu period"
        limit(f"{place}/cpu.max", f"{amount} {period or rest}", option, str(quota or period))
    if burst:
        limit(place + "/cpu.max.burst", str(burst), "cpu burst")


def _block(place: str, block: dict[str, Any]) -> None:
    weight = whole(block, "weight", "blockIO")
    if weight:
        _weight(place, "", weight, "block io weight")
    for entry in listed(block, "weightDevice", "blockIO"):
        where, weight = device(entry, "blockIO.weightDevice"), whole(entry, "weight", "blockIO.weightDevice")
        if weight:
            _weight(place, where + " ", weight, "block io device weight")
    for field, key, option in (
        ("throttleReadBpsDevice", "rbps", "device read rate (bytes/s)"),
        ("throttleWriteBpsDevice", "wbps", "device write rate (bytes/s)"),
        ("throttleReadIOPSDevice", "riops", "device read rate (operations/s)"),
        ("throttleWriteIOPSDevice", "wiops", "device write rate (operations/s)"),
    ):
        for entry in listed(block, field, "blockIO"):
            where, rate = device(entry, f"blockIO.{field}"), whole(entry, "rate", f"blockIO.{field}")
            if rate is None:
                raise InvalidInput(f"linux.resources.blockIO.{field} needs a rate")
            # v1 lifts a limit by 0.
            limit(place + "/io.max", f"{where} {key}={rate or 'max'}", option, f"{where} {rate}")


def _weight(place: str, prefix: str, weight: int, option: str) -> None:
    """bfq has the range of the specification; io.weight (io.cost) has its own. Without both: `warnings`
    tells."""
    if not 10 <= weight <= 1000:
        raise refused(option, f"{prefix}{weight}", OSError(errno.ERANGE, ""), "from 10 to 1000")
    if os.path.exists(place + "/io.bfq.weight"):
        limit(place + "/io.bfq.weight", f"{prefix}{weight}", option)
    elif os.path.exists(place + "/io.weight"):
        limit(place + "/io.weight", f"{prefix}{io_weight(weight)}", option, f"{prefix}{weight}")


def _unified(place: str, key: str, value: Any) -> None:
    """One file of the specification's `unified` map. Its name must stay a name (K9)."""
    if not isinstance(key, str) or "/" in key or "." not in key.strip(".") or not key.isprintable():
        raise InvalidInput(f"linux.resources.unified has {key!r}, which is not the name of a control file")
    if not isinstance(value, str):
        raise InvalidInput(f"linux.resources.unified.{key} is not a string")
    # Files such as io.max take one line a write.
    for line in value.split("\n"):
        if line:
            try:
                put(f"{place}/{key}", line)
            except OSError as error:
                raise refused(oneline(key), line, error) from error


def _devices(root: str, path: str, rules: list[dict[str, Any]]) -> None:
    """Attach a BPF program for the rules, then take off the one before, so that at no moment there is
    none."""
    from estiva.linux import bpf
    from estiva.runtime.cgroup.devices import program

    code = program(rules)
    fd = os.open(root + path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    loaded = -1
    try:
        before = bpf.attached_device_programs(fd)
        loaded = bpf.load_device_program(code)
        bpf.attach_device_program(fd, loaded)
        for program_id in before:
            bpf.detach_device_program(fd, program_id)
    except OSError as error:
        # In a user namespace no one may attach it, and no one can make a device node that works either.
        if error.errno == errno.EPERM and not real_root():
            return
        why = os.strerror(error.errno or 0).lower()
        raise Unsupported(f"the device rules of cgroup {path} can't be set: bpf: {why}") from error
    finally:
        os.close(fd)
        if loaded >= 0:
            os.close(loaded)


def real_root() -> bool:
    """Whether the caller is uid 0 of the first user namespace."""
    return os.geteuid() == 0 and not in_user_namespace()
