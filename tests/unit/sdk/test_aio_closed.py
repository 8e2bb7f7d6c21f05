"""A loop that is closed at the moment when a thread of ours has ended what a task of it waits for."""

import asyncio
import gc
import sys
import threading

from estiva.sdk.aio import loop as loops


class Loop(asyncio.SelectorEventLoop):
    """One that is closed just after a thread of ours has found it open."""

    def __init__(self):
        super().__init__()
        self.looked, self.closed = threading.Event(), threading.Event()

    def is_closed(self):
        found = super().is_closed()
        if sys._getframe(1).f_code is loops._serve.__code__:
            self.looked.set()
            self.closed.wait(60)
        return found


def test_who_waits_in_a_loop_that_is_closed_then_is_ended():
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go.wait(60)

    async def waits():
        try:
            await loops.call(work, pool=pool)
        finally:
            ended.set()

    async def until_begun():
        while not begun.is_set():
            await asyncio.sleep(0.001)

    pool, loop = loops.Pool(), Loop()
    task = loop.create_task(waits())
    loop.run_until_complete(until_begun())
    go.set()
    assert loop.looked.wait(60)
    loop.close()
    del task
    gc.collect()
    loop.closed.set()
    assert ended.wait(10)
