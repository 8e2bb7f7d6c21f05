"""`wait`: for ends of containers, of any number of clients, by one follower of the event log.

Whoever ends a container writes that there (engine/state/eventlog.py). What nobody could write, because a
monitor was killed or the disk is full, is found by a look at all of them now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from estiva.api import streaming
from estiva.engine import events
from estiva.engine.state import locks, lookup
from estiva.errors import EstivaError
from estiva.timestamps import seconds

if TYPE_CHECKING:
    from estiva.api.work import Work
    from estiva.engine import Engine
    from estiva.engine.state.types import Record

GOING, GOES = 0.005, 400  # seconds between looks at a monitor that goes, and how many: it may be a later one
HELD, SENT = 0.1, 0.001  # seconds that an answer may take, and the way of its bytes
LOOK = 2.0  # seconds between two looks at those whose end nobody has told


class Waiting:
    """One who waits for the end of a container's run, or for its removal."""

    def __init__(self, container_id: str, removed: bool) -> None:
        self.id = container_id
        self.removed = removed
        self.after = time.time()  # only what happens from then on counts
        self.status = 0
        self.runs = False
        self.over = asyncio.Event()

    def begins(self, record: Record) -> None:
        """What is known of it at first."""
        state = record["State"]
        self.status, self.runs = state["ExitCode"], state["Running"]
        if self.runs and not state["Restarting"]:
            self.after = seconds(state["StartedAt"])

    def hear(self, event: dict[str, Any]) -> None:
        if event["timeNano"] / 1e9 < self.after:
            return
        if event["Action"] == "die":
            self.status = int(event["Actor"]["Attributes"].get("exitCode", "0"))
        if event["Action"] == "destroy" or not self.removed:
            self.over.set()

    def look(self, record: Record | None) -> None:
        """Its end may not have been told."""
        if record is None:
            self.over.set()
        elif self.runs and not self.removed and not record["State"]["Running"]:
            self.status = record["State"]["ExitCode"]
            self.over.set()


class Ends:
    """All who wait, in one server."""

    def __init__(self, engine: Engine, work: Work) -> None:
        self.engine = engine
        self.work = work
        self._waiting: dict[str, list[Waiting]] = {}
        self._stopped: dict[str, list[asyncio.Event]] = {}  # by those who wait for the answer to a `stop`
        self._tasks: list[asyncio.Task[None]] = []
        self._begun = asyncio.Event()

    async def begin(self) -> None:
        """Returns once nothing is missed any more."""
        if not self._tasks or any(task.done() for task in self._tasks):
            self.close()
            self._begun.clear()
            self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._look())]
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait([begun, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()

    @contextlib.contextmanager
    def waiting(self, container_id: str, removed: bool) -> Any:
        """A block in which a Waiting hears."""
        one = Waiting(container_id, removed)
        self._waiting.setdefault(container_id, []).append(one)
        try:
            yield one
        finally:
            left = self._waiting[container_id]
            left.remove(one)
            if not left:
                del self._waiting[container_id]

    @contextlib.contextmanager
    def stopped(self, container_id: str) -> Any:
        """A block after which a `stop` is answered."""
        answered = asyncio.Event()
        self._stopped.setdefault(container_id, []).append(answered)
        try:
            yield
        finally:
            answered.set()
            left = self._stopped[container_id]
            left.remove(answered)
            if not left:
                del self._stopped[container_id]

    async def answers(self, container_id: str) -> None:
        """The end of a container is told to others after who asked for it has heard, as docker does, or a
        moment later: compose 2.26 breaks off with a panic at a Ctrl-C where it is the other way round."""
        for answered in list(self._stopped.get(container_id, ())):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(answered.wait(), HELD)
                await asyncio.sleep(SENT)

    async def _follow(self) -> None:
        filters = {"type": ["container"], "event": ["die", "destroy"]}
        happening = events.happening(self.engine, filters=filters, begun=lambda: None)
        try:
            while True:
                event = await self.work.do(next, happening)
                if isinstance(event, dict):
                    for one in self._waiting.get(event["Actor"]["ID"], ()):
                        one.hear(event)
                    continue
                self._begun.set()  # all that was there has been read
                await streaming.readable(*event)
        finally:
            with contextlib.suppress(ValueError):  # a thread is in it: the server ends
                happening.close()  # type: ignore[attr-defined]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            if self._waiting:
                for container_id, record in await self.work.do(self._ended, list(self._waiting)):
                    for one in self._waiting.get(container_id, ()):
                        one.look(record)

    def _ended(self, ids: list[str]) -> list[tuple[str, Record | None]]:
        """Those that nobody holds, with what is known of them; settled by that, where nobody has."""
        found: list[tuple[str, Record | None]] = []
        for each in ids:
            if not locks.held(self.engine.paths, each):
                with contextlib.suppress(EstivaError):  # a damaged one is no reason to forget the others
                    found.append((each, lookup.resolve_if_there(self.engine, each)))
        return found

    async def gone(self, container_id: str) -> None:
        """Until the monitor of a run whose end has been told has gone, so that whoever looks next does not
        take it for one that runs."""
        fd = locks.watch(self.engine.paths, container_id)
        if fd < 0:
            return
        try:
            for _ in range(GOES):
                if locks.has_ended(fd):
                    return
                await asyncio.sleep(GOING)
        finally:
            os.close(fd)

    def close(self) -> None:
        while self._tasks:
            self._tasks.pop().cancel()
