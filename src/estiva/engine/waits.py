"""`wait --condition`: until something is so of a container.

not-running, next-exit, removed                       Docker's (Engine API, ContainerWait)
created, running, paused, restarting, exited, ...     Podman's: by the state that a container is in
healthy, unhealthy                                    by its health check
"""

from __future__ import annotations

import time

from estiva.engine.containers.control import Waiting
from estiva.engine.state import lookup
from estiva.engine.state.life import health
from estiva.errors import Conflict, InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import Record

STATES = {
    **dict.fromkeys(("configured", "created", "initialized"), ("created",)),
    **dict.fromkeys(("exited", "stopped"), ("exited", "dead")),
    **{name: (name,) for name in ("paused", "restarting", "running")},
}
HEALTH = ("healthy", "unhealthy")
CONDITIONS = ("not-running", "next-exit", "removed", *STATES, *HEALTH)
INTERVAL = 0.1  # seconds between two looks
NONE = -1  # the status of what has not ended, as Podman


def check(condition: str) -> None:
    """Raises InvalidInput."""
    if condition not in CONDITIONS:
        raise InvalidInput(f"invalid condition: {brief(condition, 60)}", hint=", ".join(CONDITIONS))


class Condition:
    """A wait for one of `conditions` that has begun. Raises NotFound, InvalidInput."""

    def __init__(self, engine: Engine, ref: str, conditions: list[str], interval: float = INTERVAL) -> None:
        for condition in conditions:
            check(condition)
        self.engine = engine
        self.ref = ref
        self.conditions = conditions
        self.interval = interval
        record = lookup.resolve(engine, ref)
        self.id = record["Id"]
        self.run = _run(record)
        self.status = record["State"]["ExitCode"]
        self.restarting = record["State"]["Restarting"] and conditions == ["not-running"]
        running = record["State"]["Running"] and not self.restarting
        self.waiting = Waiting(engine, self.id) if running else None
        if not set(conditions).isdisjoint(HEALTH) and not health.argv(record["Config"]):
            raise InvalidInput(f"container {ref} has no health check", hint="see `estiva run --health-cmd`")

    def end(self) -> int:
        """Block until then; the exit status, or NONE for a condition of a container that has not ended."""
        if self.waiting is None and self.restarting:
            self.begin_again()
        if self.conditions == ["not-running"] and self.waiting is not None:
            return self.waiting.end()
        while True:
            record = lookup.resolve_if_there(self.engine, self.id)
            if record is None:
                return self.waiting.end() if self.waiting is not None else self.status
            for condition in self.conditions:
                if self.met(condition, record):
                    ended = not record["State"]["Running"] or condition == "next-exit"
                    return self.ended(record) if ended else NONE
            time.sleep(self.interval)

    def begin_again(self) -> None:
        """One that was restarting runs again, or has ended."""
        while (record := lookup.resolve_if_there(self.engine, self.id)) and record["State"]["Restarting"]:
            time.sleep(self.interval)
        if record is not None and record["State"]["Running"]:
            self.waiting, self.run = Waiting(self.engine, self.id), _run(record)

    def met(self, condition: str, record: Record) -> bool:
        state = record["State"]
        if condition in HEALTH:
            if not state["Running"]:
                raise Conflict(f"container {self.ref} does not run, so it does not become {condition}")
            return state.get("Health", {}).get("Status") == condition
        if condition == "next-exit":
            now = _run(record)
            ended = bool(self.run) and now != self.run  # also when it has been started again since
            self.run = now or self.run
            return ended
        if condition == "not-running":
            return not state["Running"]
        return state["Status"] in STATES.get(condition, ())

    def ended(self, record: Record) -> int:
        return self.waiting.end() if self.waiting is not None else int(record["State"]["ExitCode"])


def _run(record: Record) -> str:
    """Which run of a container goes on; "" for none."""
    state = record["State"]
    return state["StartedAt"] if state["Running"] and not state["Restarting"] else ""
