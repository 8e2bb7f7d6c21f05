"""What a container has written, and writes: logs, and what is said before an attachment.

The engine's task (engine/containers/logs.py) reads in a thread, a bounded piece at a time; one that waits has
none: a look now and then tells whether there is something to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from estiva.api import answers, hijack, streaming
from estiva.api.app import api_version
from estiva.api.events import moment
from estiva.api.streaming import FRAMED, framed
from estiva.engine.containers import logs as logging
from estiva.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from estiva.api.app import Api, Route
    from estiva.api.streaming import Client, Terms
    from estiva.engine.state.types import Record

AT_ONCE = 1 << 18  # bytes of a log that are read at a time: more than the longest entry has
SOON, QUIET = 0.05, 0.2  # seconds between two looks, of one that has said something lately and of others
LATER = 2.0  # seconds until a look that takes nothing on trust
LIVELY = 1.0  # seconds after a change in which every look is one of those


class Shown:
    """What the task has shown and nobody was sent yet."""

    def __init__(self, wanted: frozenset[int], multiplexed: bool) -> None:
        self.wanted = wanted
        self.multiplexed = multiplexed
        self.pieces: list[bytes] = []

    def out(self, data: bytes) -> None:
        self._put(1, data)

    def err(self, data: bytes) -> None:
        self._put(2, data)

    def _put(self, number: int, data: bytes) -> None:
        if number not in self.wanted:
            return
        if not self.multiplexed:
            self.pieces.append(data)
        else:  # a frame for each line, as Docker's
            *lines, rest = data.split(b"\n")
            self.pieces += [framed(number, line + b"\n") for line in lines]
            if rest:
                self.pieces.append(framed(number, rest))

    def take(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


def _next(task: Generator[bool, None, None]) -> bool | None:
    return next(task, None)


async def steps(api: Api, record: Record, task: Generator[bool, None, None]) -> AsyncGenerator[None]:
    """Do a task of the engine's; after each of its steps there may be something to send."""
    loop = asyncio.get_running_loop()
    changed, before = loop.time(), logging.mark(api.engine.paths, record["Id"])  # lively: it may end at once
    while True:
        idle = await streaming.step(api.work.short, _next, task)
        try:
            yield
        except BaseException:
            task.close()
            raise
        if idle is None:
            return
        lively = loop.time() - changed < LIVELY
        until = loop.time() + (SOON if lively else LATER)
        while idle:
            now = logging.mark(api.engine.paths, record["Id"])
            if now != before:
                before, changed = now, loop.time()
                break
            if loop.time() >= until:
                break
            try:
                await asyncio.sleep(SOON if lively else QUIET)
            except BaseException:
                task.close()
                raise


def _tail(request: web.Request) -> int:
    """As Docker's: what is no number is all."""
    text = request.query.get("tail", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


async def logs(api: Api, request: web.Request) -> web.StreamResponse:
    names = ("stdin", "stdout", "stderr")
    wanted = frozenset(number for number in (1, 2) if answers.flag(request, names[number]))
    if not wanted:
        raise InvalidInput("Bad parameters: you must choose at least one stream")
    since, until = moment(request, "since"), moment(request, "until") or None  # 0 is no end
    record = await api.work.do(streaming.record_of, api.engine, request.match_info["id"])
    tty = bool(record["Config"].get("Tty"))
    shown = Shown(wanted, not tty)
    show = logging.Show(
        shown.out,
        shown.err,
        since,
        until,
        answers.flag(request, "timestamps"),
        answers.flag(request, "details"),
    )
    show.most = AT_ONCE
    task = logging.reading(
        api.engine, record["Id"], show, follow=answers.flag(request, "follow"), tail=_tail(request)
    )
    multiplexed = not tty and api_version(request) >= FRAMED
    response = web.StreamResponse(headers={"Content-Type": hijack.MULTIPLEXED if multiplexed else hijack.RAW})
    with streaming.told(request, response):
        async with contextlib.aclosing(steps(api, record, task)) as going:
            async for _ in going:
                if not response.prepared:
                    await response.prepare(request)
                if data := shown.take():
                    await response.write(data)
        await response.write_eof()
    return response


async def before(api: Api, record: Record, client: Client, terms: Terms) -> None:
    """What it has written so far, to who is attached."""
    shown = Shown(terms.wanted, terms.framed)
    show = logging.Show(shown.out, shown.err, None, None, False)
    show.most = AT_ONCE
    task = logging.reading(api.engine, record["Id"], show)
    try:
        async with contextlib.aclosing(steps(api, record, task)) as going:
            async for _ in going:
                if data := shown.take():
                    await client.write(data)
    except Unsupported as error:
        text = f"Error attaching: {error.message}\n".encode()
        await client.write(framed(1, text) if terms.framed else text)


ROUTES: tuple[Route, ...] = (("GET", "/containers/{id}/logs", logs),)
