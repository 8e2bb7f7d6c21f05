"""Build contexts that are the bodies of requests, and builds that can be cancelled by their names."""

from __future__ import annotations

import asyncio
from typing import IO, TYPE_CHECKING

from aiohttp import web

from estiva.errors import InvalidInput

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
            while data := await self.content.read(PIECE):
                await work.long_do(file.write, data)
        except web.RequestPayloadError as error:
            raise InvalidInput("the client has not sent all of the build context") from error
        finally:
            self.done.set()


class Uploads:
    """Bodies that come in requests of their own, and the builds that can be cancelled, by their names."""

    def __init__(self) -> None:
        self.bodies: dict[str, asyncio.Future[Body]] = {}
        self.builds: dict[str, asyncio.Task[dict[str, str]]] = {}

    def body(self, name: str) -> asyncio.Future[Body]:
        return self.bodies.setdefault(name, asyncio.get_running_loop().create_future())

    async def wait(self, name: str) -> Body:
        """Raises InvalidInput."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.body(name)), PATIENCE)
        except TimeoutError:
            raise InvalidInput("the build context was not uploaded") from None
        finally:
            self.bodies.pop(name, None)

    def cancel(self, name: str) -> None:
        """End a build, if there is one of that name."""
        if name in self.builds:
            self.builds[name].cancel()
