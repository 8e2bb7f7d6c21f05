"""Connections to the registry server: how many, and how long they may say nothing (K13).

aiohttp bounds a request's headers in size; their time, and the number of connections, are bounded here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from estiva.registry.server.access import NOBODY, Principal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from estiva.registry.server.metrics import Metrics

    Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HEADERS = 20.0  # seconds from the connection to the end of the first request's headers
IDLE = 75.0  # seconds between two requests, the next one's headers included


@dataclass
class State:
    """What is found out about a request on its way, for the endpoint and for the logs."""

    principal: Principal
    kind: str = "other"  # of endpoint
    broken: bool = False  # off before its end


def state(request: web.BaseRequest) -> State:
    """Of the one request that a connection is at."""
    connection = request.protocol
    assert isinstance(connection, Connection)
    return connection.state


class Connection(RequestHandler):
    """One connection, which a timer ends unless a request arrives whole."""

    __slots__ = ("late", "server", "state")

    server: Server
    state: State
    late: asyncio.TimerHandle | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.late = None
        super().connection_made(transport)
        if len(self.server.connections) > self.server.most:
            self.server.metrics.refused += 1
            self._end(transport)
        else:
            self.wait(HEADERS)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.heard()
        super().connection_lost(exc)

    def wait(self, seconds: float) -> None:
        """A request must begin and its headers end within `seconds`."""
        self.heard()
        transport = self.transport
        if transport is not None:
            self.late = self.server.loop.call_later(seconds, self._end, transport)

    def heard(self) -> None:
        if self.late is not None:
            self.late.cancel()
            self.late = None

    def _end(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class Server(web.Server):
    """aiohttp's low-level server, with Connections of at most `most`; `options` are a RequestHandler's."""

    def __init__(self, answer: Answer, *, most: int, metrics: Metrics, **options: Any) -> None:
        super().__init__(self._guarded)
        self.loop = asyncio.get_running_loop()
        self.answer = answer
        self.most = most
        self.metrics = metrics
        self.options = options

    async def _guarded(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.heard()
        connection.state = State(NOBODY)
        try:
            return await self.answer(request)
        finally:
            connection.wait(IDLE)

    def __call__(self) -> RequestHandler:
        made = Connection(self, loop=self.loop, keepalive_timeout=IDLE, **self.options)
        made.server = self
        return made
