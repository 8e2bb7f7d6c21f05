"""A container that goes on from the memory of a snapshot, in place of a start (cold path)."""

from __future__ import annotations

from estiva.errors import EstivaError, Unsupported
from estiva.runtime.lifecycle import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import Plan
    from estiva.runtime.launch.clone import Init
    from estiva.runtime.rootfs.rootfs import Rootfs


def revive(monitor: Any, rootfs: Rootfs, ends: tuple[int, int, int]) -> Init:
    """Its init, which runs, with its network plugged in. Raises the error that keeps it from that."""
    plan: Plan = monitor.plan

    def connect(init: Init) -> None:
        monitor.init = init
        monitor.connect()

    try:
        for key, what in (("sharing", "namespaces of others"), ("mounted", "mounts made ahead")):
            if plan.get(key):
                raise Unsupported(f"it is to have {what}")
        if "hooks" in plan["config"] or plan["config"]["process"]["terminal"]:
            raise Unsupported("it is to have hooks or a terminal")
        return memory.Restore(
            plan["memory"],
            plan["id"],
            f"{plan['run_root']}/containers/{plan['id']}",
            plan["config"],
            rootfs,
            monitor.cgroup,
            ends,
            connect,
        ).go()
    except BaseException as error:
        monitor.init = None
        if isinstance(error, EstivaError):
            error.message = (
                f"container {plan['name']} can't go on from its snapshot's memory: {error.message}"
            )
        raise
