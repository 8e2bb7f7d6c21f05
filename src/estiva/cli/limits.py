"""The rules between resource limits, with the words that Docker's daemon refuses them with (cold path)."""

from __future__ import annotations

import os

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MIN_MEMORY = 6 << 20


def check(host: dict[str, Any]) -> None:
    """Raises InvalidInput when the limits in a HostConfig don't go together."""
    get = host.get
    memory, swap, reservation = get("Memory", 0), get("MemorySwap", 0), get("MemoryReservation", 0)
    if 0 < memory < MIN_MEMORY:
        raise InvalidInput("minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise InvalidInput(
            "you should always set the memory limit when using memory swap limit", hint="add --memory"
        )
    if 0 < swap < memory:
        raise InvalidInput(
            "minimum memory swap limit should be larger than memory limit",
            hint="--memory-swap counts memory plus swap",
        )
    if 0 < reservation < MIN_MEMORY:
        raise InvalidInput("minimum memory reservation allowed is 6MB")
    if memory and reservation > memory:
        raise InvalidInput("minimum memory limit can not be less than memory reservation limit")
    if not -1 <= get("MemorySwappiness", -1) <= 100:
        raise InvalidInput(
            f"invalid value: {host['MemorySwappiness']}. valid memory swappiness range is 0-100"
        )
    if not -1000 <= get("OomScoreAdj", 0) <= 1000:
        raise InvalidInput(f"invalid value {host['OomScoreAdj']}, range for oom score adj is [-1000, 1000]")
    if get("BlkioWeight", 0) and not 10 <= host["BlkioWeight"] <= 1000:
        raise InvalidInput("range of blkio weight is from 10 to 1000")
    if get("NanoCpus") and (get("CpuPeriod") or get("CpuQuota")):
        raise InvalidInput("conflicting options: --cpus and --cpu-period or --cpu-quota cannot both be set")
    cpus = os.cpu_count() or 1
    if get("NanoCpus", 0) > cpus * 10**9 or "NanoCpus" in host and 0 < host["NanoCpus"] < 10**7:
        raise InvalidInput(
            f"range of cpus is from 0.01 to {cpus}.00, as there are only {cpus} cpus available"
        )
    if get("CpuPeriod", 0) and not 1000 <= host["CpuPeriod"] <= 1_000_000:
        raise InvalidInput("cpu cfs period can not be less than 1ms (1000) or larger than 1s (1000000)")
    if 0 < get("CpuQuota", 0) < 1000:
        raise InvalidInput("cpu cfs quota can not be less than 1ms (1000)")
    if get("CpuShares", 0) < 0:
        raise InvalidInput(f"invalid cpu shares ({host['CpuShares']}): value must be a positive integer")
