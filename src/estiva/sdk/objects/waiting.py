"""Waiting for a container, for so many seconds or without an end."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

from estiva.engine import waits
from estiva.engine.state import locks, lookup
from estiva.errors import EstivaError
from estiva.sdk.objects.shown import Exit, exit_of

if TYPE_CHECKING:
    from estiva.engine import Engine

LOOK_AGAIN = 0.02  # seconds


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
    waiting = waits.Condition(engine, ref, [condition])
    if timeout is None:
        return _told(engine, waiting.id, waiting.end())
    deadline = time.monotonic() + timeout
    try:
        while not _over(engine, waiting, condition):
            if time.monotonic() >= deadline:
                raise StillRunning(
                    f"container {ref[:12]} {_what(condition)} after {timeout} s", timeout=timeout
                )
            time.sleep(min(LOOK_AGAIN, max(0.0, deadline - time.monotonic())))
        return _told(engine, waiting.id, waiting.end())
    finally:
        lock = waiting.waiting.lock if waiting.waiting is not None else -1
        if lock >= 0:
            os.close(lock)


def _what(condition: str) -> str:
    return {"not-running": "still runs", "removed": "is still there"}.get(condition, f"is not {condition}")


def _over(engine: Engine, waiting: waits.Condition, condition: str) -> bool:
    """Whether its `end` does not block any more."""
    if condition == "not-running" and waiting.waiting is not None:
        return not locks.held(engine.paths, waiting.id)
    record = lookup.resolve_if_there(engine, waiting.id)
    return record is None or waiting.met(condition, record)


def _told(engine: Engine, container_id: str, status: int) -> Exit:
    """How it ended, with what its row says of that end."""
    record = lookup.resolve_if_there(engine, container_id)
    if record is not None and not record["State"]["Running"] and record["State"]["ExitCode"] == status:
        return exit_of(record["State"])
    return Exit(status)
