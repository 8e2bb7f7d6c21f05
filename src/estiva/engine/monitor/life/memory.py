"""The `oom` event of a container, when it happens: of one with a limit of memory, whose monitor is awake.

One that hibernates is not woken up for it (nothing that a shell could wait for tells it, save on cgroup v2,
where it would come with each time that the limit makes the kernel reclaim): it tells it when it wakes up, at
the end at the latest. So does one without a limit of its own.
"""

from __future__ import annotations

from estiva.engine.monitor import events
from estiva.runtime.cgroup.oom import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Plan
    from estiva.runtime.cgroup import Cgroup


class Memory(Watch):
    """Poll `fd` for `interest`, then `look`."""

    def __init__(self, plan: Plan, group: Cgroup, known: int = 0) -> None:
        """`known`: how often it has run out so far, as far as events tell that."""
        super().__init__(group, known)
        self.plan = plan

    def look(self, told: bool) -> None:
        """Write the event if memory has run out since the last look; `told`: `fd` is ready."""
        if self.happened(told):
            events.out_of_memory(self.plan)
