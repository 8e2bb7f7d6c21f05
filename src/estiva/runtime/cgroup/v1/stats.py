"""What a cgroup v1 uses."""

from __future__ import annotations

from estiva.runtime.cgroup.control import number_or_none, pairs, read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def collect(place: Callable[[str], str], oom_kills: int) -> dict[str, Any]:
    """The usage now; `place` gives the cgroup's directory in a controller's hierarchy.

    Sizes are in bytes, times in nanoseconds; None is "no limit" or "can't be told".

    memory: usage (all that is charged), working_set (usage without file pages that are idle: what counts
    against the limit before the kernel has to kill), cache (with it the files of a tmpfs, which can't be
    dropped: shared), anonymous, inactive_file, kernel, swap, limit, swap_limit (memory and swap together on
    v1), peak, oom_kills, stat (all of memory.stat). cpu: usage_ns, user_ns, system_ns, periods,
    throttled_periods, throttled_ns. pids: current, limit. io: read_bytes, write_bytes, reads, writes, devices
    ([major, minor, what, bytes], as the kernel tells them).
    """
    return {
        "memory": _memory(place("memory"), oom_kills),
        "cpu": _cpu(place("cpuacct"), place("cpu")),
        "pids": {
            "current": number_or_none(read_or(place("pids") + "/pids.current")) or 0,
            "limit": number_or_none(read_or(place("pids") + "/pids.max")),
        },
        "io": _io(place("blkio")),
    }


def _memory(place: str, oom_kills: int) -> dict[str, Any]:
    stat = pairs(read_or(place + "/memory.stat"))
    usage = number_or_none(read_or(place + "/memory.usage_in_bytes")) or 0
    idle = stat.get("total_inactive_file", 0)
    return {
        "usage": usage,
        "working_set": max(usage - idle, 0),
        "cache": stat.get("total_cache", 0),
        "shared": stat.get("total_shmem", 0),
        "anonymous": stat.get("total_rss", 0),
        "inactive_file": idle,
        "kernel": number_or_none(read_or(place + "/memory.kmem.usage_in_bytes")) or 0,
        "swap": stat.get("total_swap", 0),
        "limit": number_or_none(read_or(place + "/memory.limit_in_bytes")),
        "swap_limit": number_or_none(read_or(place + "/memory.memsw.limit_in_bytes")),
        "peak": number_or_none(read_or(place + "/memory.max_usage_in_bytes")),
        "oom_kills": oom_kills,
        "stat": stat,
    }


def _cpu(account: str, cpu: str) -> dict[str, int]:
    stat = pairs(read_or(cpu + "/cpu.stat"))
    return {
        "usage_ns": number_or_none(read_or(account + "/cpuacct.usage")) or 0,
        "user_ns": number_or_none(read_or(account + "/cpuacct.usage_user")) or 0,
        "system_ns": number_or_none(read_or(account + "/cpuacct.usage_sys")) or 0,
        "periods": stat.get("nr_periods", 0),
        "throttled_periods": stat.get("nr_throttled", 0),
        "throttled_ns": stat.get("throttled_time", 0),
    }


def _io(place: str) -> dict[str, Any]:
    """The throttle files count in every kernel; the bfq ones only where that scheduler drives the device."""
    result: dict[str, Any] = {"read_bytes": 0, "write_bytes": 0, "reads": 0, "writes": 0, "devices": []}
    for name, read_field, write_field in (
        ("io_service_bytes", "read_bytes", "write_bytes"),
        ("io_serviced", "reads", "writes"),
    ):
        path = f"{place}/blkio.throttle.{name}"
        for line in (read_or(path + "_recursive") or read_or(path)).split("\n"):
            words = line.split(" ")  # MAJOR:MINOR Read|Write|... COUNT
            if len(words) == 3 and read_field == "read_bytes":
                major, _, minor = words[0].partition(":")
                result["devices"].append([int(major), int(minor), words[1], int(words[2])])
            if len(words) == 3 and words[1] == "Read":
                result[read_field] += int(words[2])
            elif len(words) == 3 and words[1] == "Write":
                result[write_field] += int(words[2])
    return result
