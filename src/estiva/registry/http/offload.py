"""From the event loop to a blocking consumer, with flat memory."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from concurrent.futures import Executor
    from typing import Any, TypeVar

    T = TypeVar("T")

BATCH = 1 << 20  # bytes handed over at once: hashing and decompression drop the GIL, so both sides run


async def call(pool: Executor | None, function: Callable[..., T], *arguments: object) -> T:
    """Run what blocks in a thread. A cancelled caller waits for it: what it works on gets closed next."""
    running = asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
    try:
        return await asyncio.shield(running)
    except BaseException:
        await _outlast(running)
        raise


async def for_each(
    parallel: int, work: Callable[..., Awaitable[None]], arguments: Iterable[tuple[Any, ...]]
) -> None:
    """`work` with each of the arguments, `parallel` at a time. The first error cancels the others, and comes
    out when all of them have ended."""
    slots = asyncio.Semaphore(parallel)

    async def one(given: tuple[Any, ...]) -> None:
        async with slots:
            await work(*given)

    tasks = [asyncio.ensure_future(one(given)) for given in arguments]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _outlast(running: asyncio.Future[Any]) -> None:
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            continue
    if not running.cancelled():
        running.exception()  # seen, so never reported as lost


class Pump:
    """Bytes go in by `put`, come out as batches in `consume`: called in a thread, one at a time and in order.

    One batch is consumed while the next is collected; `put` waits when both are full. An error of `consume`
    comes out of the next `put` or `drain`. Whoever is done calls `drain`, or `settle` after an error: only
    then is no thread inside `consume`.
    """

    batch = BATCH

    def __init__(self, consume: Callable[[bytes], object], pool: Executor | None = None) -> None:
        self.consume = consume
        self.pool = pool
        self.chunks: list[bytes] = []
        self.collected = 0
        self.running: asyncio.Future[object] | None = None

    async def put(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.collected += len(chunk)
        if self.collected >= self.batch:
            await self._wait()
            self._hand_over()

    async def drain(self) -> None:
        """Wait until all that was put has been consumed."""
        await self._wait()
        if self.chunks:
            self._hand_over()
            await self._wait()

    async def settle(self) -> None:
        """Wait for a running `consume` whatever comes of it; what was only collected is dropped."""
        self.chunks.clear()
        self.collected = 0
        if self.running is not None:
            await _outlast(self.running)
            self.running = None

    def _hand_over(self) -> None:
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        self.collected = 0
        self.running = asyncio.get_running_loop().run_in_executor(self.pool, self.consume, data)

    async def _wait(self) -> None:
        if self.running is not None:
            await asyncio.shield(self.running)
            self.running = None


class Gather(Pump):
    """A pump whose `consume` takes the chunks as they came, in a list: nothing is copied to join them."""

    batch = BATCH >> 1  # a server has many at once

    def __init__(self, consume: Callable[[list[bytes]], object], pool: Executor | None = None) -> None:
        super().__init__(self._none, pool)
        self.take = consume

    @staticmethod
    def _none(data: bytes) -> None:
        raise AssertionError("a Gather hands lists over")

    def _hand_over(self) -> None:
        chunks, self.chunks = self.chunks, []
        self.collected = 0
        self.running = asyncio.get_running_loop().run_in_executor(self.pool, self.take, chunks)
