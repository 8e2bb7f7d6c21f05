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

    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.types import OCI

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
    if not -1000 <= (host.get("OomScoreAdj") or 0) <= 1000:
        raise InvalidInput(f"invalid value {host['OomScoreAdj']}, range for oom score adj is [-1000, 1000]")
    if (host.get("PidsLimit") or 0) > MAX_PIDS:
        raise InvalidInput(f"invalid pids limit {host['PidsLimit']}, the most is {MAX_PIDS}")
    if (host.get("ShmSize") or 0) < 0:
        raise InvalidInput("shm size can not be less than 0")
    if host.get("BlkioWeight") and not 10 <= host["BlkioWeight"] <= 1000:
        raise InvalidInput("range of blkio weight is from 10 to 1000")
    for entry in host.get("BlkioWeightDevice") or ():
        if not 10 <= entry["Weight"] <= 1000:
            what = f"{oneline(entry['Path'])}:{entry['Weight']}"
            raise InvalidInput(f"invalid weight for device: {what}: it is from 10 to 1000")
    for rule in host.get("DeviceCgroupRules") or ():
        device_rules.parse_device_rule(rule)
    if host.get("CgroupParent"):
        from estiva.engine.state import cgroup as cgroups

        cgroups.cgroup_path("x", host["CgroupParent"])
    if host.get("Isolation") not in (None, "", "default"):
        raise InvalidInput(
            f"invalid isolation ({oneline(host['Isolation'])}) on linux: only default is known"
        )


def _check_memory(host: HostConfig) -> None:
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    reservation, swappiness = host.get("MemoryReservation") or 0, host.get("MemorySwappiness")
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
    if (host.get("KernelMemory") or 0) < 0:
        raise InvalidInput(f"invalid kernel memory limit {host['KernelMemory']}")
    if reservation and reservation < MIN_MEMORY:
        raise InvalidInput("minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise InvalidInput("minimum memory limit can not be less than memory reservation limit")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidInput(f"invalid value: {swappiness}. valid memory swappiness range is 0-100")


def _check_cpu(host: HostConfig) -> None:
    nano, period, quota = host.get("NanoCpus") or 0, host.get("CpuPeriod") or 0, host.get("CpuQuota") or 0
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
    shares = host.get("CpuShares") or 0
    if shares and not MIN_SHARES <= shares <= MAX_SHARES:
        raise InvalidInput(
            f"invalid cpu shares ({shares}): the minimum is {MIN_SHARES}, the maximum {MAX_SHARES}"
        )
    realtime = host.get("CpuRealtimePeriod") or 0, host.get("CpuRealtimeRuntime") or 0
    if min(realtime) < 0 or realtime[1] > (realtime[0] or 1_000_000):
        raise InvalidInput("cpu real-time runtime cannot be higher than cpu real-time period")
    if host.get("CpusetCpus"):
        _check_list(host["CpusetCpus"], "cpu", "CPUs")
    if host.get("CpusetMems"):
        _check_list(host["CpusetMems"], "node", "memory nodes")


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


def oci(host: HostConfig) -> OCI:
    """linux.resources of a checked HostConfig. Bytes, microseconds, shares; only what was asked for. Raises
    InvalidInput when a device isn't there."""
    limit = host.get("PidsLimit")
    if limit is None or limit == 0:
        limit = PIDS_LIMIT
    result: OCI = {"pids": {"limit": limit}}
    for name, part in (("memory", _memory(host)), ("cpu", _cpu(host)), ("blockIO", _block(host))):
        if part:
            result[name] = part
    devices: list[OCI] = []
    if host.get("Devices"):
        from estiva.engine.spec.devices import linux_devices

        devices = linux_devices(host.get("Devices"))
    result["devices"] = device_rules.device_rules(
        devices, host.get("DeviceCgroupRules") or (), bool(host.get("Privileged"))
    )
    return result


def _memory(host: HostConfig) -> OCI:
    memory: OCI = {}
    if host.get("Memory"):
        memory["limit"] = host.get("Memory")
        # Docker: as much swap as memory, unless said otherwise; the value is memory plus swap
        memory["swap"] = host.get("MemorySwap") or 2 * host.get("Memory", 0)
    elif host.get("MemorySwap"):
        memory["swap"] = host.get("MemorySwap")
    if host.get("MemoryReservation"):
        memory["reservation"] = host.get("MemoryReservation")
    if host.get("MemorySwappiness") is not None and host.get("MemorySwappiness") != -1:
        memory["swappiness"] = host.get("MemorySwappiness")
    if host.get("OomKillDisable"):
        memory["disableOOMKiller"] = True
    if host.get("KernelMemory"):
        memory["kernel"] = host.get("KernelMemory")
    return memory


def _cpu(host: HostConfig) -> OCI:
    cpu: OCI = {}
    asked: Any = host
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
        if asked.get(key):
            cpu[name] = asked[key]
    return cpu


def _block(host: HostConfig) -> OCI:
    block: OCI = {}
    asked: Any = host
    if host.get("BlkioWeight"):
        block["weight"] = host["BlkioWeight"]
    if host.get("BlkioWeightDevice"):
        block["weightDevice"] = [
            {**_numbered(entry["Path"]), "weight": entry["Weight"]} for entry in host["BlkioWeightDevice"]
        ]
    for key, field in THROTTLES:
        if asked.get(key):
            block[field] = [{**_numbered(entry["Path"]), "rate": entry["Rate"]} for entry in asked[key]]
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
