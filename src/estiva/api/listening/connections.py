"""Connections: how many there are at once, and what becomes of one that says nothing (K25)."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiohttp.web_server import Server

MOST = 4096  # at once, hijacked streams among them
SHARE = 4  # open files that one may need: itself, a container's channel, a log and what looks at it
OWN = 32  # that the server itself needs
PATIENCE = 300  # seconds before a request, and between two (handling.py has a head's)
SECONDS = 10  # that a client which is one too many has to say something, and for a handshake of TLS
TOLD = 64  # of those that are too many and are told so; more are closed at once
BATCH = 16  # connections accepted before those that are there go on
PAUSE = 0.5  # seconds without accepting, where no more files can be opened

_FULL = b'{"message":"too many connections"}\n'


def lift() -> tuple[int, int]:
    """Have as many open files as this process may; what the limit was, for those that it starts."""
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return before


def most() -> int:
    """Connections that there may be at once."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if files == resource.RLIM_INFINITY else max(4, min(MOST, (files - OWN) // (SHARE + 1)))


class Full(asyncio.Protocol):
    """A connection that is one too many: it is told so."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.timer = asyncio.get_running_loop().call_later(SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
            f"Connection: close\r\nContent-Length: {len(_FULL)}\r\n\r\n"
        )
        if not self.transport.is_closing():
            self.transport.write(head.encode() + _FULL)
            self.transport.close()

    def connection_lost(self, error: BaseException | None) -> None:
        self.timer.cancel()
        self.gone.set()


class Door:
    """Accepts connections for a server, as many as may be. asyncio's own servers accept hundreds before they
    look at one, and all that there are again and again where no more files can be opened.

    Where there are as many as may be, one that asks for nothing gives way, the oldest first: a flood of such
    harms itself alone. `tell` hears what keeps it from accepting; `made` makes a connection's protocol, if
    the server itself is not to.
    """

    def __init__(
        self,
        server: Server,
        bound: int,
        tell: Callable[[str], object],
        made: Callable[[], asyncio.Protocol] | None = None,
    ) -> None:
        self.server = server
        self.bound = bound
        self.tell = tell
        self.loop = asyncio.get_running_loop()
        self.made = made or server
        self.listening: list[socket.socket] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._full: set[asyncio.Task[None]] = set()

    def open(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        listening.setblocking(False)
        self.listening.append(listening)
        self.loop.add_reader(listening, self._accept, listening, tls)

    def close(self) -> None:
        for one in self.listening:
            self.loop.remove_reader(one)
        self.listening.clear()
        for task in (*self._connecting, *self._full):
            task.cancel()

    def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        for _ in range(BATCH):
            try:
                made, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self.tell(f"no connection can be accepted: {error.strerror}")
                self._give_way()
                self.loop.remove_reader(listening)
                self.loop.call_later(PAUSE, self._again, listening, tls)
                return
            made.setblocking(False)
            if self._has_room():
                self._begin(self._connecting, self.made, made, tls)
            elif len(self._full) < min(TOLD, self.bound):
                self._begin(self._full, Full, made, tls)
            else:
                made.close()

    def _again(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        if listening in self.listening:
            self.loop.add_reader(listening, self._accept, listening, tls)

    def _has_room(self) -> bool:
        there = sum(one.transport is not None for one in self.server.connections)
        return there + len(self._connecting) < self.bound or self._give_way()

    def _give_way(self) -> bool:
        for one in self.server.connections:
            if one.transport is not None and one._current_request is None:
                one.force_close()
                return True
        return False

    def _begin(
        self,
        among: set[asyncio.Task[None]],
        protocol: Callable[[], asyncio.Protocol],
        made: socket.socket,
        tls: ssl.SSLContext | None,
    ) -> None:
        task = self.loop.create_task(self._connect(protocol, made, tls))
        among.add(task)
        task.add_done_callback(among.discard)

    async def _connect(
        self, protocol: Callable[[], asyncio.Protocol], made: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        limit = SECONDS if tls else None
        try:
            _, got = await self.loop.connect_accepted_socket(
                protocol, made, ssl=tls, ssl_handshake_timeout=limit
            )
            if isinstance(got, Full):  # it is one of them until it has gone
                await got.gone.wait()
        except OSError:
            with contextlib.suppress(OSError):
                made.close()
