"""Build contexts that are the bodies of requests, and builds that can be cancelled by their names."""

from __future__ import annotations

import asyncio
from typing import IO, TYPE_CHECKING

from aiohttp import web

from estiva.errors import Conflict, InvalidInput, oneline

if TYPE_CHECKING:
    from estiva.api.work import Work

PATIENCE = 5.0  # seconds that a build and its upload wait for each other
PIECE = 1 << 18  # bytes


class Body:
    """A request's, which is read once. `done`: it has been, or nobody will."""

    def __init__(self, request: web.Request) -> None:
        self.content = request.content
        self.done = asyncio.Event()

    async def into(self, work: Work, file: IO[bytes]) -> None:
        try:
            while data := await self._piece():
                await work.long_do(file.write, data)
        finally:
            self.done.set()

    async def _piece(self) -> bytes:
        try:
            return await self.content.read(PIECE)
        except (web.RequestPayloadError, ConnectionError) as error:
            raise InvalidInput("the client has not sent all of the build context") from error


class Uploads:
    """Bodies that come in requests of their own, and the builds that can be cancelled, by their names."""

    def __init__(self) -> None:
        self.bodies: dict[str, asyncio.Future[Body]] = {}
        self.builds: dict[str, asyncio.Task[dict[str, str]]] = {}
        self._waited: set[str] = set()  # for by builds

    def body(self, name: str) -> asyncio.Future[Body]:
        return self.bodies.setdefault(name, asyncio.get_running_loop().create_future())

    async def wait(self, name: str) -> Body:
        """Raises InvalidInput; Conflict where another build waits for it, which would get half of it."""
        if name in self._waited:
            raise Conflict(f"another build waits for the build context {oneline(name)[:70]}")
        self._waited.add(name)
        try:
            return await asyncio.wait_for(asyncio.shield(self.body(name)), PATIENCE)
        except TimeoutError:
            raise InvalidInput("the build context was not uploaded") from None
        finally:
            self._waited.discard(name)
            self.bodies.pop(name, None)

    def cancel(self, name: str) -> None:
        """End a build, if there is one of that name."""
        if name in self.builds:
            self.builds[name].cancel()
