"""Work that takes its time, in asyncio: its progress, as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, TypeVar

from estiva.sdk import steps
from estiva.sdk.aio.loop import Firm, drive
from estiva.sdk.collections import work as plain
from estiva.sdk.objects.shown import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

R = TypeVar("R")
PATIENCE = 5.0  # seconds for it to see that it is to end: a pull sees that at its next piece


def _ended(work: plain.Work[R]) -> steps.Task[None]:
    """Until it has, for a few seconds."""
    deadline, pauses = time.monotonic() + PATIENCE, steps.Pauses()
    while work.alive() and time.monotonic() < deadline:
        yield pauses.again()


class Work(AsyncIterator[Progress], Generic[R]):
    """A pull, a push or a build that goes on while its progress is read, each Progress once.

        async with engine.images.pulling("alpine") as work:
            async for step in work: print(step.id, step.current, step.total)
            image = await work.result()

    What went wrong is raised by the iteration, or by `result`. Leaving it, dropping it, or cancelling the
    task that waits for it, ends the work. A thread of its own does it, which begins with the first look.
    """

    def __init__(self, function: Callable[[plain.Heard, plain.Look], R]) -> None:
        self._function = function
        self._work: plain.Work[R] | None = None
        self._came: asyncio.Event | None = None

    def _begin(self) -> plain.Work[R]:
        if self._work is None:
            loop, came = asyncio.get_running_loop(), asyncio.Event()

            def wake() -> None:
                try:
                    loop.call_soon_threadsafe(came.set)
                except RuntimeError:
                    pass  # the loop has gone

            self._came = came
            self._work = plain.Work(self._function, wake)
        return self._work

    async def __anext__(self) -> Progress:
        work = self._begin()
        assert self._came is not None
        while not work.ready():
            self._came.clear()
            if not work.ready():
                await self._step(self._came)
        try:
            return next(work)
        except StopIteration:
            raise StopAsyncIteration from None

    async def _step(self, came: asyncio.Event) -> None:
        """Wait for one. When that is cancelled the work has ended before it goes on."""
        try:
            await came.wait()
        except asyncio.CancelledError:
            with Firm() as firm:
                await self._end(firm)
            raise

    async def result(self) -> R:
        """Do the rest, and give what it has made. Raises what went wrong."""
        async for _ in self:
            pass
        return self._begin().result()

    async def aclose(self) -> None:
        """End it, and wait for that, a few seconds at most. Fine if it has ended."""
        with Firm() as firm:
            await self._end(firm)

    async def _end(self, firm: Firm) -> None:
        if self._work is not None:
            self._work.leave()
            await drive(_ended(self._work), firm=firm)

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if self._work is not None:
            self._work.leave()
        if kind is not GeneratorExit:
            await self.aclose()

    def __del__(self) -> None:
        if self._work is not None:
            self._work.leave()
