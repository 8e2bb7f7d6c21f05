"""One connection: what is no request is told so in docker's form, and a head has its time (K25)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from aiohttp.web import HTTPException
from aiohttp.web_protocol import RequestHandler

from estiva.api import answers
from estiva.api.app import HEADERS
from estiva.errors import brief

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp import StreamReader
    from aiohttp.web import BaseRequest, Response, StreamResponse
    from aiohttp.web_server import Server

HEAD = 30.0  # seconds for a request's head, from its first byte


class Handler(RequestHandler):
    """aiohttp's, which has one deadline for a head and for the silence between two requests, and tells
    errors as plain text."""

    __slots__ = ("_body", "_deadline")

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._body: StreamReader | None = None  # of the last request
        self._deadline: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        count = self._request_count
        between = self._payload_parser is None and (self._body is None or self._body.is_eof())
        super().data_received(data)
        if self._request_count != count:
            self._body = self._messages[-1][1] if self._messages else None
            self._met()
        elif between and self._deadline is None:  # a head has begun, and is not whole
            self._deadline = self._loop.call_later(HEAD, self._late)

    def connection_lost(self, error: BaseException | None) -> None:
        self._met()
        super().connection_lost(error)

    def _met(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self._waiter is not None and not self._waiter.done():
            self.force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        super().handle_error(request, status, exc, message)  # it tells the log
        first = (message or "").strip().partition("\n")[0].rstrip(":. ")
        return _refusal(f"this is no request: {first}" if first else "this request can't be answered", status)

    async def finish_response(
        self, request: BaseRequest, resp: StreamResponse, start_time: float | None
    ) -> tuple[StreamResponse, bool]:
        if isinstance(resp, HTTPException):  # of what is judged before a handler is found, such as Expect
            resp = _refusal(resp.text or resp.reason, resp.status)
        return await super().finish_response(request, resp, start_time)


def _refusal(text: str, status: int) -> Response:
    response = answers.json({"message": brief(text, 200)}, status)
    response.headers.update(HEADERS)
    response.force_close()
    return response


def handlers(server: Server, loop: asyncio.AbstractEventLoop) -> Callable[[], Handler]:
    """What makes them for a server, as it would make its own."""
    return functools.partial(Handler, server, loop=loop, **server._kwargs)
