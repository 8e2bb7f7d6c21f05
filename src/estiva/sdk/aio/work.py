"""Work that takes its time, in asyncio: its progress, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, TypeVar

from estiva.sdk.collections import work as plain
from estiva.sdk.objects.shown import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

R = TypeVar("R")
PATIENCE = 5.0  # seconds for it to see that it is to end: a pull sees that at its next piece


class Work(AsyncIterator[Progress], Generic[R]):
    """A pull, a push or a build that goes on while its progress is read, each Progress once.

        async with engine.images.pulling("alpine") as work:
            async for step in work: print(step.id, step.current, step.total)
            image = await work.result()

    What went wrong is raised by the iteration, or by `result`. Leaving it, or cancelling its task, ends the
    work. It is done by a thread of its own, which begins with the first look.
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
                await self._came.wait()
        try:
            return next(work)
        except StopIteration:
            raise StopAsyncIteration from None

    async def result(self) -> R:
        """Do the rest, and give what it has made. Raises what went wrong."""
        async for _ in self:
            pass
        return self._begin().result()

    async def aclose(self) -> None:
        """End it, and wait for that, a few seconds at most. Fine if it has ended."""
        work = self._work
        if work is not None and self._came is not None:
            work.leave()
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while work.alive() and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.01)

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
