"""`why`: how a container came to be in the state that it is in, in plain sentences."""

from __future__ import annotations

import time

from estiva.engine.containers import inspect
from estiva.errors import oneline
from estiva.runtime.cgroup.control import size
from estiva.timestamps import seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.life.end_types import Exit
    from estiva.engine.state.types import Record, State

SHORT = 10.0  # seconds: a restart after less than that looks like a loop
ADVICE = {
    126: "126 is what a shell says of a command that can't be executed: no execute bit, or a folder",
    127: "127 is what a shell says of a command that is not there, and a program's loader of a library",
    139: "139 is what a shell, or an init, says of a command that has crashed (SIGSEGV)",
}


def why(engine: Engine, ref: str) -> list[str]:
    """The sentences, without the log's last lines, which are in `inspect`'s State.Exit.LastLog. Raises
    NotFound."""
    return of(inspect.inspect(engine, ref))


def of(record: Record) -> list[str]:
    """`why` of what `inspect` has told."""
    state, name = record["State"], record["Name"].removeprefix("/")
    end = state.get("Exit")
    if end is not None and end.get("Failed") and not state["Running"]:
        return _not_started(name, state, end)
    if state["Status"] == "created":
        return [f"{name} has been created and was never started: `estiva start {name}` does that"]
    if state["Running"]:
        return _running(name, record)
    said = [_ended(name, state, end)]
    if end is not None:
        said += _reasons(end, name)
    if state["Error"]:
        said.append(oneline(state["Error"]))
    if state["Restarting"]:
        count = record.get("RestartCount", 0)
        said.append(f"it waits to be started again by its restart policy, {_times(count)} so far")
        if end is not None and end.get("Alive", SHORT) < SHORT and count > 2:
            said.append("it ends soon after each start: that is a loop")
    return said


def _not_started(name: str, state: State, end: Exit) -> list[str]:
    said = [f"{name} could not be started, and ended with status {end['Status']}", oneline(state["Error"])]
    return said + ([oneline(end["Hint"])] if end.get("Hint") else [])


def _running(name: str, record: Record) -> list[str]:
    state = record["State"]
    since = span(time.time() - seconds(state["StartedAt"]))
    said = [f"{name} has been running for {since}"]
    if state["Paused"]:
        said.append(f"it is paused: `estiva unpause {name}` lets it go on")
    health = state.get("Health")
    if health is not None and health["Status"] == "unhealthy":
        said.append(f"its health check has failed {_times(health['FailingStreak'])} in a row")
        if health["Log"]:
            last = health["Log"][-1]
            told = oneline(last["Output"].strip()[-300:])
            words = f"the last check ended with status {last['ExitCode']}"
            said.append(f"{words}: {told}" if told else words)
    count = record.get("RestartCount", 0)
    if count:
        said.append(f"it was started again {_times(count)} by its restart policy")
    end = state.get("Exit")
    if end is not None and end["Meaning"]:
        said.append(f"the run before: {end['Meaning']}")
    return said


def _ended(name: str, state: State, end: Exit | None) -> str:
    status, finished = state["ExitCode"], seconds(state["FinishedAt"])
    ago = span(time.time() - finished) if finished > 0 else ""
    alive = span(end["Alive"]) if end is not None and "Alive" in end else ""
    if ago and alive:
        return f"{name} ended {ago} ago, after {alive}, with status {status}"
    if ago:
        return f"{name} ended {ago} ago with status {status}"
    return (
        f"{name} ended, after {alive}, with status {status}"
        if alive
        else f"{name} ended with status {status}"
    )


def _reasons(end: Exit, name: str) -> list[str]:
    said = [end["Meaning"]] if end["Meaning"] else []
    killed = end.get("OOM")
    if killed is not None and killed.get("Processes"):
        told = ", ".join(f"{one['Name']} ({amount(one['Memory'])})" for one in killed["Processes"])
        said.append(f"the largest processes then: {told}")
    if killed is not None and killed.get("Scope") == "own":
        said.append(f"`estiva update -m SIZE {name}`, or run's --memory, gives it more memory")
    if "Seccomp" in end:
        said.append("--security-opt seccomp=PROFILE takes a profile that allows the system call")
    if end["Status"] in ADVICE and "Signal" not in end:
        said.append(ADVICE[end["Status"]])
    if "PeakMemory" in end:
        said.append(f"at most it had {size(end['PeakMemory'])} of memory")
    return said


def amount(number: int) -> str:
    """Bytes in whole units of 1024: "17 MiB"."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number >> shift >= 10 or number >> shift and shift == 10:
            return f"{number >> shift} {unit}"
    return f"{number} bytes"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def span(length: float) -> str:
    """A length of time in words: "0.3 seconds", "3 minutes", "2 days"."""
    length = max(0.0, length)
    if length < 10:
        return f"{length:.1f} seconds"
    if length < 120:
        return f"{int(length)} seconds"
    if length < 7200:
        return f"{int(length // 60)} minutes"
    return f"{int(length // 3600)} hours" if length < 172800 else f"{int(length // 86400)} days"
