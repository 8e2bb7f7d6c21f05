"""Attached to a container: its packets (engine/monitor/audience.py) and a client's bytes, without a thread.

A client is anything with `read`, `write`, `lost`: a connection that was taken over, or a websocket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from estiva import fastjson
from estiva.api import answers, hijack
from estiva.api.app import api_version
from estiva.api.containers import logs
from estiva.api.streaming import DETACH, FRAMED, Client, Terms, framed, record_of
from estiva.engine.containers import attach as attaching
from estiva.errors import Conflict, InvalidInput, brief

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine.state.types import Record

TYPED = 1 << 15  # bytes of input in one packet
PACKET = 1 << 17


async def relay(client: Client, channel: socket.socket, terms: Terms) -> bool:
    """Between a client and a monitor, until the container has ended or the client has gone; whether it left
    by the detach keys. As Docker's, the end of what is typed ends all where it is not passed on.
    """
    hearing = asyncio.create_task(_hear(client, channel, terms))
    feeding: asyncio.Task[bool] | None = None
    if 0 in terms.wanted:
        feeding = asyncio.create_task(_feed(client, channel, terms))
    elif isinstance(client, Websocket):
        feeding = asyncio.create_task(_drain(client))
    try:
        if feeding is not None:
            await asyncio.wait((hearing, feeding), return_when=asyncio.FIRST_COMPLETED)
            goes_on = terms.once and not terms.tty and not client.lost
            if feeding.done() and not hearing.done() and (feeding.result() or not goes_on):
                return feeding.result()
        await hearing
        return False
    except ConnectionError:
        return False
    finally:
        if feeding is not None and not feeding.done():
            _end(channel, terms)  # it has gone, or the container has ended
        for task in (hearing, feeding):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await task


async def _drain(client: Client) -> bool:
    """Until it has gone."""
    while await client.read():
        pass
    return False


def _end(channel: socket.socket, terms: Terms) -> None:
    """Nothing more will be typed; where there is no room for that, the container has not read what was."""
    if 0 in terms.wanted and terms.once and not terms.tty:
        with contextlib.suppress(OSError):
            channel.send(fastjson.dumps({"do": "eof"}).encode())


async def _hear(client: Client, channel: socket.socket, terms: Terms) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(channel, PACKET):
        if data[:1] not in (b"1", b"2"):
            return  # it has ended
        number = int(data[:1])
        if number in terms.wanted:
            await client.write(framed(number, data[1:]) if terms.framed else data[1:])
            await asyncio.sleep(
                0
            )  # neither waits while there is something, and others are to have their turn


async def _feed(client: Client, channel: socket.socket, terms: Terms) -> bool:
    """What the client types, and that it has ended. Whether that was by the detach keys."""
    loop = asyncio.get_running_loop()
    last = b""  # what was typed last, as far as it may begin the detach keys
    with contextlib.suppress(OSError):
        while data := await client.read():
            at = -1
            if terms.tty:
                typed = last + data
                at = typed.find(terms.keys)
                if at >= 0:
                    data = data[: max(0, at - len(last))]
                last = typed[max(0, len(typed) - len(terms.keys) + 1) :]
            for start in range(0, len(data), TYPED):
                await loop.sock_sendall(channel, b"i" + data[start : start + TYPED])
            if at >= 0:
                return True
        if terms.once and not terms.tty:
            await loop.sock_sendall(channel, fastjson.dumps({"do": "eof"}).encode())
    return False


# --- attach -----------------------------------------------------------------------------------------------


class Asked:
    """What a request for an attachment wants. Raises InvalidInput, Conflict."""

    def __init__(self, request: web.Request, record: Record, every: bool = False) -> None:
        config, state = record["Config"], record["State"]
        name = request.match_info["id"]
        names = ("stdin", "stdout", "stderr")
        wanted = {number for number, each in enumerate(names) if every or answers.flag(request, each)}
        self.typed = 0 in wanted
        if not config.get("OpenStdin"):
            wanted.discard(0)
        self.logs, self.stream = answers.flag(request, "logs"), answers.flag(request, "stream")
        tty = bool(config.get("Tty"))
        self.terms = Terms(frozenset(wanted), not tty, tty, bool(config.get("StdinOnce")), keys_of(request))
        if state["Paused"]:
            raise Conflict(f"container {name} is paused, unpause the container before attach")
        if state["Restarting"]:
            raise Conflict(f"container {name} is restarting, wait until the container is running")


def keys_of(request: web.Request) -> bytes:
    text = request.query.get("detachKeys", "")
    try:
        return attaching.keys(text).encode() if text else DETACH
    except InvalidInput:
        raise InvalidInput(f"Invalid detach keys ({brief(text, 60)}) provided") from None


async def attach(api: Api, request: web.Request) -> web.StreamResponse:
    record = await api.work.do(record_of, api.engine, request.match_info["id"])
    asked = Asked(request, record)
    whence = await _before(api, record, asked)
    try:
        stream = hijack.take_over(request, framed=asked.terms.framed and api_version(request) >= FRAMED)
        try:
            await _attached(api, record, asked, stream, whence)
        finally:
            stream.close()
    finally:
        if whence is not None:
            whence.close()
    await stream.closed()
    return web.Response()


async def _before(api: Api, record: Record, asked: Asked) -> Whence:
    """Where its packets will come from: known before the client is told that it is attached."""
    if asked.stream and record["State"]["Running"]:
        with contextlib.suppress(Conflict):  # it has ended just now: there may be another run
            attached = await api.work.do(attaching.attach, api.engine, record["Id"])
            channel = socket.socket(fileno=attached.channel.detach())
            channel.setblocking(False)
            return channel
    await api.work.do(attaching.left, api.engine, record, "attach")
    return api.attaches.wait(record["Id"]) if asked.stream else None


async def _attached(api: Api, record: Record, asked: Asked, client: Client, whence: Whence) -> None:
    terms = asked.terms
    if asked.logs:
        await logs.before(api, record, client, terms)
    if whence is None or not (terms.wanted or asked.typed):
        return
    channel = whence if isinstance(whence, socket.socket) else await whence.begun()
    if channel is not None and await relay(client, channel, terms):
        await api.work.do(attaching.left, api.engine, record)


class Websocket:
    """A client that speaks by frames (RFC 6455), which are never multiplexed."""

    def __init__(self, answer: web.WebSocketResponse, binary: bool) -> None:
        self.answer = answer
        self.binary = binary
        self.lost = False

    async def read(self) -> bytes:
        while not self.lost:
            message = await self.answer.receive()
            if message.type == web.WSMsgType.BINARY:
                data: bytes = message.data
            elif message.type == web.WSMsgType.TEXT:
                data = message.data.encode()
            else:
                self.lost = True
                break
            if data:
                return data
        return b""

    async def write(self, data: bytes) -> None:
        if self.binary:
            await self.answer.send_bytes(data)
        else:
            await self.answer.send_str(data.decode("utf-8", "replace"))


async def attach_ws(api: Api, request: web.Request) -> web.StreamResponse:
    """Not for a page of another host that a browser shows (K25)."""
    origin = request.headers.get("Origin", "")
    if origin and origin.partition("://")[2] != request.host:
        raise web.HTTPForbidden(reason="a page of another origin can't attach")
    record = await api.work.do(record_of, api.engine, request.match_info["id"])
    asked = Asked(request, record, every=api_version(request) < FRAMED)
    asked.terms = asked.terms._replace(framed=False)
    whence = await _before(api, record, asked)
    # as docker's: the one that a client names, whatever it is
    named = request.headers.get("Sec-WebSocket-Protocol", "").split(",")[0].strip()
    answer = web.WebSocketResponse(max_msg_size=hijack.HIGH, protocols=(named,) if named else ())
    try:
        await answer.prepare(request)
        await _attached(api, record, asked, Websocket(answer, api_version(request) >= (1, 28)), whence)
        await answer.close()
    finally:
        if whence is not None:
            whence.close()
    return answer


async def resize(api: Api, request: web.Request) -> web.Response:
    rows, columns = size_of(request)
    record = await api.work.do(record_of, api.engine, request.match_info["id"])
    await api.work.do(attaching.resize, api.engine, record["Id"], rows, columns)
    return web.Response()


def size_of(request: web.Request) -> tuple[int, int]:
    """Rows and columns of a terminal. Raises InvalidInput."""
    found = []
    for name, what in (("h", "height"), ("w", "width")):
        text = request.query.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InvalidInput(f"invalid resize {what} {brief(text, 60)!r}: it is no number")
        found.append(min(int(text), 65535))
    return found[0], found[1]


if TYPE_CHECKING:
    from estiva.api.waiting import Waiting

    Whence = socket.socket | Waiting | None

ROUTES: tuple[Route, ...] = (
    ("POST", "/containers/{id}/attach", attach),
    ("GET", "/containers/{id}/attach/ws", attach_ws),
    ("POST", "/containers/{id}/resize", resize),
)
