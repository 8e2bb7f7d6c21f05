"""The limits in a HostConfig: the rules between them, and the OCI linux.resources that they become.

Loaded only when something is limited. `check` refuses, in the words of Docker's daemon, what can't be or
doesn't go together, before anything is made.
"""

from __future__ import annotations

import os

from estiva.engine.spec.defaults import PIDS_LIMIT
from estiva.errors import InvalidInput, oneline
from estiva.runtime.security import device_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import HostConfig

CPU_PERIOD = 100_000  # microseconds
MIN_SHARES, MAX_SHARES = 2, 262_144  # kernel/sched/sched.h
MIN_MEMORY = 6 << 20  # bytes
MAX_PIDS = 4_194_304  # PID_MAX_LIMIT of include/linux/threads.h
LISTED = frozenset("0123456789,-")
ONLINE = "/sys/devices/system/{}/online"
MAX_LISTED = 8192  # NR_CPUS of the largest kernels

# HostConfig key -> linux.resources.blockIO field
THROTTLES = (
    ("BlkioDeviceReadBps", "throttleReadBpsDevice"),
    ("BlkioDeviceWriteBps", "throttleWriteBpsDevice"),
    ("BlkioDeviceReadIOps", "throttleReadIOPSDevice"),
    ("BlkioDeviceWriteIOps", "throttleWriteIOPSDevice"),
)


def check(host: HostConfig) -> None:
    """Raises InvalidInput when the limits in a HostConfig can't be, or don't go together. That its values
    are of their types is known (judge.py)."""
    _check_memory(host)
    _check_cpu(host)
    get = host.get
    if not -1000 <= (get("OomScoreAdj") or 0) <= 1000:
        raise InvalidInput(f"invalid value {host['OomScoreAdj']}, range for oom score adj is [-1000, 1000]")
    if (get("PidsLimit") or 0) > MAX_PIDS:
        raise InvalidInput(f"invalid pids limit {host['PidsLimit']}, the most is {MAX_PIDS}")
    if (get("ShmSize") or 0) < 0:
        raise InvalidInput("shm size can not be less than 0")
    if get("BlkioWeight") and not 10 <= host["BlkioWeight"] <= 1000:
        raise InvalidInput("range of blkio weight is from 10 to 1000")
    for entry in get("BlkioWeightDevice") or ():
        if not 10 <= entry["Weight"] <= 1000:
            what = f"{oneline(entry['Path'])}:{entry['Weight']}"
            raise InvalidInput(f"invalid weight for device: {what}: it is from 10 to 1000")
    for rule in get("DeviceCgroupRules") or ():
        device_rules.parse_device_rule(rule)
    if get("CgroupParent"):
        from estiva.engine.state import cgroup as cgroups

        cgroups.cgroup_path("x", host["CgroupParent"])
    if get("Isolation") not in (None, "", "default"):
        raise InvalidInput(
            f"invalid isolation ({oneline(host['Isolation'])}) on linux: only default is known"
        )


def _check_memory(host: HostConfig) -> None:
    get = host.get
    memory, swap = get("Memory") or 0, get("MemorySwap") or 0
    reservation, swappiness = get("MemoryReservation") or 0, get("MemorySwappiness")
    if memory and memory < MIN_MEMORY:
        raise InvalidInput("minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise InvalidInput(
            "you should always set the memory limit when using memory swap limit", hint="add --memory"
        )
    if swap < -1:
        raise InvalidInput(f"invalid memory swap limit {swap}", hint="-1 is unlimited")
    if 0 < swap < memory:
        raise InvalidInput(
            "minimum memory swap limit should be larger than memory limit",
            hint="--memory-swap counts memory plus swap; -1 is unlimited",
        )
    if (get("KernelMemory") or 0) < 0:
        raise InvalidInput(f"invalid kernel memory limit {host['KernelMemory']}")
    if reservation and reservation < MIN_MEMORY:
        raise InvalidInput("minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise InvalidInput("minimum memory limit can not be less than memory reservation limit")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidInput(f"invalid value: {swappiness}. valid memory swappiness range is 0-100")


def _check_cpu(host: HostConfig) -> None:
    get = host.get
    nano, period, quota = get("NanoCpus") or 0, get("CpuPeriod") or 0, get("CpuQuota") or 0
    if nano and (period or quota):
        raise InvalidInput("conflicting options: --cpus and --cpu-period or --cpu-quota cannot both be set")
    cpus = os.cpu_count() or 1
    if nano and not 10**7 <= nano <= cpus * 10**9:
        raise InvalidInput(
            f"range of cpus is from 0.01 to {cpus}.00, as there are only {cpus} cpus available"
        )
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidInput("cpu cfs period can not be less than 1ms (1000) or larger than 1s (1000000)")
    if quota and quota != -1 and quota < 1000:
        raise InvalidInput("cpu cfs quota can not be less than 1ms (1000)")
    shares = get("CpuShares") or 0
    if shares and not MIN_SHARES <= shares <= MAX_SHARES:
        raise InvalidInput(
            f"invalid cpu shares ({shares}): the minimum is {MIN_SHARES}, the maximum {MAX_SHARES}"
        )
    realtime = get("CpuRealtimePeriod") or 0, get("CpuRealtimeRuntime") or 0
    if min(realtime) < 0 or realtime[1] > (realtime[0] or 1_000_000):
        raise InvalidInput("cpu real-time runtime cannot be higher than cpu real-time period")
    for key, kind, what in (("CpusetCpus", "cpu", "CPUs"), ("CpusetMems", "node", "memory nodes")):
        if get(key):
            _check_list(host[key], kind, what)


def _check_list(text: str, kind: str, what: str) -> None:
    """A cpuset list: cpus or nodes that are there."""
    name = "cpus" if kind == "cpu" else "mems"
    wanted = numbers(text)
    if wanted is None:
        raise InvalidInput(f"invalid value {oneline(text)} for cpuset {name}", hint="a list such as 0-3,7")
    try:
        with open(ONLINE.format(kind), encoding="ascii") as file:
            online = file.read().strip()
    except OSError:
        online = "0"  # a kernel without NUMA
    if not wanted <= (numbers(online) or set()):
        raise InvalidInput(
            f"requested {what} are not available - requested {text}, available: {online}",
        )


def numbers(text: str) -> set[int] | None:
    """The numbers of a kernel list ("0-3,7"), None if it is none. The kernel takes a newline, and what
    follows it, for a comma, so that is refused."""
    found: set[int] = set()
    if not LISTED.issuperset(text):
        return None
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdigit() and last.isdigit()) or len(last) > 6 or int(first) > int(last):
            return None
        if int(last) >= MAX_LISTED:
            found.add(MAX_LISTED)  # more than any machine has
        else:
            found.update(range(int(first), int(last) + 1))
    return found


def oci(host: HostConfig) -> dict[str, Any]:
    """linux.resources of a checked HostConfig. Bytes, microseconds, shares; only what was asked for. Raises
    InvalidInput when a device isn't there."""
    get = host.get
    limit = get("PidsLimit")
    if limit is None or limit == 0:
        limit = PIDS_LIMIT
    result: dict[str, Any] = {"pids": {"limit": limit}}
    for name, part in (("memory", _memory(host)), ("cpu", _cpu(host)), ("blockIO", _block(host))):
        if part:
            result[name] = part
    devices: list[dict[str, Any]] = []
    if get("Devices"):
        from estiva.engine.spec.devices import linux_devices

        devices = linux_devices(get("Devices"))
    result["devices"] = device_rules.device_rules(
        devices, get("DeviceCgroupRules") or (), bool(get("Privileged"))
    )
    return result


def _memory(host: HostConfig) -> dict[str, Any]:
    get = host.get
    memory: dict[str, Any] = {}
    if get("Memory"):
        memory["limit"] = get("Memory")
        # Docker: as much swap as memory, unless said otherwise; the value is memory plus swap
        memory["swap"] = get("MemorySwap") or 2 * get("Memory", 0)
    elif get("MemorySwap"):
        memory["swap"] = get("MemorySwap")
    if get("MemoryReservation"):
        memory["reservation"] = get("MemoryReservation")
    if get("MemorySwappiness") is not None and get("MemorySwappiness") != -1:
        memory["swappiness"] = get("MemorySwappiness")
    if get("OomKillDisable"):
        memory["disableOOMKiller"] = True
    if get("KernelMemory"):
        memory["kernel"] = get("KernelMemory")
    return memory


def _cpu(host: HostConfig) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if host.get("NanoCpus"):
        cpu["period"] = CPU_PERIOD
        cpu["quota"] = host["NanoCpus"] * CPU_PERIOD // 1_000_000_000
    for key, name in (
        ("CpuQuota", "quota"),
        ("CpuPeriod", "period"),
        ("CpuShares", "shares"),
        ("CpuRealtimeRuntime", "realtimeRuntime"),
        ("CpuRealtimePeriod", "realtimePeriod"),
        ("CpusetCpus", "cpus"),
        ("CpusetMems", "mems"),
    ):
        if host.get(key):
            cpu[name] = host[key]
    return cpu


def _block(host: HostConfig) -> dict[str, Any]:
    block: dict[str, Any] = {}
    if host.get("BlkioWeight"):
        block["weight"] = host["BlkioWeight"]
    if host.get("BlkioWeightDevice"):
        block["weightDevice"] = [
            {**_numbered(entry["Path"]), "weight": entry["Weight"]} for entry in host["BlkioWeightDevice"]
        ]
    for key, field in THROTTLES:
        if host.get(key):
            block[field] = [{**_numbered(entry["Path"]), "rate": entry["Rate"]} for entry in host[key]]
    return block


def _numbered(path: str) -> dict[str, int]:
    from estiva.engine.spec.devices import block_device

    return block_device(path)


def warnings(host: HostConfig) -> list[str]:
    """What of a checked HostConfig has no effect on this machine, or less than one may think: lines for the
    user."""
    from estiva.runtime import cgroup

    found = cgroup.warnings(oci(host))
    if host.get("OomKillDisable") and not host.get("Memory"):
        found.append(
            "the OOM killer is disabled for the container, but no memory limit is set, this can result in"
            " the system running out of resources"
        )
    return found
