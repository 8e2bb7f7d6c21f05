"""What a cgroup v2 uses."""

from __future__ import annotations

from estiva.runtime.cgroup.control import number_or_none, pairs, read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def collect(place: str, oom_kills: int) -> dict[str, Any]:
    """The usage now, in the shape that v1/stats.py tells of; `place` is the cgroup's directory. `swap_limit`
    is memory and swap together, as on v1; `peak` needs Linux 5.19."""
    cpu = pairs(read_or(place + "/cpu.stat"))
    return {
        "memory": _memory(place, oom_kills),
        "cpu": {
            "usage_ns": cpu.get("usage_usec", 0) * 1000,
            "user_ns": cpu.get("user_usec", 0) * 1000,
            "system_ns": cpu.get("system_usec", 0) * 1000,
            "periods": cpu.get("nr_periods", 0),
            "throttled_periods": cpu.get("nr_throttled", 0),
            "throttled_ns": cpu.get("throttled_usec", 0) * 1000,
        },
        "pids": {
            "current": number_or_none(read_or(place + "/pids.current")) or 0,
            "limit": number_or_none(read_or(place + "/pids.max")),
        },
        "io": _io(place),
    }


def _memory(place: str, oom_kills: int) -> dict[str, Any]:
    stat = pairs(read_or(place + "/memory.stat"))
    usage = number_or_none(read_or(place + "/memory.current")) or 0
    idle = stat.get("inactive_file", 0)
    hard = number_or_none(read_or(place + "/memory.max"))
    swap = number_or_none(read_or(place + "/memory.swap.max"))
    return {
        "usage": usage,
        "working_set": max(usage - idle, 0),
        "cache": stat.get("file", 0),
        "shared": stat.get("shmem", 0),
        "anonymous": stat.get("anon", 0),
        "inactive_file": idle,
        "kernel": stat.get("kernel", 0),
        "swap": number_or_none(read_or(place + "/memory.swap.current")) or 0,
        "limit": hard,
        "swap_limit": None if hard is None or swap is None else hard + swap,
        "peak": number_or_none(read_or(place + "/memory.peak")),
        "oom_kills": oom_kills,
        "stat": stat,
    }


def _io(place: str) -> dict[str, Any]:
    result: dict[str, Any] = {"read_bytes": 0, "write_bytes": 0, "reads": 0, "writes": 0, "devices": []}
    names = {"rbytes": "read_bytes", "wbytes": "write_bytes", "rios": "reads", "wios": "writes"}
    for line in read_or(place + "/io.stat").split("\n"):
        device, *words = line.split(" ")
        major, _, minor = device.partition(":")
        for word in words:
            key, _, value = word.partition("=")
            if key in ("rbytes", "wbytes") and value.isdigit():
                what = "read" if key == "rbytes" else "write"
                result["devices"].append([int(major), int(minor), what, int(value)])
            if key in names and value.isdigit():
                result[names[key]] += int(value)
    return result
