"""The options that limit what a container may use, as HostConfig; loaded when one of them is given.

What can't be or doesn't go together is refused by engine/spec/resources.py, for `update` and the Python API
too.
"""

from __future__ import annotations

from estiva.cli.options import values
from estiva.cmdline.parser import UsageError, converted
from estiva.errors import Unsupported, oneline
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
    if options.given("memory-swap"):
        unlimited = options.text("memory-swap") == "-1"
        host["MemorySwap"] = -1 if unlimited else through("memory-swap", units.size)
    if options.given("cpus"):
        host["NanoCpus"] = through("cpus", units.nano_cpus)
    for name, key in NUMBERS:
        if options.given(name):
            host[key] = options.number(name)
    if host.get("PidsLimit") == 0:
        host["PidsLimit"] = -1  # said so it is unlimited; left away, as many as spec.PIDS_LIMIT
    for name, key in TEXTS:
        if options.given(name):
            host[key] = options.text(name)
    if options.flag("oom-kill-disable"):
        host["OomKillDisable"] = True
    if options.given("ulimit"):
        limits = each("ulimit", values.ulimit)
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


def _device(text: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


def _device_weight(text: str) -> dict[str, Any]:
    path, value = _device(text)
    if not (value.isascii() and value.isdigit()) or len(value) > 4 or not 10 <= int(value) <= 1000:
        raise ValueError(f"invalid weight for device: {text}: it is from 10 to 1000")
    return {"Path": path, "Weight": int(value)}


def _device_bytes(text: str) -> dict[str, Any]:
    path, value = _device(text)
    try:
        return {"Path": path, "Rate": units.size(value)}
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}: the format is <device-path>:<number>[<unit>], the unit kb, mb"
            " or gb"
        ) from None


def _device_operations(text: str) -> dict[str, Any]:
    path, value = _device(text)
    if not (value.isascii() and value.isdigit()) or len(value) > 18:
        raise ValueError(f"invalid rate for device: {text}: the format is <device-path>:<number>")
    return {"Path": path, "Rate": int(value)}


def warn(host: dict[str, Any]) -> None:
    """Tell on stderr, as docker does, what has no effect here. Raises InvalidInput for what `check`
    refuses."""
    import sys

    from estiva.engine.spec import resources

    resources.check(host)
    for line in resources.warnings(host):
        sys.stderr.write(f"WARNING: {oneline(line)}\n")


def restart_policy(text: str) -> dict[str, Any]:
    """RestartPolicy of --restart. Raises UsageError, Unsupported for what isn't there yet."""
    name, colon, count = text.partition(":")
    known = name in ("no", "always", "unless-stopped", "on-failure")
    if not known or (colon and not (name == "on-failure" and count.isascii() and count.isdigit())):
        raise UsageError(
            f"invalid restart policy: '{text}'", hint="no, always, unless-stopped or on-failure[:N]"
        )
    if name != "no":
        raise Unsupported(f"the restart policy {text} is not supported yet, only no")
    return {"Name": "no", "MaximumRetryCount": 0}
