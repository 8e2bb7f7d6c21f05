"""The cgroup of a container: each limit with its use, how often it was met, and pressure; v1 and v2."""

from __future__ import annotations

from estiva.errors import NotFound
from estiva.runtime.cgroup import Cgroup as Group
from estiva.runtime.cgroup import factory
from estiva.runtime.cgroup.control import number_or_none, pairs, read_or
from estiva.runtime.cgroup.control import size as sized
from estiva.speech import count, say
from estiva.view.shapes import Cgroup, Limit, Pressure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import RunState

RESOURCES = ("cpu", "memory", "io")


class _Files:
    """Control files by what they say, whatever the version."""

    def __init__(self, group: Group) -> None:
        self.v2 = group.places.version == "v2"
        self.group = group

    def read(self, controller: str, new: str, old: str) -> str:
        """The file `new` of v2, or `old` in the controller's hierarchy of v1; "" where there is none."""
        if self.v2:
            return read_or(f"{self.group.directories[0]}/{new}") if new else ""
        mount = self.group.places.where.get(controller)
        return read_or(f"{mount}{self.group.path}/{old}") if mount and old else ""

    def pressure(self, resource: str) -> str:
        """In the hybrid layout the tree of v2 has it too."""
        if self.v2:
            return read_or(f"{self.group.directories[0]}/{resource}.pressure")
        hybrid = self.group.places.hybrid
        return read_or(f"{hybrid}{self.group.path}/{resource}.pressure") if hybrid else ""


def gather(live: RunState) -> Cgroup:
    """Raises NotFound when it has gone, OSError."""
    group = factory.open(live["cgroup"])
    usage = group.stats()
    files = _Files(group)
    wanted = (
        _memory(usage, files),
        _swap(usage, files),
        _cpu(usage, files),
        _cpus(files),
        _pids(usage, files),
    )
    pressure = []
    for resource in RESOURCES:
        found = _pressure(resource, _pressed(files, resource))
        if found is not None:
            pressure.append(found)
    if not group.exists():
        raise NotFound(f"cgroup {group.path} is gone")
    return Cgroup(
        version=group.places.version + (" (hybrid)" if group.places.hybrid else ""),
        path=group.path,
        limits=tuple(limit for limit in (*wanted, *_io(usage)) if limit is not None),
        pressure=tuple(pressure),
        frozen=group.frozen(),
    )


def _pressed(files: _Files, resource: str) -> str:
    try:
        return files.pressure(resource)
    except OSError:  # EOPNOTSUPP is "", but a kernel booted with psi=0 has other words too
        return ""


def _share(used: float, limit: float | None) -> str:
    return say("no limit") if not limit else say("{part} %", part=round(100 * used / limit))


def _times(met: int, words: str) -> str:
    return "; " + say(words) + " " + count(met, "{n} time", "{n} times") if met else ""


def _memory(usage: dict[str, Any], files: _Files) -> Limit:
    memory = usage["memory"]
    if files.v2:
        met = pairs(files.read("memory", "memory.events", "")).get("max", 0)
    else:
        met = number_or_none(files.read("memory", "", "memory.failcnt")) or 0
    used, limit = memory["working_set"], memory["limit"]
    says = _share(used, limit) + _times(met, "its limit was met")
    if memory["oom_kills"]:
        says += "; " + count(memory["oom_kills"], "{n} process killed", "{n} processes killed")
    if memory["shared"]:
        says += "; " + say("{size} in files of tmpfs", size=sized(memory["shared"]))
    return Limit("memory", "bytes", limit, used, memory["peak"], met, says)


def _swap(usage: dict[str, Any], files: _Files) -> Limit | None:
    memory = usage["memory"]
    limit = memory["swap_limit"]
    if limit is None and not memory["swap"]:
        return None
    return Limit("memory+swap", "bytes", limit, memory["working_set"] + memory["swap"], None, 0, "")


def _cpu(usage: dict[str, Any], files: _Files) -> Limit:
    """Processors that it may keep busy at once."""
    cpu = usage["cpu"]
    if files.v2:
        quota, _, period = files.read("cpu", "cpu.max", "").partition(" ")
    else:
        quota = files.read("cpu", "", "cpu.cfs_quota_us")
        period = files.read("cpu", "", "cpu.cfs_period_us")
    wanted, whole = number_or_none(quota), number_or_none(period)
    limit = wanted / whole if wanted and whole else None
    seconds = cpu["usage_ns"] / 1e9
    says = say("{seconds} s of processor time so far", seconds=f"{seconds:.1f}")
    throttled = cpu["throttled_periods"]
    if throttled:
        says += "; " + say(
            "it had to wait in {part} % of the periods, {seconds} s in all",
            part=round(100 * throttled / max(1, cpu["periods"])),
            seconds=f"{cpu['throttled_ns'] / 1e9:.1f}",
        )
    weight = files.read("cpu", "cpu.weight", "cpu.shares")
    usual = "100" if files.v2 else "1024"
    if weight and weight != usual:
        says += "; " + say("weight {weight} (usual: {usual})", weight=weight, usual=usual)
    return Limit("cpu", "cpus", limit, seconds, None, throttled, says)


def _cpus(files: _Files) -> Limit | None:
    listed = files.read("cpuset", "cpuset.cpus.effective", "cpuset.effective_cpus") or files.read(
        "cpuset", "", "cpuset.cpus"
    )
    wanted = files.read("cpuset", "cpuset.cpus", "")
    if not listed or (files.v2 and not wanted):
        return None
    return Limit("cpuset", "cpus", None, 0, None, 0, say("on processors {cpus}", cpus=listed[:200]))


def _pids(usage: dict[str, Any], files: _Files) -> Limit:
    pids = usage["pids"]
    met = pairs(files.read("pids", "pids.events", "pids.events")).get("max", 0)
    peak = number_or_none(files.read("pids", "pids.peak", "pids.peak"))
    says = _share(pids["current"], pids["limit"]) + _times(met, "a fork was refused")
    return Limit("processes", "processes", pids["limit"], pids["current"], peak, met, says)


def _io(usage: dict[str, Any]) -> list[Limit]:
    io = usage["io"]
    return [
        Limit("read", "bytes", None, io["read_bytes"], None, 0, count(io["reads"], "{n} read", "{n} reads")),
        Limit(
            "written",
            "bytes",
            None,
            io["write_bytes"],
            None,
            0,
            count(io["writes"], "{n} write", "{n} writes"),
        ),
    ]


def _pressure(resource: str, text: str) -> Pressure | None:
    found: dict[str, dict[str, float]] = {}
    for line in text.split("\n"):
        kind, *words = line.split()[:5] or [""]
        values = {}
        for word in words:
            name, _, value = word.partition("=")
            try:
                values[name] = float(value)
            except ValueError:
                continue
        found[kind] = values
    some, full = found.get("some"), found.get("full", {})
    if some is None:
        return None
    return Pressure(
        resource,
        some.get("avg10", 0.0),
        some.get("avg60", 0.0),
        full.get("avg10", 0.0),
        full.get("avg60", 0.0),
    )
