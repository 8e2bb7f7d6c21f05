"""Boxes in asyncio: `run`, `container`, `exec`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.engine.images.find import find_beginning
from estiva.errors import NotFound
from estiva.sdk import running, values
from estiva.sdk.aio.container import Container
from estiva.sdk.aio.entered import Entered, Held, started
from estiva.sdk.aio.loop import call, drive
from estiva.sdk.aio.snapshots import Snapshot, begins
from estiva.sdk.aio.work import Work
from estiva.sdk.collections.building import telling
from estiva.sdk.collections.containers import sent
from estiva.sdk.containers import Block as Plain
from estiva.sdk.containers import block
from estiva.sdk.engine import chosen
from estiva.sdk.objects.container import Container as PlainContainer
from estiva.sdk.pipes import MAX_OUTPUT
from estiva.sdk.run_options import RunOptions
from estiva.sdk.told import told, told_later
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.aio.images import Image
    from estiva.sdk.result import Result

    Word = str | os.PathLike[str]
    Data = bytes | bytearray | memoryview | str


@shows(RunOptions)
@told_later
async def run(
    image: str | Image | Snapshot,
    command: str | Sequence[Word] = (),
    *,
    input: Data | None = None,
    timeout: float | None = None,
    max_output: int = MAX_OUTPUT,
    on_output: Callable[[str, bytes], object] | None = None,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> Result:
    """Run a command in a new container and remove it: its status and output; as `estiva.run`.

        result = await estiva.aio.run("alpine", ["id"], user="nobody")

    When the task is cancelled, or its timeout comes, the container is killed and has gone before that goes
    on. `on_output` is called in the loop. Raises EstivaError.
    """
    return await finished(
        chosen(engine), begins(image), command, input, timeout, max_output, on_output, options, RunOptions
    )


async def finished(
    engine: Engine,
    image: Any,
    command: Any,
    input: Any,
    timeout: Any,
    max_output: Any,
    on_output: Any,
    options: Mapping[str, Any],
    kind: type,
) -> Result:
    """See `run`."""
    seconds = values.seconds(timeout)
    pipes = running.piped(input, max_output, on_output)
    begun = running.alone(engine, image, command, options, kind, stdin=input is not None)
    begun.options = await there(engine, begun.configs[0]["Image"], begun.options)
    with pipes:
        begun.with_stdio(pipes.theirs)
        async with Held(begun) as start:
            try:
                pipes.close_theirs()
                await started(start)
                await drive(pipes.exchange(seconds, start.launched))
                outcome = await call(start.wait)
            except BaseException:
                pipes.forget()
                raise
            finally:
                pipes.close()  # before the container's end is asked for
        return pipes.result(outcome, seconds)


async def there(engine: Engine, image: str, options: dict[str, Any]) -> dict[str, Any]:
    """Pull an image that is missing, by a thread of its own: a pull takes its time, and may be cancelled. The
    options of a container of it."""
    pull, platform = options["pull"], options["platform"]
    if pull != "always":
        try:
            await call(lambda: find_beginning(engine, image, "never", platform, None))
            return options
        except NotFound:
            if pull == "never":
                raise
    work = Work(lambda heard, look: find_beginning(engine, image, pull, platform, telling(heard)))
    async with work:
        await work.result()
    return {**options, "pull": "missing"}


@told
@shows(RunOptions)
def container(
    image: str | Image | Snapshot,
    command: str | Sequence[Word] | None = None,
    *,
    keep: bool = False,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> AbstractAsyncContextManager[Container]:
    """A container for the length of an `async with`: as `estiva.container`.

        async with estiva.aio.container("alpine", memory="256m") as box:
            print((await box.exec("id")).output)

    It is killed and removed at the end of the block, however that ends, and with the program.
    """
    plain = block(chosen(engine), begins(image), command, options, RunOptions, keep=keep)
    return Block(plain, Container)


class Block(Entered[Plain, Container]):
    """What `container` gives: see there."""

    async def _begin(self) -> PlainContainer:
        plain = self._plain
        config, host_config, wanted = plain.asked
        wanted = plain.begun.options = await there(plain.engine, config["Image"], wanted)
        if plain.keep:
            return await kept(plain.engine, config, host_config, wanted)
        return await super()._begin()


async def kept(
    engine: Engine,
    config: Mapping[str, Any],
    host_config: Mapping[str, Any],
    wanted: dict[str, Any],
) -> PlainContainer:
    """Start a container that goes on without the program."""
    start = await call(
        lambda: sent(engine, dict(config), dict(host_config), wanted), lambda start: start.close()
    )
    with start:
        await started(start)
    return PlainContainer(engine, start.id, own=True)
