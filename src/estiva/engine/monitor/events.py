"""What a monitor tells others: its container's run state, and the event log how that has begun and ended."""

from __future__ import annotations

import os
import time

from estiva.engine.monitor.network import endpoint
from estiva.engine.state import eventlog, names, runstate, teardown
from estiva.errors import EstivaError
from estiva.linux import procinfo
from estiva.paths import Paths
from estiva.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from estiva.engine.state.life.end_types import Exit
    from estiva.engine.state.types import ExecPlan, Plan
    from estiva.network.types import Place


def write_state(monitor: Any) -> None:
    """By it others find the container from now on."""
    plan: Plan = monitor.plan
    state.write(
        f"{plan['run_root']}/containers/{plan['id']}",
        {
            "id": plan["id"],
            "name": plan["name"],
            "pid": monitor.init.pid,
            "start_time": procinfo.start_time(monitor.init.pid),
            "monitor": os.getpid(),
            "monitor_start": procinfo.start_time(os.getpid()),
            "started": monitor.started,
            "cgroup": monitor.cgroup.path,
            # nobody executes anything in a build's step, and its secrets may be in there
            "process": plan["config"]["process"] | ({"env": []} if plan["ephemeral"] else {}),
            "seccomp": plan["seccomp"],
            "network": endpoint.shown(plan, monitor.endpoint),
            "stop_signal": plan["stop_signal"],
            "about": plan.get("about", {}),
            **({"root": monitor.root} if monitor.root is not None else {}),
            **{key: plan[key] for key in ("limits", "profile") if key in plan},
        },
    )


def started(where: Paths, plan: Plan) -> None:
    """Somebody is with it from the start, its volumes are mounted, its command runs."""
    if "about" in plan:
        attached = () if plan["detach"] else ("attach",)
        lines = [eventlog.line("container", action, plan["id"], plan["about"]) for action in attached]
        lines += [*volumes(plan, "mount"), *networks(plan, "connect")]
        eventlog.append(where, *lines, eventlog.line("container", "start", plan["id"], plan["about"]))


def resized(plan: Plan, rows: int, columns: int) -> None:
    """Its terminal has another size."""
    if "about" in plan:
        about = {**plan["about"], "height": str(rows), "width": str(columns)}
        eventlog.write(teardown.paths(plan), "container", "resize", plan["id"], about)


def ended(plan: Plan, end: Exit, oom: bool, began: int) -> list[str]:
    """The lines for its end, now, to be written when others may know; `oom`: memory ran out, and that has not
    been told; `began` in nanoseconds."""
    if "about" not in plan:
        return []
    about = _about(plan)
    lines = [eventlog.line("container", "oom", plan["id"], about)] if oom else []
    lived = (time.time_ns() - began) // 1_000_000_000 if began else 0
    died = {**about, "execDuration": str(max(0, lived)), "exitCode": str(end["Status"])}
    if end["Meaning"]:
        died["meaning"] = end["Meaning"]
    lines.append(eventlog.line("container", "die", plan["id"], died))
    return [*lines, *networks(plan, "disconnect", _places_now(plan)), *volumes(plan, "unmount")]


def out_of_memory(plan: Plan) -> None:
    """The kernel has killed something in it, for its limit of memory."""
    if "about" in plan:
        where = teardown.paths(plan)
        eventlog.write(where, "container", "oom", plan["id"], _about(plan))


def _about(plan: Plan) -> dict[str, str]:
    current = names.linked(plan["run_root"], plan["name"], plan["id"])
    if current:  # it may have been renamed
        plan["about"] = {**plan["about"], "name": current}
    return plan["about"]


def exec_started(wanted: ExecPlan) -> None:
    """Of an exec: it has been made, and runs; one that is kept was made before."""
    if "events" in wanted:
        command = " ".join(wanted["config"]["process"]["args"])
        lines = [
            eventlog.line("container", f"{what}: {command}", wanted["id"], wanted["events"]["about"])
            for what in (("exec_start",) if "kept" in wanted else ("exec_create", "exec_start"))
        ]
        eventlog.append(_paths(wanted), *lines)


def exec_ended(wanted: ExecPlan, code: int) -> None:
    """It has ended; one that was left by the detach keys nobody sees end."""
    if "events" in wanted:
        about = {**wanted["events"]["about"], "exitCode": str(code)}
        eventlog.write(_paths(wanted), "container", "exec_die", wanted["id"], about)


def _paths(wanted: ExecPlan) -> Paths:
    return Paths(wanted["events"]["root"], wanted["events"]["run_root"])


def volumes(plan: Plan, action: str) -> list[str]:
    """The lines for its volumes."""
    lines = []
    for name, how in plan.get("volumes", ()):
        said = {"container": plan["id"], "driver": "local", **(how if action == "mount" else {})}
        lines.append(eventlog.line("volume", action, name, said))
    return lines


def networks(plan: Plan, action: str, places: Sequence[Place] | None = None) -> list[str]:
    """The lines for the networks that it starts on, or for these."""
    network = plan["network"]
    if places is None and "places" in network:
        places = network["places"]
    if places is not None:
        return [
            eventlog.network(action, place["name"], place["network"], place["driver"], plan["id"])
            for place in places
        ]
    known = network["mode"] in eventlog.PREDEFINED
    return [eventlog.network(action, network["mode"], container_id=plan["id"])] if known else []


def _places_now(plan: Plan) -> Sequence[Place] | None:
    """The networks that it is on at its end, where others have changed that while it ran; else None."""
    try:
        live = runstate.read(teardown.paths(plan), plan["id"])
    except EstivaError:
        return None
    return live["network"].get("places") if live and "network" in live else None
