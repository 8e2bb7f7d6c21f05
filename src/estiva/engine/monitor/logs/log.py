"""The log of a container, as its plan has it: files, another place, or both (cold path)."""

from __future__ import annotations

from estiva.engine.state import teardown
from estiva.engine.state.logs.logfile import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.monitor.logs.outlet import Both
    from estiva.engine.state.types import Plan


def open(plan: Plan, *, new: bool) -> Writer | Both | None:
    """None where nothing is kept. Of a `new` run it raises Unavailable when nobody is there to take it."""
    file = None
    if plan["log"]:
        run = f"{plan['run_root']}/containers/{plan['id']}"
        file = Writer(plan["log"], teardown.paths(plan).ingest, run, plan.get("log_options"))
    if "outlet" not in plan:
        return file
    from estiva.engine.monitor.logs.outlet import Both, Outlet

    outlet = Outlet(plan["outlet"])
    if new:
        outlet.start()
    return Both(outlet, file)
