"""gRPC over one connection, in both directions, with limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from buildclient import pair
from estiva.api.buildkit import http2, rpc
from estiva.api.buildkit.http2 import Call, Connection
from estiva.api.buildkit.rpc import RpcError


@contextlib.asynccontextmanager
async def connected(answer: Callable[[Call], Awaitable[None]]) -> AsyncIterator[Connection]:
    ours, theirs = await pair()
    connections = [Connection(ours), Connection(theirs, answer=answer)]
    tasks = [asyncio.create_task(each.run()) for each in connections]
    try:
        yield connections[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 30))


async def ask(connection: Connection, data: bytes, path: str = "/x.Y/Z") -> bytes:
    call = await connection.call(path, [("k", "v")])
    await call.send([data])
    await call.close()
    return await call.one()


def test_a_message_each_way() -> None:
    async def answer(call: Call) -> None:
        assert (call.headers[":path"], call.headers["k"]) == ("/x.Y/Z", "v")
        await call.send([(await call.one())[::-1]])

    async def work() -> None:
        async with connected(answer) as connection:
            big = bytes(range(256)) * 20000  # more than any window
            assert await ask(connection, b"abc") == b"cba"
            assert await ask(connection, big) == big[::-1]
            words = [b"<%d" % each for each in range(50)]
            assert await asyncio.gather(*(ask(connection, each) for each in words)) == [
                w[::-1] for w in words
            ]

    run(work())


def test_errors_come_with_their_words_and_details() -> None:
    async def answer(call: Call) -> None:
        await call.one()
        raise RpcError(rpc.NOT_FOUND, "nö such\nthing", [{"url": "u", "value": b"v"}])

    async def work() -> None:
        async with connected(answer) as connection:
            with pytest.raises(RpcError) as caught:
                await ask(connection, b"")
            assert (caught.value.code, caught.value.message) == (rpc.NOT_FOUND, "nö such\nthing")

    run(work())


def test_who_is_not_listened_to_has_to_wait() -> None:
    took = asyncio.Event()

    async def answer(call: Call) -> None:
        await took.wait()
        count = 0
        while found := await call.receive():
            count += sum(map(len, found))
        await call.send([b"%d" % count])

    async def work() -> None:
        async with connected(answer) as connection:
            call = await connection.call("/x/y")
            piece = bytes(1 << 18)
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(64):
                    await call.send([piece])
                    sent += 1
                await call.close()

            sending = asyncio.create_task(send())
            await asyncio.sleep(0.5)
            assert sent * len(piece) <= http2.HIGH + 2 * http2.WINDOW
            took.set()
            await sending
            assert await call.one() == b"%d" % (64 * len(piece))

    run(work())


def test_a_message_that_is_too_long_ends_its_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "MESSAGE", 1000)

    async def answer(call: Call) -> None:
        await call.send([await call.one()])

    async def work() -> None:
        async with connected(answer) as connection:
            with pytest.raises(RpcError):
                await ask(connection, bytes(1001))
            assert await ask(connection, bytes(1000)) == bytes(1000)

    run(work())


def test_who_goes_ends_what_was_answered() -> None:
    ended = asyncio.Event()

    async def answer(call: Call) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.set()

    async def cancelled() -> None:
        async with connected(answer) as connection:
            call = await connection.call("/x/y")
            await asyncio.sleep(0.1)
            connection.drop(call)
            await connection.flush()
            await ended.wait()
            assert await connection.call("/x/y")

    async def gone() -> None:
        ended.clear()
        async with connected(answer) as connection:
            await connection.call("/x/y")
            await asyncio.sleep(0.1)
        await ended.wait()

    async def work() -> None:
        await cancelled()
        await gone()

    run(work())


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100),
        PREFACE + b"\0\0\x05\x04\0\0\0\0\0settings"[:14],  # that are no pairs
        PREFACE + b"\0\0\x04\x01\x04\0\0\0\x01\xff\xff\xff\xff",  # headers that can't be decoded
        PREFACE + b"\0\0\x01\0\0\0\0\0\x05x",  # data of no call
    ],
)
def test_broken_bytes_end_the_connection(data: bytes) -> None:
    async def answer(call: Call) -> None:
        raise AssertionError

    async def work() -> None:
        ours, theirs = await pair()
        serving = asyncio.create_task(Connection(theirs, answer=answer).run())
        await ours.write(data)
        await serving
        ours.close()

    run(work())
