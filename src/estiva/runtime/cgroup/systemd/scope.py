"""--systemd-cgroup: the container's cgroup is a transient scope of systemd's, made and limited over D-Bus.

org.freedesktop.systemd1(5), systemd.resource-control(5), https://systemd.io/CGROUP_DELEGATION. A scope begins
with a process: a child of ours that only waits, until the container's init is in the cgroup. The scope is
delegated, so below it everything is as without systemd, and limits are also written to the control files,
which know more of them than systemd has properties.
"""

from __future__ import annotations

import os
import time

from estiva.errors import Conflict, EngineError, InvalidInput, Unavailable, Unsupported
from estiva.runtime.cgroup.control import part, text, whole
from estiva.runtime.cgroup.layout import clean, layout
from estiva.runtime.cgroup.systemd.dbus import Bus, Refused
from estiva.runtime.cgroup.v2.group import CgroupV2
from estiva.runtime.cgroup.v2.limits import cpu_weight, real_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Properties = list[tuple[str, tuple[str, Any]]]

_SERVICE = "org.freedesktop.systemd1"
_MANAGER = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_INFINITY = (1 << 64) - 1
_JOB = 30.0  # seconds that systemd may take
_RUNNING = "/run/systemd/system"  # sd_booted(3)


def unit_of(cgroups_path: str, id: str, user: bool) -> tuple[str, str]:
    """(slice, scope) that SLICE:PREFIX:NAME names; without one, as for an own container. Raises
    InvalidInput."""
    parts = cgroups_path.split(":") if cgroups_path else ["", "estiva", id]
    if len(parts) != 3:
        raise InvalidInput(f"linux.cgroupsPath: {cgroups_path!r} is not of the form SLICE:PREFIX:NAME")
    slice, prefix, name = parts
    slice = slice or ("user.slice" if user else "system.slice")
    if name.endswith(".slice"):
        raise Unsupported(f"linux.cgroupsPath: {cgroups_path!r} is a slice, and a container's is a scope")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    for word in (slice, unit):
        # systemd.unit(5), "DESCRIPTION": of what a unit's name consists
        if len(word) > 255 or not all((c.isascii() and c.isalnum()) or c in ":-_.\\@" for c in word):
            raise InvalidInput(f"linux.cgroupsPath: {word!r} is not the name of a unit")
    stem = slice.removesuffix(".slice")
    if not slice.endswith(".slice") or (stem != "-" and "" in stem.split("-")):
        raise InvalidInput(f"linux.cgroupsPath: {slice!r} is not the name of a slice")
    return slice, unit


def connect(user: bool) -> Bus:
    """To systemd itself or, where that socket is not ours to use, by the message bus. Raises Unavailable."""
    if user:
        directory = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
        address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "").removeprefix("unix:path=").split(",")[0]
        bus = address if address.startswith("/") else f"{directory}/bus"
        places = ((f"{directory}/systemd/private", True), (bus, False))
    else:
        places = (("/run/systemd/private", True), ("/run/dbus/system_bus_socket", False))
    why = ""
    for path, direct in places:
        try:
            made = Bus(path, direct=direct)
        except Unavailable as error:
            why = error.message
            continue
        if not direct:
            rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'"
            name = "org.freedesktop.DBus"
            made.call(name, "/org/freedesktop/DBus", name, "AddMatch", "s", rule)
            _call(made, "Subscribe")
        return made
    raise Unavailable(f"systemd can't be reached: {why}")


def _call(bus: Bus, member: str, signature: str = "", *values: Any) -> tuple[Any, ...]:
    return bus.call(_SERVICE, *_MANAGER, member, signature, *values)


def _finish(bus: Bus, job: str) -> str:
    """Wait for a job's end: its result, "done" when all is well."""
    bus.deadline = time.monotonic() + _JOB
    while True:
        while bus.signals:
            signal = bus.signals.pop(0)
            if signal.member == "JobRemoved" and len(signal.body) == 4 and signal.body[1] == job:
                return str(signal.body[3])
        found = bus.receive()
        if found.kind == 4:
            bus.signals.append(found)


class Scope(CgroupV2):
    """See `Cgroup`: one that is a scope. `unit` is its name, `user` whether it is of the user's systemd."""

    unit: str
    user: bool
    _keeper: tuple[int, int] = (0, -1)  # pid of the child that waits in it, and what ends it when closed

    # --- making and finding -------------------------------------------------------------------------------

    @classmethod
    def begin(cls, cgroups_path: str, id: str, resources: dict[str, Any]) -> Scope:
        """Make the scope. The caller calls `settled` once there is somebody in it.

        Raises InvalidInput, Conflict (there is such a unit), Unsupported, Unavailable, LimitRefused.
        """
        if not os.path.isdir(_RUNNING):
            raise Unsupported(
                "systemd is not running here, so --systemd-cgroup can't be used",
                hint="without it linux.cgroupsPath is a path",
            )
        places = layout()
        if places.version != "v2":
            raise Unsupported("--systemd-cgroup needs cgroup v2")
        user = not real_root()
        slice, unit = unit_of(cgroups_path, id, user)
        keeper = _keep()
        try:
            bus = connect(user)
            try:
                path = _start(bus, unit, slice, id, keeper[0], resources)
            finally:
                bus.close()
            made = cls(clean(path), places)
            made.unit, made.user, made._keeper = unit, user, keeper
        except BaseException:
            _let_go(keeper)
            raise
        try:
            made._prepare()
            made._limit(resources)
        except BaseException:
            made.settled()
            made.remove()
            raise
        return made

    @classmethod
    def again(cls, path: str, unit: str) -> Scope:
        """An existing one."""
        made = cls(clean(path), layout())
        made.unit, made.user = unit, not real_root()
        return made

    def settled(self) -> None:
        """The container's init is in it: who kept it is not needed any more."""
        keeper, self._keeper = self._keeper, (0, -1)
        _let_go(keeper)

    # --- entering -----------------------------------------------------------------------------------------

    def enter_fd(self) -> int:
        """-1 for a user, who may not move a process from outside his own tree: systemd may (`add`)."""
        return -1 if self.user else super().enter_fd()

    def enter(self) -> None:
        if self.user:
            from estiva.runtime.cgroup.v2.tree import own_cgroup

            if own_cgroup(strip=False) != self.path:
                self.add(int(os.readlink("/proc/self")))  # not as our own pid namespace has it
            return
        super().enter()

    def add(self, pid: int, *, one_thread: bool = False) -> None:
        if not self.user:
            super().add(pid, one_thread=one_thread)
            return
        bus = connect(self.user)
        try:
            _call(bus, "AttachProcessesToUnit", "ssau", self.unit, "", [pid])
        except Refused as error:
            raise EngineError(f"systemd can't take process {pid} into {self.unit}: {error.message}") from None
        finally:
            bus.close()

    # --- limits and the end -------------------------------------------------------------------------------

    def update(self, resources: dict[str, Any]) -> None:
        """By systemd, which else would write its own values again, and then by the control files."""
        if not self._keeper[0]:
            changed = properties(resources)
            if changed:
                bus = connect(self.user)
                try:
                    _call(bus, "SetUnitProperties", "sba(sv)", self.unit, True, changed)
                except Refused as error:
                    raise EngineError(f"systemd can't limit {self.unit}: {error.message}") from None
                finally:
                    bus.close()
        super().update(resources)

    def remove(self, timeout: float = 2.0) -> None:
        self.settled()
        try:
            bus = connect(self.user)
        except Unavailable:
            super().remove(timeout)
            return
        try:
            try:
                _finish(bus, _call(bus, "StopUnit", "ss", self.unit, "replace")[0])
            except Refused:
                pass  # it is gone with its last process
            try:
                _call(bus, "ResetFailedUnit", "s", self.unit)
            except Refused:
                pass
        finally:
            bus.close()
        super().remove(timeout)


def _keep() -> tuple[int, int]:
    """A child that ends when we close the pipe, or end ourselves."""
    from estiva.linux import process

    held, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            process.close_all_but([held], 0)
            os.read(held, 1)
        finally:
            os._exit(0)
    os.close(held)
    return pid, ours


def _let_go(keeper: tuple[int, int]) -> None:
    if keeper[0]:
        os.close(keeper[1])
        os.waitpid(keeper[0], 0)


def _start(bus: Bus, unit: str, slice: str, id: str, pid: int, resources: dict[str, Any]) -> str:
    """StartTransientUnit; the cgroup that it got."""
    wanted: Properties = [
        ("Description", ("s", f"container {id}")),
        ("Slice", ("s", slice)),
        ("Delegate", ("b", True)),
        ("PIDs", ("au", [pid])),
        ("DefaultDependencies", ("b", False)),
        ("CollectMode", ("s", "inactive-or-failed")),
        *((f"{name}Accounting", ("b", True)) for name in ("CPU", "Memory", "IO", "Tasks")),
        *properties(resources),
        *devices(resources.get("devices") or []),
    ]
    for again in (False, True):
        try:
            job = _call(bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace", wanted, [])[0]
            break
        except Refused as error:
            if not error.name.endswith(".UnitExists"):
                raise EngineError(f"systemd can't start {unit}: {error.message}") from None
            if again:
                raise Conflict(f"systemd has a unit {unit} already") from None
        try:
            _call(bus, "ResetFailedUnit", "s", unit)  # what is left of one that failed
        except Refused:
            pass
    result = _finish(bus, job)
    if result != "done":
        raise EngineError(f"systemd can't start {unit}: the job ended as {result}")
    place = _call(bus, "GetUnit", "s", unit)[0]
    value = bus.call(
        *(_SERVICE, place, "org.freedesktop.DBus.Properties", "Get"),
        *("ss", f"{_SERVICE}.Scope", "ControlGroup"),
    )[0]
    if not isinstance(value, tuple) or not isinstance(value[1], str) or len(value[1]) < 2:
        raise EngineError(f"systemd has given {unit} no cgroup")
    return value[1]


# --- linux.resources as properties ------------------------------------------------------------------------


def properties(resources: dict[str, Any]) -> Properties:
    """The limits that systemd has a property for. Raises InvalidInput."""
    found: Properties = []

    def number(name: str, value: int | None) -> None:
        if value:
            found.append((name, ("t", _INFINITY if value < 0 else value)))

    memory = part(resources, "memory")
    limit, swap = whole(memory, "limit", "memory"), whole(memory, "swap", "memory")
    number("MemoryMax", limit)
    number("MemoryLow", whole(memory, "reservation", "memory"))
    if swap and swap < 0:
        number("MemorySwapMax", -1)
    elif swap and limit and 0 < limit <= swap:
        found.append(("MemorySwapMax", ("t", swap - limit)))
    cpu = part(resources, "cpu")
    shares = whole(cpu, "shares", "cpu")
    if whole(cpu, "idle", "cpu") == 1:
        found.append(("CPUWeight", ("t", 0)))
    elif shares and 2 <= shares <= 262144:
        number("CPUWeight", cpu_weight(shares))
    _bandwidth(found, whole(cpu, "quota", "cpu"), whole(cpu, "period", "cpu"))
    for field, name in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
        if value := text(cpu, field, "cpu"):
            found.append((name, ("ay", bits(value))))
    tasks = whole(part(resources, "pids"), "limit", "pids")
    if tasks is not None:
        number("TasksMax", tasks or 1)  # 0 is no number of tasks for systemd
    for key, words in part(resources, "unified").items():
        _unified(found, key, str(words).strip())
    return found


def _bandwidth(found: Properties, quota: int | None, period: int | None) -> None:
    if period:
        found.append(("CPUQuotaPeriodUSec", ("t", period)))
    if quota or period:
        each = _INFINITY
        if quota and quota > 0:
            each = -(-quota * 1000000 // (period or 100000))
            each = -(-each // 10000) * 10000  # whole percents are what systemd knows
        found.append(("CPUQuotaPerSecUSec", ("t", each)))


_UNIFIED = {
    "memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin",
    "memory.max": "MemoryMax", "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}  # fmt: skip


def _unified(found: Properties, key: str, value: str) -> None:
    """Control files that systemd would write again; all are written by us in any case."""
    if key in _UNIFIED and (value == "max" or (value.isascii() and value.isdigit())):
        found.append((_UNIFIED[key], ("t", _INFINITY if value == "max" else int(value))))
    elif key in ("cpuset.cpus", "cpuset.mems") and value:
        found.append(("AllowedCPUs" if key == "cpuset.cpus" else "AllowedMemoryNodes", ("ay", bits(value))))
    elif key == "cpu.max":
        words = value.split()
        if all(word.isascii() and word.isdigit() for word in words if word != "max"):
            quota = -1 if words[:1] == ["max"] else int(words[0])
            _bandwidth(found, quota, int(words[1]) if len(words) > 1 else None)


def bits(ranges: str) -> bytes:
    """ "0-2,5" as the bitmap that systemd wants. Raises InvalidInput."""
    mask = 0
    for word in ranges.replace("\n", "").split(","):
        low, dash, high = word.strip().partition("-")
        if not (low.isascii() and low.isdigit()) or (dash and not (high.isascii() and high.isdigit())):
            raise InvalidInput(f"{ranges!r} is not a list of numbers and ranges")
        start, end = int(low), int(high or low)
        if not start <= end < 1 << 16:
            raise InvalidInput(f"{ranges!r} is not a list of numbers and ranges")
        mask |= ((1 << (end - start + 1)) - 1) << start
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def devices(rules: list[dict[str, Any]]) -> Properties:
    """DevicePolicy and DeviceAllow, where the rules are "none but these"; else nothing, and the BPF program
    that is attached in any case decides alone."""
    if not rules or rules[0].get("allow") or rules[0].get("type", "a") != "a":
        return []
    allowed = []
    for rule in rules[1:]:
        kind, major, minor = rule.get("type"), rule.get("major"), rule.get("minor")
        access = rule.get("access", "rwm")
        if not rule.get("allow") or kind not in ("b", "c") or not access:
            return []
        word = "block" if kind == "b" else "char"
        if major is None or major < 0:
            if minor is not None and minor >= 0:
                return []
            path = f"{word}-*"
        else:
            path = f"{word}-{major}" if minor is None or minor < 0 else f"/dev/{word}/{major}:{minor}"
        allowed.append((path, access))
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]
