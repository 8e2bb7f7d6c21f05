"""Which root filesystem a plan asks for."""

from __future__ import annotations

from estiva.runtime.rootfs.rootfs import Rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Plan


def rootfs_of(plan: Plan) -> Rootfs:
    return Rootfs(
        lowerdirs=plan["lowerdirs"],
        upper=plan["upper"],
        work=plan["work"],
        readonly=plan["config"]["root"]["readonly"],
        options=[(key, value) for key, value in plan["overlay"]],
    )
