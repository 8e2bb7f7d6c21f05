"""`healthcheck run`: a container's check, once, now. Its result counts as one of the monitor's does."""

from __future__ import annotations

import select
import time

from estiva.engine.monitor.life import health as checking
from estiva.engine.state import lookup
from estiva.engine.state.life import health as states
from estiva.errors import Conflict, InvalidInput
from estiva.timestamps import seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import HealthResult

GRACE = 10.0  # seconds that what is killed has to end


def run(engine: Engine, ref: str) -> tuple[HealthResult, str]:
    """(the result, what the health is then). By a process with one thread. Raises NotFound, Conflict when the
    container does not run or is paused, InvalidInput when it has no check.
    """
    record = lookup.resolve(engine, ref)
    plan = states.plan(record["Config"])
    if plan is None:
        raise InvalidInput(
            f"container {ref} has no defined healthcheck", hint="see `estiva run --health-cmd`"
        )
    live = lookup.running_state(engine, ref)
    if live.get("paused"):
        raise Conflict(f"container {ref} is paused", hint=f"`estiva unpause {ref}` lets it go on")
    run = engine.paths.run_container(record["Id"])
    wanted = checking.exec_plan(live, engine.paths, plan["argv"])
    check = checking.Check(wanted, plan["timeout"])
    result = None
    try:
        while True:
            poll = select.poll()
            check.register(poll)
            ready = dict(poll.poll(max(0.0, check.deadline - time.monotonic()) * 1000))
            if check.output in ready:
                check.read()
            if check.channel.fileno() in ready and check.hear():
                result = result or check.result()
                break
            if not ready and result is not None:
                break  # it was killed, and has not ended
            if not ready:
                result = check.timed_out(plan["timeout"])
                check.deadline = time.monotonic() + GRACE
    finally:
        check.close(wait=False)
    state = states.read(run)
    lenient = time.time() - seconds(live["started"]) < plan["start_period"]
    states.add(state, result, retries=plan["retries"], lenient=lenient)
    try:
        states.write(run, state)
    except FileNotFoundError:
        pass  # it has ended meanwhile
    return result, state["Status"]
