"""A connection that is taken over from HTTP: bytes both ways, each of which may end by itself.

A client asks with `Connection: Upgrade` and gets 101, or without and gets 200 (Engine API, ContainerAttach).
From then on the transport has another protocol, without a thread: what is not read here stops the client,
what the client does not read stops the writer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

HIGH = 1 << 18  # bytes from the client that wait here, from which on it has to wait
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


class Stream(asyncio.Protocol):
    """`read` gives bytes, b"" at the client's end; `lost` is whether it has gone altogether."""

    def __init__(self, request: web.Request) -> None:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.lost = False
        self.eof = False
        self._before = request.protocol
        self._waiting = bytearray()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    # --- asyncio's side ---

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > HIGH:
            self.transport.pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        self.eof = True
        self._readable.set()
        return True  # the other way goes on

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost = self.eof = True
        self._readable.set()
        self._writable.set()
        self._before.connection_lost(error if isinstance(error, Exception) else None)

    # --- ours ---

    async def read(self) -> bytes:
        """What has come, b"" at the end."""
        while not self._waiting and not self.eof:
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._waiting)
        self._waiting.clear()
        if not self.lost:
            self.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send; returns once there is room for more. Raises ConnectionResetError when nobody is there."""
        if self.lost:
            raise ConnectionResetError
        self.transport.write(data)
        await self._writable.wait()

    async def closed(self) -> None:
        """Until the client has gone."""
        while not self.lost:
            self._readable.clear()
            await self._readable.wait()

    def close(self) -> None:
        """Send what waits, then end the connection."""
        if not self.lost:
            self.transport.close()


def take_over(request: web.Request, content_type: str = RAW, *, upgrade: str = "tcp") -> Stream:
    """Answer a request with a stream, which is the handler's to close."""
    stream = Stream(request)
    protocol = request.protocol
    early = bytes(getattr(protocol, "_message_tail", b""))  # came with the request's own packet
    stream.transport.set_protocol(stream)
    stream.transport.resume_reading()
    if early:
        stream.data_received(early)
    if "upgrade" in request.headers.get("Connection", "").lower():
        status = f"101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}"
    else:
        status = f"200 OK\r\nContent-Type: {content_type}"
    stream.transport.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
    return stream
