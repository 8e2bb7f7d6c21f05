"""Work whose progress is read: whoever reads it no more, ends it."""

import asyncio
import gc
import threading
import time

import pytest

from estiva.sdk.aio.work import Work as Later
from estiva.sdk.collections.work import Work
from estiva.sdk.objects.shown import Progress


class Endless:
    """A function that tells of steps, and looks, until it is to end."""

    def __init__(self, tells=True):
        self.tells = tells
        self.ended = threading.Event()
        self.began = threading.Event()

    def __call__(self, hear, look):
        self.began.set()
        try:
            while True:
                if self.tells:
                    hear(Progress("step", "", 0, 0, b""))
                look()
                time.sleep(0.001)
        finally:
            self.ended.set()


@pytest.mark.parametrize("tells", [True, False])
def test_one_that_is_dropped(tells):
    endless = Endless(tells)
    work = Work(endless)
    assert endless.began.wait(60) and work.alive()
    del work
    gc.collect()
    assert endless.ended.wait(60)


def test_one_that_is_left_half_way():
    endless = Endless()
    for _ in Work(endless):
        break
    gc.collect()
    assert endless.ended.wait(60)
    endless = Endless()
    with Work(endless) as work:
        next(work)
    assert endless.ended.is_set() and not work.alive()


@pytest.mark.parametrize("tells", [True, False])
def test_a_task_that_is_cancelled(tells):
    endless = Endless(tells)

    async def follow():
        async for _ in Later(endless):
            await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(follow())
        while not endless.began.is_set():
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        if not tells:  # it was waited for
            assert endless.ended.is_set()

    asyncio.run(main())
    gc.collect()
    assert endless.ended.wait(60)


def test_one_of_asyncio_that_is_dropped_or_left():
    async def main():
        endless = Endless()
        async for _ in Later(endless):
            break
        gc.collect()
        assert await asyncio.to_thread(endless.ended.wait, 60)
        work = Later(endless := Endless())
        await anext(work)
        await work.aclose()
        assert endless.ended.is_set()
        async with Later(endless := Endless()) as work:
            await anext(work)
        assert endless.ended.is_set()

    asyncio.run(main())
