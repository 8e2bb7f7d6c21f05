"""Waiting for a container, for so many seconds or without an end."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

from estiva.engine import waits
from estiva.engine.state import locks, lookup, runstate
from estiva.errors import EstivaError
from estiva.sdk import steps
from estiva.sdk.objects.shown import Exit, exit_of
from estiva.sdk.steps import Wait

if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.sdk.steps import Task

LONGEST = 3e9  # seconds: for ever
RUN = ("not-running", "next-exit", "removed")  # conditions that the end of a run comes before


class StillRunning(EstivaError, subprocess.TimeoutExpired):
    """What was waited for has not come within the timeout; it goes on. It is a subprocess.TimeoutExpired too,
    whose `output` and `stderr` have what a command has written up to then."""

    def __init__(
        self,
        message: str,
        cmd: Any = "",
        timeout: float = 0,
        output: bytes | None = None,
        stderr: bytes | None = None,
    ) -> None:
        Exception.__init__(self, message)  # each of the two has an __init__ of its own
        self.message, self.hint = message, ""
        self.cmd, self.timeout, self.output, self.stderr = cmd, timeout, output, stderr

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.cmd, self.timeout, self.output, self.stderr)


def wait(engine: Engine, ref: str, condition: str, timeout: float | None) -> Exit:
    """See Container.wait."""
    if timeout is not None:
        return steps.run(waiting(engine, ref, condition, timeout))
    begun = waits.Condition(engine, ref, [condition])
    return _told(engine, begun.id, begun.end())


def waiting(engine: Engine, ref: str, condition: str, timeout: float | None) -> Task[Exit]:
    """The same in steps: for the end of a run first for that of its main process, then for its monitor, which
    has to settle it."""
    deadline = time.monotonic() + (LONGEST if timeout is None else timeout)
    begun = waits.Condition(engine, ref, [condition])
    main = _main(engine, begun) if condition in RUN else -1
    pauses = steps.Pauses()
    try:
        while not _over(engine, begun, condition):
            left = deadline - time.monotonic()
            if left <= 0:
                raise StillRunning(
                    f"container {ref[:12]} {_what(condition)} after {timeout} s", timeout=timeout or 0
                )
            if main >= 0:
                if (yield Wait({main: select.POLLIN}, left)):
                    os.close(main)
                    main = -1
            else:
                pause = pauses.again()
                yield Wait({}, min(pause.seconds or 0, left))
        return _told(engine, begun.id, begun.end())
    finally:
        for fd in (main, begun.waiting.lock if begun.waiting is not None else -1):
            if fd >= 0:
                os.close(fd)


def _main(engine: Engine, begun: waits.Condition) -> int:
    """A pidfd of the main process of the run that is waited for; -1 where there is none yet."""
    live = runstate.read(engine.paths, begun.id) if begun.waiting is not None else None
    return runstate.opened(live["pid"], live["start_time"]) if live is not None else -1


def _what(condition: str) -> str:
    return {"not-running": "still runs", "removed": "is still there"}.get(condition, f"is not {condition}")


def _over(engine: Engine, waiting: waits.Condition, condition: str) -> bool:
    """Whether its `end` does not block any more."""
    record = None
    if waiting.waiting is None and waiting.restarting:
        record = lookup.resolve_if_there(engine, waiting.id)
        if record is not None and record["State"]["Restarting"]:
            return False
        waiting.begin_again()
        waiting.restarting = False
    if waiting.waiting is not None and waiting.waiting.lock >= 0 and condition == "not-running":
        return locks.has_ended(waiting.waiting.lock)
    record = record or lookup.resolve_if_there(engine, waiting.id)
    return record is None or waiting.met(condition, record)


def _told(engine: Engine, container_id: str, status: int) -> Exit:
    """How it ended, with what its row says of that end."""
    record = lookup.resolve_if_there(engine, container_id)
    if record is not None and not record["State"]["Running"] and record["State"]["ExitCode"] == status:
        return exit_of(record["State"])
    return Exit(status)
