"""A connection that is taken over from HTTP: bytes both ways, each of which may end by itself.

A client asks with `Upgrade` and gets 101, or without and gets 200 (Engine API, ContainerAttach). From then on
the transport has another protocol, without a thread: what is not read here stops the client, what the client
does not read stops the writer.

A client that closes its socket looks at first like one that has only finished typing. What it is then,
poll(2) tells: POLLHUP comes once both ways are closed. One epoll(7) instance watches all that have finished.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import struct
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

HIGH = 1 << 18  # bytes from the client that wait here, from which on it has to wait
SETTLE = 0.2  # seconds that a client has to read the headers before bytes follow them
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
        self.heard = False  # whether somebody reads what the client types
        self.hung = False
        self._begun = False
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
        Hangups.here().watch(self)
        return not _spared(self.transport)  # the other way goes on

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost = self.eof = True
        Hangups.here().forget(self)
        self._readable.set()
        self._writable.set()
        self._before.connection_lost(error if isinstance(error, Exception) else None)

    def hang_up(self) -> None:
        """Both ways are closed: what it has typed is read still, by who does."""
        self.hung = True
        if not (self.heard and self._waiting):
            self.transport.abort()

    # --- ours ---

    async def read(self) -> bytes:
        """What has come, b"" at the end."""
        self.heard = True
        while not self._waiting and not self.eof:
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._waiting)
        self._waiting.clear()
        if self.hung and not data:
            self.transport.abort()
        elif not self.lost and not self.eof:
            self.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send; returns once there is room for more. Raises ConnectionResetError when nobody is there."""
        if self.lost:
            raise ConnectionResetError
        if not self._begun:
            self._begun = True
            await self._settle()
            if self.lost:
                raise ConnectionResetError
        self.transport.write(data)
        if self.transport.is_closing():  # nobody is told of that before the loop has its turn
            raise ConnectionResetError
        await self._writable.wait()

    async def _settle(self) -> None:
        """Until the client has read the headers: docker-py loses what it reads by the same recv(2)."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SETTLE
        sock = self.transport.get_extra_info("socket")
        while not self.lost and sock is not None and loop.time() < until:
            try:  # unix(7): what the other side has not read yet
                left = struct.unpack("@i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
            except OSError:
                return
            if not left:
                return
            await asyncio.sleep(0.001)

    async def closed(self) -> None:
        """Until the client has gone."""
        while not self.lost:
            self._readable.clear()
            await self._readable.wait()

    def close(self) -> None:
        """Send what waits, then end the connection."""
        if not self.lost:
            self.transport.close()


def _spared(transport: asyncio.Transport) -> bool:
    """Called at a client's end: whether it speaks TLS. asyncio then shuts both ways down (it calls
    `_start_shutdown` next), and what a container says from there on would be lost; but docker's client sends
    its close_notify with the end of its input, and reads on (RFC 8446, 6.1)."""
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is None:
        return False

    def once() -> None:
        del tls._start_shutdown  # the class's own again

    tls._start_shutdown = once
    return True


class Hangups:
    """Who has finished typing, and whether it has gone since."""

    _here: Hangups | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.epoll = select.epoll()
        self.streams: dict[int, Stream] = {}
        self.fds: dict[Stream, int] = {}
        loop.add_reader(self.epoll.fileno(), self.look)

    @classmethod
    def here(cls) -> Hangups:
        """The loop's own."""
        loop = asyncio.get_running_loop()
        if cls._here is None or cls._here.loop is not loop:
            cls._here = cls(loop)
        return cls._here

    def watch(self, stream: Stream) -> None:
        sock = stream.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0 or stream in self.fds:
            return
        fd = os.dup(sock.fileno())  # ours, so that its number is nobody else's before we let go of it
        self.epoll.register(fd, 0)  # EPOLLHUP and EPOLLERR alone
        self.streams[fd] = stream
        self.fds[stream] = fd

    def forget(self, stream: Stream) -> None:
        fd = self.fds.pop(stream, -1)
        if fd >= 0:
            del self.streams[fd]
            self.epoll.unregister(fd)
            os.close(fd)

    def look(self) -> None:
        for fd, _ in self.epoll.poll(0):
            stream = self.streams.get(fd)
            if stream is not None:
                self.forget(stream)
                stream.hang_up()


def take_over(request: web.Request, *, framed: bool = False, upgrade: str = "tcp") -> Stream:
    """Answer a request with a stream, which is the handler's to close; `framed`: in the multiplexed form."""
    stream = Stream(request)
    protocol = request.protocol
    early = bytes(getattr(protocol, "_message_tail", b""))  # came with the request's own packet
    stream.transport.set_protocol(stream)
    stream.transport.resume_reading()
    if early:
        stream.data_received(early)
    if "Upgrade" in request.headers:
        content_type = MULTIPLEXED if framed else RAW
        status = f"101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}"
    else:
        status = f"200 OK\r\nContent-Type: {RAW}"
    stream.transport.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
    return stream
