"""Undoing a change of limits of which the kernel has taken a part and refused the rest."""

from __future__ import annotations

from estiva.runtime.cgroup.control import put, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.cgroup.base import Cgroup

# control files with one value, which can be written back as it was read
_V1 = (
    ("memory", ("limit_in_bytes", "memsw.limit_in_bytes", "soft_limit_in_bytes", "swappiness")),
    ("cpu", ("shares", "cfs_period_us", "cfs_quota_us", "rt_period_us", "rt_runtime_us", "idle")),
    ("cpuset", ("cpus", "mems")),
    ("pids", ("max",)),
    ("blkio", ("weight", "bfq.weight")),
)
_V2 = (
    ("memory", ("max", "swap.max", "low")),
    ("cpu", ("weight", "max", "idle")),
    ("cpuset", ("cpus", "mems")),
    ("pids", ("max",)),
    ("io", ("weight", "bfq.weight")),
)


class Snapshot:
    """The limits of a cgroup as they stand."""

    def __init__(self, group: Cgroup) -> None:
        places = group.places
        self.values: list[tuple[str, str]] = []
        for controller, names in _V2 if places.version == "v2" else _V1:
            mount = places.mounts[0] if places.version == "v2" else places.where.get(controller)
            for name in names if mount is not None else ():
                path = f"{mount}{group.path}/{controller}.{name}"
                try:
                    self.values.append((path, read(path)))
                except OSError:
                    continue  # the kernel has no such limit

    def restore(self) -> None:
        """Write back what has changed. In two rounds: the one limit may have to wait for the other, as memory
        and memory with swap do."""
        for _ in range(2):
            for path, value in self.values:
                try:
                    if read(path) != value:
                        put(path, value or "\n")
                except OSError:
                    continue
