"""A place of one exec's own below its container's cgroup, so that it can be ended with all that it started.

It has no limits: the container's count for it. Where there is a v2 tree it is there, which a process enters
by CLONE_INTO_CGROUP at no cost; else in the hierarchy that lists the container's processes.
"""

from __future__ import annotations

import os

from estiva.errors import EngineError
from estiva.runtime.cgroup.base import Cgroup
from estiva.runtime.cgroup.v1.group import CgroupV1
from estiva.runtime.cgroup.v2.group import CgroupV2


class _LeafV1(CgroupV1):
    def __init__(self, group: CgroupV1, name: str) -> None:
        super().__init__(group.path, group.places)
        above = self.unified or group._listing()
        self.own = f"{above}/{name}"
        os.mkdir(self.own, 0o755)
        if self.unified:
            self.unified = self.own
        else:
            self.entered = tuple([self.own if place == above else place for place in self.entered])
        self.directories = (self.own,)

    def place(self, controller: str) -> str:
        found = super().place(controller)
        return self.own if self.own == f"{found}/{os.path.basename(self.own)}" else found

    def _listing(self) -> str:
        return self.own

    def freeze(self, timeout: float = 2.0) -> None:
        if self.unified:
            raise EngineError(f"cgroup {self.own} can't be frozen alone")  # the freezer is the container's
        super().freeze(timeout)

    def thaw(self) -> None:
        if not self.unified:
            super().thaw()


def leaf(group: Cgroup, name: str) -> Cgroup | None:
    """A new cgroup below `group`, which exists; None where none can be made."""
    try:
        if isinstance(group, CgroupV1):
            return _LeafV1(group, name)
        made = CgroupV2(f"{group.path}/{name}", group.places)
        os.mkdir(made.directory, 0o755)
        return made
    except OSError:
        return None
