"""What answers that go on for long have in common: an engine's task in steps, an object a line, an error that
comes after the headers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from aiohttp import web

from estiva.engine.state import lookup
from estiva.errors import EstivaError, Missing, NotFound, from_os, oneline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Executor

    from estiva.engine import Engine
    from estiva.engine.state.types import Record

R = TypeVar("R")

DETACH = b"\x10\x11"  # ctrl-p ctrl-q
FRAMED = (1, 42)  # the version from which on the multiplexed form has a content type of its own


def line(value: Any) -> bytes:
    """An object as Docker streams it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
    return text.encode("utf-8", "replace")


async def step(pool: Executor, verb: Callable[[Any], R], task: Generator[Any, None, Any]) -> R:
    """What `verb` gives of a task of the engine's, in a thread. A caller that is cancelled closes the task,
    once it can be."""
    future = pool.submit(verb, task)
    try:
        return await asyncio.wrap_future(future)
    except BaseException:
        future.add_done_callback(lambda _: task.close())
        raise


async def readable(fd: int, seconds: float) -> None:
    """Until an fd (-1: none) is readable, or so many seconds have passed."""
    if fd < 0:
        await asyncio.sleep(seconds)
        return
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), seconds + 0.001)
    finally:
        loop.remove_reader(fd)


@contextlib.contextmanager
def told(request: web.Request, response: web.StreamResponse) -> Iterator[None]:
    """An error before the headers is told as any other; after them nothing can be told but that it broke."""
    try:
        yield
    except (OSError, EstivaError) as error:
        if response.prepared:
            if request.transport is not None:
                request.transport.abort()
        elif isinstance(error, OSError):
            raise from_os(error) from None
        else:
            raise


def record_of(engine: Engine, ref: str) -> Record:
    """A container's. Raises NotFound, in Docker's words."""
    try:
        return lookup.resolve(engine, ref)
    except Missing as error:
        raise NotFound(f"No such container: {oneline(error.name)}") from None


class Client(Protocol):
    lost: bool

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...


class Terms(NamedTuple):
    """What goes between the two."""

    wanted: frozenset[int]  # 0: what is typed; 1, 2: what comes out
    framed: bool  # in the multiplexed form
    tty: bool  # the detach keys count
    once: bool  # the end of what is typed is the end of the container's input
    keys: bytes = DETACH


def framed(number: int, data: bytes) -> bytes:
    """Bytes of stdout (1) or stderr (2) in the multiplexed form (Engine API, ContainerAttach)."""
    return struct.pack(">BxxxL", number, len(data)) + data
