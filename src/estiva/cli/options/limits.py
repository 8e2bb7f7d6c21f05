"""The options that limit what a container may use, as HostConfig; loaded when one of them is given.

What can't be or doesn't go together is refused by engine/spec/resources.py.
"""

from __future__ import annotations

from estiva.cmdline.parser import UsageError, converted
from estiva.oci import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.cmdline.parser import Option, Options

SIZES = (
    ("memory", "Memory"),
    ("memory-reservation", "MemoryReservation"),
    ("kernel-memory", "KernelMemory"),
    ("shm-size", "ShmSize"),
    ("output-limit", "OutputLimit"),
)
NUMBERS = (
    ("cpu-shares", "CpuShares"),
    ("cpu-period", "CpuPeriod"),
    ("cpu-quota", "CpuQuota"),
    ("cpu-rt-period", "CpuRealtimePeriod"),
    ("cpu-rt-runtime", "CpuRealtimeRuntime"),
    ("pids-limit", "PidsLimit"),
    ("oom-score-adj", "OomScoreAdj"),
    ("memory-swappiness", "MemorySwappiness"),
    ("blkio-weight", "BlkioWeight"),
)
TEXTS = (("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems"), ("cgroup-parent", "CgroupParent"))


def read(options: Options, kinds: dict[str, Option]) -> dict[str, Any]:
    """HostConfig of the options that were given. `kinds` has each option's row, for messages. Raises
    UsageError."""
    host: dict[str, Any] = {}

    def through(name: str, reader: Callable[[str], Any]) -> Any:
        return converted(kinds[name], options.text(name), reader)

    def each(name: str, reader: Callable[[str], Any]) -> list[Any]:
        return [converted(kinds[name], text, reader) for text in options.many(name)]

    for name, key in SIZES:
        if options.given(name):
            host[key] = through(name, units.size)
    if options.given("time-limit"):
        host["TimeLimit"] = through("time-limit", units.duration)
    if options.given("memory-swap"):
        unlimited = options.text("memory-swap") == "-1"
        host["MemorySwap"] = -1 if unlimited else through("memory-swap", units.size)
    if options.given("cpus"):
        host["NanoCpus"] = through("cpus", units.nano_cpus)
    for name, key in NUMBERS:
        if options.given(name):
            host[key] = options.number(name)
    if host.get("PidsLimit") == 0:
        host["PidsLimit"] = -1  # said so it is unlimited; left away, as many as engine/spec has by default
    for name, key in TEXTS:
        if options.given(name):
            host[key] = options.text(name)
    if options.flag("oom-kill-disable"):
        host["OomKillDisable"] = True
    if options.given("ulimit"):
        limits = each("ulimit", ulimit)
        host["Ulimits"] = list({limit["Name"]: limit for limit in limits}.values())
    if options.given("blkio-weight-device"):
        host["BlkioWeightDevice"] = each("blkio-weight-device", _device_weight)
    for name, key in (
        ("device-read-bps", "BlkioDeviceReadBps"),
        ("device-write-bps", "BlkioDeviceWriteBps"),
        ("device-read-iops", "BlkioDeviceReadIOps"),
        ("device-write-iops", "BlkioDeviceWriteIOps"),
    ):
        if options.given(name):
            host[key] = each(name, _device_bytes if name.endswith("bps") else _device_operations)
    return host


def _device(text: str, read: Callable[[str], int], what: str, unit: str = "") -> tuple[str, int]:
    """(path, number) of DEVICE:NUMBER."""
    path, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    try:
        return path, read(value)
    except ValueError:
        raise ValueError(
            f"invalid {what} for device: {text}: the format is <device-path>:<number>{unit}"
        ) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError
    return int(text)


def _device_weight(text: str) -> dict[str, Any]:
    path, weight = _device(text, _number, "weight")
    return {"Path": path, "Weight": weight}


def _device_bytes(text: str) -> dict[str, Any]:
    path, rate = _device(text, units.size, "rate", "[<unit>], the unit kb, mb or gb")
    return {"Path": path, "Rate": rate}


def _device_operations(text: str) -> dict[str, Any]:
    path, rate = _device(text, _number, "rate")
    return {"Path": path, "Rate": rate}


def ulimit(text: str) -> dict[str, Any]:
    """NAME=SOFT[:HARD], -1 is unlimited."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    words = limits.split(":")
    if len(words) > 2:
        raise ValueError(f"too many limit value arguments: {limits}, can only have up to two, soft[:hard]")
    if not all(word == "-1" or (word.isascii() and word.isdigit()) for word in words):
        raise ValueError(f"{limits} is not a number or two")
    if any(len(word) > 19 or int(word) > units.MAX for word in words):
        raise ValueError(f"{limits} is too large, -1 is unlimited")
    return {"Name": name, "Hard": int(words[-1]), "Soft": int(words[0])}


def restart_policy(text: str) -> dict[str, Any]:
    """RestartPolicy of --restart. Raises UsageError."""
    name, colon, count = text.partition(":")
    try:
        return {"Name": name, "MaximumRetryCount": _number(count) if colon else 0}
    except ValueError:
        raise UsageError(
            f"invalid restart policy: '{text}'", hint="no, always, unless-stopped or on-failure[:N]"
        ) from None
