"""Connections: how many there are at once, and what becomes of one that says nothing (K25)."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp.web_server import Server

MOST = 4096  # at once, hijacked streams among them
SHARE = 4  # open files that one may need: itself, a container's channel, a log and what looks at it
PATIENCE = 300  # seconds for a request's head, and between two requests
SECONDS = 10  # that a client which is one too many has to say something

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
    return MOST if files == resource.RLIM_INFINITY else max(16, min(MOST, files // SHARE))


class Full(asyncio.Protocol):
    """A connection that is one too many: it is told so."""

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


class Bounded:
    """Makes the protocol of each new connection: the server's, or Full."""

    def __init__(self, server: Server, bound: int) -> None:
        self.server = server
        self.bound = bound

    def __call__(self) -> asyncio.Protocol:
        if len(self.server.connections) >= self.bound:
            return Full()
        return self.server()
