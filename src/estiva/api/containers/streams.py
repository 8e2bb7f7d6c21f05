"""Attached to a container: its packets (engine/monitor/audience.py) and a client's bytes, without a
thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import web

from estiva import fastjson
from estiva.api import answers, hijack
from estiva.engine.containers import attach as attaching
from estiva.engine.state import lookup

if TYPE_CHECKING:
    from estiva.api.app import Api, Route

TYPED = 1 << 15  # bytes of input in one packet
PACKET = 1 << 17


def framed(number: int, data: bytes) -> bytes:
    """Bytes of stdout (1) or stderr (2) in the multiplexed form (Engine API, ContainerAttach)."""
    return struct.pack(">BxxxL", number, len(data)) + data


async def relay(
    stream: hijack.Stream, channel: socket.socket, *, tty: bool, wanted: set[int], typed: bool
) -> None:
    """Between a client and a monitor, until the container has ended or the client has gone."""
    loop = asyncio.get_running_loop()
    feeding = asyncio.create_task(feed(stream, channel)) if typed else None
    try:
        while data := await loop.sock_recv(channel, PACKET):
            if data[:1] not in (b"1", b"2"):
                break  # it has ended
            number = int(data[:1])
            if tty:
                await stream.write(data[1:])
            elif number in wanted:
                await stream.write(framed(number, data[1:]))
    except ConnectionResetError:
        pass
    finally:
        if feeding is not None:
            feeding.cancel()


async def feed(stream: hijack.Stream, channel: socket.socket) -> None:
    """What the client types, and that it has ended."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await stream.read():
            for at in range(0, len(data), TYPED):
                await loop.sock_sendall(channel, b"i" + data[at : at + TYPED])
        if not stream.lost:
            await loop.sock_sendall(channel, fastjson.dumps({"do": "eof"}).encode())


async def attach(api: Api, request: web.Request) -> web.StreamResponse:
    record = await api.work.do(lookup.resolve, api.engine, request.match_info["id"])
    tty = bool(record["Config"].get("Tty"))
    names = ("stdin", "stdout", "stderr")
    wanted = {number for number, name in enumerate(names) if answers.flag(request, name)}
    if record["State"]["Running"]:
        attached = await api.work.do(attaching.attach, api.engine, record["Id"])
        channel = socket.socket(fileno=attached.channel.detach())
    else:
        channel = api.attaches.wait(record["Id"])
    stream = hijack.take_over(request, hijack.RAW if tty else hijack.MULTIPLEXED)
    try:
        await relay(stream, channel, tty=tty, wanted=wanted, typed=0 in wanted)
    finally:
        channel.close()
        stream.close()
    await stream.closed()
    return web.Response()


ROUTES: tuple[Route, ...] = (("POST", "/containers/{id}/attach", attach),)
