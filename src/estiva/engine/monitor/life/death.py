"""The death certificate: what a monitor knows of a run that is over, while its cgroup is still there."""

from __future__ import annotations

import time

from estiva import errors
from estiva.engine.monitor import events
from estiva.engine.state import teardown
from estiva.engine.state.life import certificate, sender
from estiva.linux import signals
from estiva.runtime.cgroup import blame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.engine.state.life.end_types import Exit, Sender
    from estiva.engine.state.types import Outcome, Plan, State
    from estiva.runtime.cgroup import Cgroup


def certify(
    plan: Plan, cgroup: Cgroup, status: int, kills: int, began: int, sent: Sequence[tuple[int, str]]
) -> Exit:
    """`status` as of waitstatus_to_exitcode, `kills` of the out-of-memory killer, `began` in nanoseconds,
    `sent` the signals that the monitor has passed on itself."""
    end: Exit = {"Status": 128 - status if status < 0 else status, "Meaning": ""}
    if began:
        end["Alive"] = max(0, time.time_ns() - began) // 1_000_000 / 1000
    try:
        peak = blame.peak(cgroup)
        if peak is not None:
            end["PeakMemory"] = peak
        if kills:
            killed = end["OOM"] = {"Count": kills}
            whose = blame.blame(cgroup)
            killed["Scope"] = whose["Scope"]
            if "Limit" in whose:
                killed["Cgroup"], killed["Limit"] = whose["Cgroup"], whose["Limit"]
            from estiva.runtime.cgroup import victims

            if largest := victims.largest(cgroup.path):
                killed["Processes"] = largest
    except OSError:
        pass  # a cgroup that others have taken away
    if status < 0:
        end["Signal"] = signals.name(-status)
    found = _sender(plan, status, bool(kills), [*sender.read(teardown.paths(plan), plan["id"]), *sent])
    if found is not None:
        end["Sender"] = found
    own = {"type": "pid"} in plan["config"]["linux"]["namespaces"] and not plan["init"]
    if status == -certificate.SYS and plan["seccomp"] is not None and own:
        end["Seccomp"] = True
    end["Meaning"] = certificate.meaning(end)
    return end


def unstarted(plan: Plan, error: BaseException, told: Outcome, began: int) -> None:
    """Settle a run whose start came to nothing; `told` is what the caller hears of the `error`."""
    status = errors.status(error)[0] if isinstance(error, errors.EstivaError) else 125
    end: Exit = {"Status": status, "Meaning": "", "Failed": True}
    if told["hint"]:
        end["Hint"] = told["hint"]
    end["Meaning"] = certificate.meaning(end)
    outcome: State = {"ExitCode": status, "Error": told["message"], "Exit": end}
    failed = not plan.get("again", False)  # else it has run before
    teardown.settle(plan, outcome, failed=failed, said=events.ended(plan, end, False, began))


def _sender(plan: Plan, status: int, oom: bool, sent: list[tuple[int, str]]) -> Sender | None:
    """Who has sent the signal that it died of, or the last one that was sent before it ended by itself."""
    number = -status if status < 0 else status - 128
    of_it = [(each, by) for each, by in sent if each == number]
    for each, by in reversed(of_it or ([] if status < 0 else sent)):
        return {"By": by, "Signal": signals.name(each)}
    if status >= 0 or oom and number == certificate.KILL:
        return None
    own = {"type": "pid"} in plan["config"]["linux"]["namespaces"]
    if own and number in certificate.FAULTS:
        return {"By": certificate.KERNEL, "Signal": signals.name(number)}
    if number == certificate.KILL and _cpu_limited(plan):
        return None
    by = certificate.HOST if own and number == certificate.KILL else certificate.OTHER
    return {"By": by, "Signal": signals.name(number)}


def _cpu_limited(plan: Plan) -> bool:
    """Whether the kernel may have sent SIGKILL, for its time of a processor (getrlimit(2))."""
    limits = plan["config"]["process"].get("rlimits") or ()
    return any(limit["type"] == "RLIMIT_CPU" for limit in limits)
