"""The engine's tasks (engine/containers/tasks.py) without a thread each: a step in one, then a pause."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from estiva.engine.containers.tasks import FIRST, LONGEST

if TYPE_CHECKING:
    from collections.abc import Generator

    from estiva.api.app import Api

Result = TypeVar("Result")

_going: set[asyncio.Task[object]] = set()


async def drive(api: Api, task: Generator[None, None, Result]) -> Result:
    """Do a task to its end, also when the client goes away meanwhile, as docker does; what it returns."""
    going = asyncio.ensure_future(_drive(api, task))
    _going.add(going)
    going.add_done_callback(_going.discard)
    going.add_done_callback(_heed)
    return await asyncio.shield(going)


async def _drive(api: Api, task: Generator[None, None, Result]) -> Result:
    pause = FIRST
    try:
        while True:
            ended, result = await api.work.do(_step, task)
            if ended:
                return result[0]
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST)
    finally:
        task.close()


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
