"""From the event loop to threads: in order, with flat memory, and nothing is left running behind anybody's back."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from estiva.registry.http import offload


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


def test_a_cancelled_caller_waits_for_what_runs(pool):
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go.wait(60)
        ended.set()

    async def scene():
        task = asyncio.create_task(offload.call(pool, work))
        await asyncio.to_thread(begun.wait, 60)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(scene())


def test_a_result_and_an_error_come_back(pool):
    assert asyncio.run(offload.call(pool, max, 3, 5)) == 5
    with pytest.raises(ZeroDivisionError):
        asyncio.run(offload.call(pool, divmod, 1, 0))


def test_so_many_at_a_time_and_the_first_error_ends_all():
    running, most, ended = 0, 0, []

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0.001)
            if number == 5:
                raise ValueError("five")
            if number > 5:
                await asyncio.sleep(3600)
        finally:
            running -= 1
            ended.append(number)

    with pytest.raises(ValueError, match="five"):
        asyncio.run(offload.for_each(3, work, [(number,) for number in range(50)]))
    assert running == 0 and most == 3
    assert sorted(ended)[:6] == [0, 1, 2, 3, 4, 5] and len(ended) < 20


def test_a_pump_keeps_the_order_and_hands_over_batches(pool, monkeypatch):
    monkeypatch.setattr(offload.Pump, "batch", 10)
    came = []

    async def scene():
        pump = offload.Pump(came.append, pool)
        for number in range(100):
            await pump.put(b"%02d" % number)
        await pump.drain()

    asyncio.run(scene())
    assert b"".join(came) == b"".join(b"%02d" % number for number in range(100))
    assert {len(batch) for batch in came} == {10}


def test_a_gather_hands_over_the_chunks_as_they_came(pool, monkeypatch):
    monkeypatch.setattr(offload.Gather, "batch", 4)
    came = []

    async def scene():
        pump = offload.Gather(came.append, pool)
        for chunk in (b"a", b"bcd", b"e"):
            await pump.put(chunk)
        await pump.drain()

    asyncio.run(scene())
    assert came == [[b"a", b"bcd"], [b"e"]]


def test_an_error_of_the_consumer_comes_out_and_settle_ends_it(pool, monkeypatch):
    monkeypatch.setattr(offload.Pump, "batch", 1)
    seen = []

    def consume(data):
        seen.append(data)
        raise OSError("full")

    async def scene():
        pump = offload.Pump(consume, pool)
        await pump.put(b"a")
        with pytest.raises(OSError, match="full"):
            await pump.put(b"b")
        await pump.settle()
        assert pump.running is None and pump.chunks == []

    asyncio.run(scene())
    assert seen == [b"a"]
