"""api/told.py: verbs that talk while they work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from estiva.api import told
from estiva.api.app import Api, refused
from estiva.errors import EstivaError, InvalidInput


class Work:
    telling = 0


class Host:
    """As much of an Api as is used."""

    def __init__(self) -> None:
        self.engine, self.work = self, Work()

    def close_database(self) -> None:
        pass


@asynccontextmanager
async def serving(
    handler: Callable[[Api, web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[tuple[Host, TestServer, ClientSession]]:
    host = Host()

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(cast("Api", host), request)
        except EstivaError as error:
            return refused(error)

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server, ClientSession() as session:
        yield host, server, session


def ask(verb: Callable[[told.Told], object], body: bytes = b"") -> tuple[int, str, int]:
    """(status, body, threads that are left)."""

    async def handler(api: Api, request: web.Request) -> web.StreamResponse:
        line = told.Told(request)
        return await told.run(api, line, lambda: verb(line))

    async def run() -> tuple[int, str, int]:
        async with (
            serving(handler) as (host, server, session),
            session.post(server.make_url("/"), data=body) as got,
        ):
            return got.status, await got.text(), host.work.telling

    return asyncio.run(run())


def test_lines_as_they_are_said() -> None:
    assert ask(lambda line: (line.status("a"), line.say({"b": "\\u00e9\n"}))) == (
        200,
        '{"status":"a"}\r\n{"b":"\\\\u00e9\\n"}\r\n',
        0,
    )


def test_the_body_is_read_as_it_comes() -> None:
    def verb(line: told.Told) -> None:
        size = 0
        while piece := line.read(1 << 16):
            assert len(piece) <= 1 << 16
            size += len(piece)
        line.status(str(size))

    assert ask(verb, b"x" * 3_000_000)[1] == '{"status":"3000000"}\r\n'


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_has_a_status_until_something_was_told(begun: bool) -> None:
    def verb(line: told.Told) -> None:
        if begun:
            line.status("a")
        raise InvalidInput("wrong")

    status, text, left = ask(verb)
    assert (status, left) == (200 if begun else 400, 0)
    assert text.splitlines()[-1] == (
        '{"errorDetail":{"message":"wrong"},"error":"wrong"}' if begun else '{"message":"wrong"}'
    )


def test_what_nobody_foresaw_is_an_error_of_that_request() -> None:
    status, text, left = ask(lambda line: 1 // 0)
    assert (status, left) == (500, 0) and "ZeroDivisionError" in text and "Traceback" not in text


def test_too_many_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "MOST", 0)
    status, text, left = ask(lambda line: line.status("a"))
    assert (status, left) == (503, 0) and "no more" in text


def test_a_client_that_goes_ends_the_verb() -> None:
    ended: list[Any] = []

    def verb(line: told.Told) -> None:
        try:
            while True:
                line.status("x" * 100_000)
        except EstivaError as error:
            ended.append(error.message)
            raise

    async def handler(api: Api, request: web.Request) -> web.StreamResponse:
        line = told.Told(request)
        return await told.run(api, line, lambda: verb(line))

    async def run() -> None:
        async with serving(handler) as (_, server, session):
            async with session.post(server.make_url("/")) as got:
                await got.content.read(10)
                got.close()
            while not ended:
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert ended == ["the client has gone"]
