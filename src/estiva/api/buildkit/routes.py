"""POST /grpc and POST /session: connections that become HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from estiva.api import hijack
from estiva.errors import Conflict, InvalidInput, oneline

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.api.buildkit.control import BuildKit

SESSIONS = 64  # characters of a session's id
METHODS = 100


def buildkit(api: Api) -> BuildKit:
    """The server's one; its modules are loaded by the first who wants it."""
    from estiva.api.buildkit.control import BuildKit

    if not isinstance(api.buildkit, BuildKit):
        api.buildkit = BuildKit(api)
    return api.buildkit


def _check(request: web.Request) -> None:
    if request.headers.get("Upgrade", "").lower() != "h2c":
        raise InvalidInput("this needs an upgrade of the connection to h2c")


async def grpc(api: Api, request: web.Request) -> web.StreamResponse:
    _check(request)
    kit = buildkit(api)
    stream = hijack.take_over(request, upgrade="h2c")
    from estiva.api.buildkit.http2 import Connection

    await Connection(stream, answer=kit.answer).run()
    return web.Response()


async def session(api: Api, request: web.Request) -> web.StreamResponse:
    _check(request)
    headers = request.headers
    name = headers.get("X-Docker-Expose-Session-Uuid", "")
    if not name or len(name) > SESSIONS:
        raise InvalidInput("a session needs an id: X-Docker-Expose-Session-Uuid")
    methods = headers.getall("X-Docker-Expose-Session-Grpc-Method", [])[:METHODS]
    kit = buildkit(api)
    if kit.kit.sessions.there(name):
        raise Conflict(f"there is a session {oneline(name)} already")
    stream = hijack.take_over(request, upgrade="h2c")
    from estiva.api.buildkit.http2 import Connection
    from estiva.api.buildkit.session import Session

    connection = Connection(stream)
    made = Session(connection, methods, headers.get("X-Docker-Expose-Session-Sharedkey", ""))
    await kit.kit.sessions.add(name, made)
    try:
        await connection.run()
    finally:
        kit.kit.sessions.remove(name, made)
    return web.Response()


ROUTES: tuple[Route, ...] = (("POST", "/grpc", grpc), ("POST", "/session", session))
