"""The engine's tasks (engine/containers/tasks.py) without a thread each: a step in one, then a pause."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from estiva.engine.containers.tasks import FIRST, LONGEST

if TYPE_CHECKING:
    from collections.abc import Generator

    from estiva.api.app import Api

Result = TypeVar("Result")

_going: set[asyncio.Task[object]] = set()


async def drive(api: Api, task: Generator[None, None, Result], *, ends: str = "") -> Result:
    """Do a task to its end, also when the client goes away meanwhile, as docker does; what it returns.

    `ends`: the id of the container whose end the task waits for. It hears of that, not only when it looks
    again: who follows the events, too, has the answer to `stop` about when the end is told, as of docker.
    """
    going = asyncio.ensure_future(_drive(api, task, ends))
    _going.add(going)
    going.add_done_callback(_going.discard)
    going.add_done_callback(_heed)
    return await asyncio.shield(going)


async def _drive(api: Api, task: Generator[None, None, Result], ends: str) -> Result:
    pause = FIRST
    with contextlib.closing(task), contextlib.ExitStack() as stack:
        told: asyncio.Event | None = None
        if ends:
            await api.ends.begin()
            told = stack.enter_context(api.ends.waiting(ends, removed=False)).over
        while True:
            ended, result = await api.work.do(_step, task)
            if ended:
                return result[0]
            if told is None or told.is_set():
                await asyncio.sleep(pause)
            elif await _heard(told, pause):
                pause = FIRST
                continue
            pause = min(pause * 1.5, LONGEST)


async def _heard(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


def _step(task: Generator[None, None, Result]) -> tuple[bool, list[Result]]:
    try:
        next(task)
        return False, []
    except StopIteration as end:
        return True, [end.value]


def _heed(going: asyncio.Task[object]) -> None:
    """Look at the error of one whose client has gone, so that nothing complains of it."""
    if not going.cancelled():
        going.exception()
