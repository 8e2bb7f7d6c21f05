"""What a cgroup tells at the end of its processes: how much memory they had, and whose limit has killed.

cgroup-v1/memory.rst (max_usage_in_bytes, failcnt), cgroup-v2.rst (memory.peak, memory.events, .local). The
kernel counts kills where the victims were; whose limit was behind them is told by who has run into his.
"""

from __future__ import annotations

from estiva.runtime.cgroup.control import number_or_none, pairs, read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from estiva.runtime.cgroup import Cgroup

    class Blame(TypedDict, total=False):
        """`Scope`: own, inside (of a cgroup that the container has made), ancestor, machine (no cgroup that
        can be seen has run into a limit), or unknown (several have). `Cgroup` and `Limit` in bytes, of the
        first and the third."""

        Scope: str
        Cgroup: str
        Limit: int


OWN, INSIDE, ANCESTOR, MACHINE, UNKNOWN = "own", "inside", "ancestor", "machine", "unknown"


def peak(group: Cgroup) -> int | None:
    """The most memory that it has had, in bytes; None where the kernel does not say (v2 before 5.19)."""
    if group.places.version == "v2":
        return number_or_none(read_or(group.directories[0] + "/memory.peak"))
    place = group.places.where.get("memory")
    return number_or_none(read_or(f"{place}{group.path}/memory.max_usage_in_bytes")) if place else None


def blame(group: Cgroup) -> Blame:
    """Whose limit it was that processes of `group` were killed for, while it is still there."""
    v2 = group.places.version == "v2"
    mount = group.places.mounts[0] if v2 else group.places.where.get("memory", "")
    if not mount:
        return {"Scope": UNKNOWN}
    steps = group.path.strip("/").split("/")
    paths = ["/" + "/".join(steps[:count]) for count in range(len(steps), 0, -1)]
    met = [(path, limit) for path in paths if (limit := _met(mount + path, v2)) is not None]
    if len(met) > 1:
        return {"Scope": UNKNOWN}
    if met:
        path, limit = met[0]
        return {"Scope": OWN if path == paths[0] else ANCESTOR, "Cgroup": path, "Limit": limit}
    if v2 and pairs(read_or(f"{mount}{paths[0]}/memory.events")).get("oom", 0):
        return {"Scope": INSIDE}
    return {"Scope": MACHINE}


def _met(place: str, v2: bool) -> int | None:
    """The limit of one cgroup which it has run into itself, ever; None where it has not, or has none."""
    if v2:
        limit = number_or_none(read_or(place + "/memory.max"))
        events = read_or(place + "/memory.events.local")  # since 5.2; the other counts those below too
        return limit if limit is not None and pairs(events).get("oom", 0) else None
    for name in ("memory", "memory.memsw"):
        limit = number_or_none(read_or(f"{place}/{name}.limit_in_bytes"))
        if limit is not None and number_or_none(read_or(f"{place}/{name}.failcnt")):
            return limit
        # recent kernels count no failures of memory with swap, which comes first where both limits are one
        if name == "memory.memsw" and limit is not None:
            most = number_or_none(read_or(f"{place}/{name}.max_usage_in_bytes"))
            if most is not None and most >= limit:
                return limit
    return None
