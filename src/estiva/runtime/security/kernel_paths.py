"""linux.maskedPaths and linux.readonlyPaths: docker's defaults, and what of /proc may be mounted over."""

from __future__ import annotations

import os

# Parts of /proc and /sys that tell of, or reach, the whole machine. What isn't there is passed over.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)


# What LXCFS and the like put in the place of the machine's: nothing else may be mounted inside /proc.
PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime")
)


READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


_CPUS = "/sys/devices/system/cpu"


def masked_paths() -> list[str]:
    """MASKED_PATHS and the thermal counters of each cpu, by which one container could watch what others
    do."""
    paths = list(MASKED_PATHS)
    # Real x86 machines have them, most virtual ones don't: one look at the first cpu tells.
    if os.path.exists(f"{_CPUS}/cpu0/thermal_throttle"):
        for name in sorted(os.listdir(_CPUS)):
            if name.startswith("cpu") and name[3:].isdigit():
                paths.append(f"{_CPUS}/{name}/thermal_throttle")
    return paths
