"""One blob from here into a registry's repository.

    POST -> session -> PATCH from byte `sent` -> PUT with the digest
               ^          |
               `-- GET: where is the registry? (a break: go on there, or begin anew)

Streamed in pieces, so memory stays flat; the session's address is the registry's to choose and checked (K11).
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import hdrs
from yarl import URL

from estiva.errors import EngineError, EstivaError, IntegrityError
from estiva.registry import grammar
from estiva.registry.http.errors import Broken, broken
from estiva.registry.http.transport import Remote, pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from estiva.registry.transfer.progress import Progress


class Upload:
    """A blob of `size` bytes, which `stream` brings from an offset on."""

    def __init__(
        self,
        remote: Remote,
        repository: str,
        digest: str,
        size: int,
        *,
        scopes: frozenset[str],
        stream: Callable[[int], AsyncIterator[bytes]],
        progress: Progress,
    ) -> None:
        self.remote = remote
        self.repository = repository
        self.digest = digest
        self.size = size
        self.scopes = scopes
        self.stream = stream
        self.failure: EstivaError | Broken | None = None  # of the stream, which HTTP can't tell
        self.progress = progress
        self.subject = f"blob {digest} for {remote.host}/{repository}"
        self.session: URL | None = None
        self.sent = 0
        self.beat = 0.0

    async def run(self) -> None:
        """Upload until the registry has it; a broken upload goes on where the registry is, else anew."""
        attempt, settings, spoilt = 0, self.remote.settings, False
        while True:
            before = self.sent
            try:
                if self.session is None:
                    await self._start()
                await self._send()
                return
            except Broken as failure:
                offset = await self._status()
                attempt = 1 if offset > before else attempt + 1
                if attempt >= settings.attempts:
                    await self._abandon()
                    raise failure.error from failure
                message = str(failure)
                self.progress.say(self.digest, "retrying", self.sent, self.size, message)
                await pause(settings, attempt, failure.after)
            except IntegrityError as error:
                await self._abandon()
                if spoilt:
                    raise
                spoilt = True
                self.progress.say(self.digest, "retrying", 0, self.size, str(error))
            except asyncio.CancelledError:
                await self._abandon()
                raise

    async def _start(self) -> None:
        """end-4a."""
        response = await self._request(
            "POST",
            self.remote.url(f"/v2/{self.repository}/blobs/uploads/"),
            expect=(202,),
            headers={hdrs.CONTENT_LENGTH: "0"},
        )
        response.release()
        self.sent = 0
        self._follow(response)
        if self.session is None:
            raise EngineError(f"{self.remote.host} starts an upload without saying where")

    async def _send(self) -> None:
        """end-5 with all that is left, then end-6."""
        assert self.session is not None
        if self.sent < self.size:
            headers = {
                hdrs.CONTENT_TYPE: "application/octet-stream",
                hdrs.CONTENT_LENGTH: str(self.size - self.sent),
                hdrs.CONTENT_RANGE: f"{self.sent}-{self.size - 1}",
            }
            start = self.sent
            response = await self._request(
                "PATCH",
                self.session,
                expect=(202, 204, 201),
                headers=headers,
                body=lambda: self._bytes(start),
            )
            response.release()
            self._follow(response)
            self.sent = self.size
        assert self.session is not None
        response = await self._request(
            "PUT",
            self.session.update_query({"digest": self.digest}),
            expect=(201, 204),
            headers={hdrs.CONTENT_LENGTH: "0", hdrs.CONTENT_TYPE: "application/octet-stream"},
        )
        response.release()

    def _follow(self, response: aiohttp.ClientResponse) -> None:
        """Keep the session's latest place."""
        location = response.headers.get(hdrs.LOCATION)
        if location:
            self.session = self.remote.resolve(response.url, location)

    async def _request(self, method: str, url: URL, **options: Any) -> aiohttp.ClientResponse:
        """A request under a watchdog: when sending stands still, the exchange counts as broken."""
        stalled = False
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        patience = 2 * self.remote.settings.stall  # reading has its own limit; this one is for sending
        self.beat = loop.time()
        timer: asyncio.TimerHandle

        def watch() -> None:
            nonlocal stalled, timer
            left = self.beat + patience - loop.time()
            if left > 0:
                timer = loop.call_later(left, watch)
            elif task is not None:
                stalled = True
                task.cancel()

        timer = loop.call_later(patience, watch)
        try:
            return await self.remote.request(method, url, scopes=self.scopes, subject=self.subject, **options)
        except Broken:
            if self.failure is not None:
                failure, self.failure = self.failure, None
                raise failure from None
            raise
        except asyncio.CancelledError:
            if stalled and task is not None:
                task.uncancel()
                raise broken(TimeoutError(), str(url.host)) from None
            raise
        finally:
            timer.cancel()

    async def _bytes(self, offset: int) -> AsyncIterator[bytes]:
        """The blob from `offset` on."""
        try:
            async for chunk in self.stream(offset):
                yield chunk
                offset += len(chunk)
                self.beat = asyncio.get_running_loop().time()
                self.progress.say(self.digest, "pushing", offset, self.size)
            if offset != self.size:
                raise IntegrityError(f"blob {self.digest} is shorter than its {self.size} bytes")
        except (EstivaError, Broken) as failure:
            self.failure = failure
            raise

    async def _status(self) -> int:
        """end-13: how far the registry is. A session that it has lost begins anew."""
        if self.session is None:
            return self.sent
        try:
            response = await self._request("GET", self.session, expect=(204, 200))
            response.release()
            part = grammar.chunk_range(response.headers.get(hdrs.RANGE, ""))
            # "0-0" is said of an empty session too: begin anew.
            if part is not None and part[0] == 0 and 0 < part[1] < self.size:
                self._follow(response)
                self.sent = part[1] + 1
                return self.sent
        except (EstivaError, Broken):
            pass
        await self._abandon()
        return 0

    async def _abandon(self) -> None:
        """end-14, as a courtesy."""
        session, self.session, self.sent = self.session, None, 0
        if session is not None:
            await cancel(self.remote, session, self.scopes)


async def cancel(remote: Remote, session: URL, scopes: frozenset[str]) -> None:
    """end-14; a failure is the registry's own to sweep up."""
    try:
        async with asyncio.timeout(5):
            response = await remote.request(
                "DELETE", session, scopes=scopes, subject="the upload", expect=(200, 202, 204, 404, 405)
            )
            response.release()
    except (EstivaError, Broken, TimeoutError):
        pass
