"""A container for the length of an `async with`, around the block that the plain API has for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from estiva.sdk.aio.loop import LONG, Firm, call, drive, ready
from estiva.sdk.begun import ending
from estiva.sdk.told import told_later

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine.launch.start import Start
    from estiva.sdk.begun import Begun
    from estiva.sdk.objects.container import Container as PlainContainer
    from estiva.sdk.sandbox.owned import Owned

B = TypeVar("B", bound="Owned[PlainContainer]")
C = TypeVar("C")


async def started(start: Start) -> None:
    """Wait until its command runs. Raises what kept it from that."""
    await ready(start.launched.channel.fileno())
    start.started()


class Held:
    """A container that was begun for a task, and ends with the block: an `async with` around its Start."""

    def __init__(self, begun: Begun) -> None:
        self.begun = begun

    async def __aenter__(self) -> Start:
        try:
            return await call(self.begun.begin)
        except BaseException as error:
            await self.close(type(error))
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        await self.close(kind)

    async def close(self, kind: type[BaseException] | None = None) -> None:
        """Have it killed and removed, whatever is cancelled meanwhile."""
        if kind is GeneratorExit:  # there is no loop any more
            if not sys.is_finalizing():  # nor a program, which its monitor sees
                self.begun.close()
            return
        start = self.begun.leave()
        if start is not None:
            with Firm() as firm:
                try:
                    if start.begun and not await drive(ending(start), firm=firm):
                        await call(lambda: self.begun.force(start), firm=firm)
                finally:
                    start.close()


class Entered(Generic[B, C]):
    """See above. `wrap` makes asyncio's container of the plain one."""

    def __init__(self, plain: B, wrap: Callable[[PlainContainer], C]) -> None:
        self._plain = plain
        self._wrap = wrap
        self._held = Held(plain.begun)

    @told_later
    async def __aenter__(self) -> C:
        self._plain.enter()
        try:
            return self._wrap(await self._begin())
        except BaseException as error:
            await self.__aexit__(type(error))
            raise

    async def _begin(self) -> PlainContainer:
        start = await self._held.__aenter__()
        await started(start)
        return self._plain.made(start)

    @told_later
    async def __aexit__(self, kind: type[BaseException] | None = None, *exception: object) -> None:
        try:
            await self._held.close(kind)
        finally:
            self._plain.left()


class Fork(Generic[C]):
    """What `fork` gives: see there. The snapshot is taken when the block is entered."""

    def __init__(
        self, box: PlainContainer, wrap: Callable[[PlainContainer], C], *, memory: bool = False
    ) -> None:
        self._box = box
        self._memory = memory
        self._wrap = wrap
        self._entered: list[Entered[Owned[PlainContainer], C]] = []

    @told_later
    async def __aenter__(self) -> C:
        block = cast(
            "Owned[PlainContainer]", await call(lambda: self._box.fork(memory=self._memory), pool=LONG)
        )
        entered = Entered(block, self._wrap)
        made = await entered.__aenter__()
        self._entered.append(entered)
        return made

    async def __aexit__(self, *exception: object) -> None:
        await self._entered.pop().__aexit__(*exception)  # type: ignore[arg-type]
