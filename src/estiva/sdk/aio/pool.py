"""Boxes made ahead, in asyncio: see sdk/sandbox/pool.py, whose two threads make them here, too."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from estiva.errors import EstivaError
from estiva.sdk.aio.bridge import Around, Field
from estiva.sdk.aio.container import Container
from estiva.sdk.aio.containers import there
from estiva.sdk.aio.entered import Entered
from estiva.sdk.aio.loop import SHORT, Firm, call, drive
from estiva.sdk.aio.snapshots import Snapshot, begins
from estiva.sdk.engine import chosen
from estiva.sdk.run_options import RunOptions
from estiva.sdk.sandbox import pool as plain
from estiva.sdk.sandbox.ready import Ready
from estiva.sdk.told import told, told_later
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractAsyncContextManager
    from typing import Self, Unpack

    from estiva.engine import Engine
    from estiva.sdk.aio.images import Image
    from estiva.sdk.objects.container import Container as PlainContainer
    from estiva.sdk.sandbox.owned import Owned


class Pool(Around[plain.Pool]):
    """Boxes made ahead: see `estiva.aio.pool`. `ready`: how many can be had at once."""

    size = Field[int]("size")
    warm = Field[str]("warm")
    ready = Field[int]("ready")

    def box(self) -> AbstractAsyncContextManager[Container]:
        """A box, for an `async with`, at whose end it is killed and removed. Waits where none is ready, the
        first who has asked first. Raises the error of why there is none, Conflict for a pool that is closed.
        """
        return Taken(self._plain)

    @told_later
    async def close(self) -> None:
        """End all boxes that nobody has; those that are in use end with their blocks. Again: nothing."""
        self._plain.shut()
        with Firm() as firm:
            await firm.wait(asyncio.wrap_future(self._plain.ended))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is GeneratorExit:  # there is no loop any more
            self._plain.shut()
        else:
            await self.close()


class Opening:
    """What `pool` gives: to be awaited, or for an `async with`, at whose end the pool is closed."""

    def __init__(self, pool: plain.Pool) -> None:
        self._plain = pool
        self._pool: Pool | None = None

    def __await__(self) -> Generator[Any, None, Pool]:
        return self._open().__await__()

    async def __aenter__(self) -> Pool:
        self._pool = await self._open()
        return self._pool

    async def __aexit__(self, *exception: Any) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(*exception)

    @told_later
    async def _open(self) -> Pool:
        pool = self._plain
        config, _, wanted = pool.asked()
        await there(pool.engine, config["Image"], wanted)
        pool.found()
        first = pool.new()
        try:
            await drive(first.making(), apart=True)
            pool.begin(first)
        except BaseException as error:
            await ended(first, type(error))
            raise
        return Pool(pool)


async def ended(box: Ready, kind: type[BaseException] | None = None) -> None:
    """Have a box of a pool killed and removed; a sweep finds what is left."""
    try:
        await Entered(cast("Owned[PlainContainer]", box), Container).__aexit__(kind)
    except (EstivaError, OSError):
        pass


class Taken:
    """What `Pool.box` gives: see there."""

    def __init__(self, pool: plain.Pool) -> None:
        self._pool = pool
        self._taken: list[Ready] = []

    @told_later
    async def __aenter__(self) -> Container:
        while True:
            found = await self._next()
            try:
                box = await call(found.take)
            except EstivaError:
                await self._back(found)  # somebody has removed it
            except BaseException as error:
                await self._back(found, type(error))
                raise
            else:
                self._taken.append(found)
                return Container(box)

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        await self._back(self._taken.pop(), kind)

    async def _next(self) -> Ready:
        future, since = self._pool.ask(), time.monotonic()
        here = asyncio.wrap_future(future)
        here.add_done_callback(lambda done: done.cancelled() or done.exception())  # it has been looked at
        if not future.done():  # the pool's threads know of who waits: in a loop that is closed, till then
            loop = asyncio.get_running_loop()
            future.add_done_callback(lambda done: SHORT.submit(self._pool.passed, loop))
        try:
            while not here.done():
                await asyncio.wait([here], timeout=self._pool.left(since))
            return here.result()
        except BaseException as error:
            left = self._pool.leave(future)
            if left is not None:
                await ended(left, type(error))
            raise

    async def _back(self, used: Ready, kind: type[BaseException] | None = None) -> None:
        if not self._pool.put(used):
            await ended(used, kind)


@told
@shows(RunOptions)
def pool(
    image: str | Image | Snapshot,
    *,
    size: int = 8,
    warm: str = "",
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> Opening:
    """Boxes made ahead, for an `async with`: as `estiva.pool`.

        async with estiva.aio.pool("alpine", size=8, network="none") as pool:
            async with pool.box() as box:
                print((await box.exec(["id"])).output)

    Or `pool = await estiva.aio.pool(...)`, and `await pool.close()` in the end. It has two threads, however
    many wait for a box. Raises EstivaError.
    """
    return Opening(plain.Pool(chosen(engine), begins(image), size, warm, dict(options)))
