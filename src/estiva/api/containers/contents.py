"""What a container has changed on its filesystem, all that it has, and an image of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers
from estiva.api.containers import fields, words
from estiva.engine.containers import changes
from estiva.engine.state import lookup
from estiva.errors import InvalidInput

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine import Engine

KINDS = {"C": 0, "A": 1, "D": 2}
PIECE = 1 << 16  # bytes of a stream at once


async def changed(api: Api, request: web.Request) -> web.Response:
    found = await api.work.long_do(changes.diff, api.engine, request.match_info["id"])
    return answers.json([{"Kind": KINDS[kind], "Path": path} for kind, path in found] or None)


def _write(engine: Engine, container_id: str, fd: int) -> None:
    with open(fd, "wb", buffering=PIECE) as out:
        changes.export(engine, container_id, out)


async def export(api: Api, request: web.Request) -> web.StreamResponse:
    """A thread writes into a pipe, and stops where the client does not read; it ends when the client goes."""
    record = await api.work.do(lookup.resolve, api.engine, request.match_info["id"])
    reader, writer = os.pipe2(os.O_CLOEXEC)
    source = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(source), open(reader, "rb", 0)
    )
    writing = asyncio.ensure_future(api.work.long_do(_write, api.engine, record["Id"], writer))
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    try:
        piece = await source.read(PIECE)
        if not piece:
            await writing  # raises what kept it from writing anything
        await response.prepare(request)
        while piece:
            await response.write(piece)
            piece = await source.read(PIECE)
        await writing
    finally:
        transport.close()
        if not writing.done():
            with contextlib.suppress(Exception):
                await asyncio.shield(writing)
    await response.write_eof()
    return response


async def commit(api: Api, request: web.Request) -> web.Response:
    given = await answers.body(request)
    over: Any = fields.config(given)[0] or None
    query = request.query
    ref, repository, tag = query.get("container", ""), query.get("repo", ""), query.get("tag", "")
    if not ref:
        raise InvalidInput("container is missing in the query")
    reference = f"{repository}:{tag}" if repository and tag else repository
    made = await api.work.long_do(
        changes.commit,
        api.engine,
        ref,
        reference or None,
        author=query.get("author", ""),
        message=query.get("comment", ""),
        changes=[line for words in query.getall("changes", []) for line in words.split("\n") if line.strip()],
        pause=answers.flag(request, "pause", True),
        over=over,
    )
    return answers.json({"Id": made}, 201)


ROUTES: tuple[Route, ...] = words.routes(
    ("GET", "/containers/{id}/changes", changed),
    ("GET", "/containers/{id}/export", export),
    ("POST", "/commit", commit),
)
