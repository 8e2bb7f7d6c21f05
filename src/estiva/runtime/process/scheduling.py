"""process.scheduler, ioPriority and execCPUAffinity, linux.memoryPolicy: where and when a process may run.

runtime-spec config.md, "Linux Process"; config-linux.md, "Memory policy". Loaded by the parent, and only for
a config that has one of them.
"""

from __future__ import annotations

import os

from estiva.errors import InvalidInput
from estiva.linux import scheduler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST_CPUS = 1 << 16
_TIMES = ("runtime", "deadline", "period")


class Scheduling:
    """What a process asks for, ready to be applied by itself. Raises InvalidInput with the field's path."""

    def __init__(self, process: dict[str, Any], linux: dict[str, Any] | None = None) -> None:
        self.attributes = _scheduler(process.get("scheduler"))
        self.io = _io_priority(process.get("ioPriority"))
        affinity = process.get("execCPUAffinity") or {}
        self.initial = cpu_list(affinity.get("initial") or "", "process.execCPUAffinity.initial")
        self.final = cpu_list(affinity.get("final") or "", "process.execCPUAffinity.final")
        self.memory = _memory_policy((linux or {}).get("memoryPolicy"))

    def apply(self) -> None:
        """While still root: a real-time policy needs CAP_SYS_NICE. Raises OSError."""
        if self.memory is not None:
            scheduler.set_mempolicy(*self.memory)
        if self.io is not None:
            scheduler.ioprio_set(*self.io)
        if self.attributes is not None:
            scheduler.sched_setattr(**self.attributes)

    def place(self, cpus: frozenset[int]) -> None:
        """sched_setaffinity(2) unless `cpus` is empty. Raises OSError."""
        if cpus:
            try:
                os.sched_setaffinity(0, cpus)
            except OSError as error:
                raise OSError(error.errno, error.strerror, f"cpus {sorted(cpus)}") from None


def plan(process: dict[str, Any], linux: dict[str, Any] | None = None) -> Scheduling | None:
    """None when nothing is asked for."""
    if any(process.get(f) for f in ("scheduler", "ioPriority", "execCPUAffinity")) or (
        linux and linux.get("memoryPolicy")
    ):
        return Scheduling(process, linux)
    return None


def cpu_list(text: str, where: str) -> frozenset[int]:
    """The numbers of a list such as 0-3,7 (cpuset(7), "List format"). Raises InvalidInput."""
    result: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.strip().partition("-")
        ends = [first, last if dash else first]
        if not all(e.isascii() and e.isdigit() and int(e) < _MOST_CPUS for e in ends):
            raise InvalidInput(f"{where}: {text!r} is not a list of numbers such as 0-3,7")
        low, high = int(ends[0]), int(ends[1])
        if low > high:
            raise InvalidInput(f"{where}: the range {part.strip()} runs backwards")
        result.update(range(low, high + 1))
    return frozenset(result)


def _one_of(table: dict[str, int], value: Any, where: str, what: str) -> int:
    if not isinstance(value, str) or value not in table:
        raise InvalidInput(f"{where}: {value!r} is not {what}", hint="one of " + ", ".join(table))
    return table[value]


def _scheduler(entry: dict[str, Any] | None) -> dict[str, int] | None:
    if entry is None:
        return None
    where = "process.scheduler"
    policy = _one_of(scheduler.POLICIES, entry.get("policy"), f"{where}.policy", "a scheduling policy")
    flags = 0
    for index, flag in enumerate(entry.get("flags") or ()):
        flags |= _one_of(scheduler.FLAGS, flag, f"{where}.flags[{index}]", "a scheduling flag")
    result = {"policy": policy, "flags": flags}
    for field in ("nice", "priority", *_TIMES):
        result[field] = int(entry.get(field) or 0)
    deadline = policy == scheduler.POLICIES["SCHED_DEADLINE"]
    realtime = policy in (scheduler.POLICIES["SCHED_FIFO"], scheduler.POLICIES["SCHED_RR"])
    if result["priority"] and not realtime:
        raise InvalidInput(f"{where}.priority can only be set with SCHED_FIFO or SCHED_RR")
    if any(result[field] for field in _TIMES) and not deadline:
        raise InvalidInput(f"{where}.runtime, deadline and period can only be set with SCHED_DEADLINE")
    return result


def _io_priority(entry: dict[str, Any] | None) -> tuple[int, int] | None:
    if entry is None:
        return None
    where = "process.ioPriority"
    which = _one_of(scheduler.IO_CLASSES, entry.get("class"), f"{where}.class", "a class of io priority")
    priority = entry.get("priority", 0)
    if not isinstance(priority, int) or not 0 <= priority <= 7:
        raise InvalidInput(f"{where}.priority: {priority!r} is not a number from 0 to 7")
    return which, priority


def _memory_policy(entry: dict[str, Any] | None) -> tuple[int, frozenset[int]] | None:
    if entry is None:
        return None
    where = "linux.memoryPolicy"
    mode = _one_of(scheduler.MEMORY_MODES, entry.get("mode"), f"{where}.mode", "a memory policy")
    for index, flag in enumerate(entry.get("flags") or ()):
        mode |= _one_of(scheduler.MEMORY_FLAGS, flag, f"{where}.flags[{index}]", "a flag of a memory policy")
    return mode, cpu_list(entry.get("nodes") or "", f"{where}.nodes")
