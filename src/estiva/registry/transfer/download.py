"""One blob from a registry into a sink, whatever breaks on the way.

    open -> GET (Range: bytes=OFFSET-) -> feed ... feed -> commit
              |                            |          `- wrong bytes: rewind, once more from byte 0
              |                            `- cut, stalled: again from the byte where it broke
              `- 429, 5xx: again after a pause

A sink keeps what it was fed, in a process's lifetime and beyond: `offset` is where the next byte goes.
"""

from __future__ import annotations

import asyncio
import threading

import aiohttp
from aiohttp import hdrs

from estiva.errors import IntegrityError, Unavailable
from estiva.oci import digest as digests
from estiva.registry import grammar
from estiva.registry.http.errors import Broken, broken
from estiva.registry.http.offload import Pump, call
from estiva.registry.http.transport import Remote, pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Executor
    from typing import Protocol, TypeVar

    from estiva.registry.transfer.progress import Progress

    S = TypeVar("S", bound="Sink")

    class Sink(Protocol):
        """Where a blob goes: store.layers' LayerIngest, or the like. All methods but `close` may block."""

        @property
        def complete(self) -> bool: ...
        @property
        def offset(self) -> int: ...
        def feed(self, data: bytes) -> object: ...
        def commit(self) -> object: ...
        def rewind(self) -> object: ...
        def close(self) -> object: ...


SLOWEST = 128  # bytes a second, on the average of `stall` seconds; what is slower counts as broken


class Slow(Broken):
    """A body that drips (K13)."""


class Download:
    """A blob of `size` bytes on its way into a sink."""

    def __init__(
        self, remote: Remote, repository: str, digest: str, size: int, *, pool: Executor, progress: Progress
    ) -> None:
        self.remote = remote
        self.repository = repository
        self.digest = digest
        self.size = size
        self.pool = pool
        self.progress = progress
        self.scopes = frozenset({f"repository:{repository}:pull"})

    async def into(self, sink: Sink) -> None:
        """Fetch until the sink has committed.

        Raises IntegrityError when the bytes are wrong twice, Unavailable when `attempts` tries in a row
        brought nothing, NotFound, Denied.
        """
        attempt, spoilt = 0, False
        while True:
            before = sink.offset
            try:
                if sink.offset < self.size:
                    await self._fetch(sink)
                self.progress.say(self.digest, "extracting", self.size, self.size)
                await call(self.pool, sink.commit)
                return
            except IntegrityError as error:
                await call(self.pool, sink.rewind)
                if spoilt:
                    raise _naming(error, self.digest) from None
                spoilt = True
                self.progress.say(self.digest, "retrying", 0, self.size, str(error))
            except Broken as failure:
                # one that drips is no progress: it would drip for ever
                attempt = 1 if sink.offset > before and not isinstance(failure, Slow) else attempt + 1
                if attempt >= self.remote.settings.attempts:
                    raise failure.error from failure
                self.progress.say(self.digest, "retrying", sink.offset, self.size, str(failure))
                await pause(self.remote.settings, attempt, failure.after)

    async def _get(self, offset: int) -> aiohttp.ClientResponse:
        headers: dict[str, str] = {hdrs.RANGE: f"bytes={offset}-"} if offset else {}
        return await self.remote.request(
            "GET",
            f"/v2/{self.repository}/blobs/{self.digest}",
            scopes=self.scopes,
            subject=f"blob {self.digest} of {self.remote.host}/{self.repository}",
            expect=(200, 206, 416) if offset else (200,),
            headers=headers,
        )

    async def stream(self, offset: int) -> AsyncIterator[bytes]:
        """The bytes from `offset` on, for who sends them on at once; proven at the end if it is all of them.

        Raises Broken with some of them, IntegrityError before the last piece when they are wrong.
        """
        hasher = digests.hasher(self.digest.partition(":")[0])
        response = await self._get(offset)
        held, came = b"", offset
        try:
            skip = self._check_start(response, offset)
            try:
                async for chunk in self._pieces(response, offset, skip):
                    hasher.update(chunk)
                    if held:
                        yield held
                    held = chunk
                    came += len(chunk)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                raise broken(error, str(response.url.host)) from error
        except BaseException:
            response.close()
            raise
        if came < self.size:
            response.close()
            raise Broken(Unavailable(f"{response.url.host} ended the body early"))
        if not offset and hasher.hexdigest() != self.digest.partition(":")[2]:
            got = f"{self.digest.partition(':')[0]}:{hasher.hexdigest()}"
            raise IntegrityError(f"blob {self.digest} has the digest {got} at {self.remote.host}")
        if held:
            yield held

    async def _fetch(self, sink: Sink) -> None:
        """One GET from the sink's offset on. Returns with all bytes fed; raises Broken with some of them."""
        offset = sink.offset
        response = await self._get(offset)
        pump = Pump(sink.feed, self.pool)
        try:
            skip = self._check_start(response, offset)
            try:
                await self._body(response, pump, offset, skip)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                await pump.drain()  # what has come counts: the next try starts behind it
                raise broken(error, str(response.url.host)) from error
            except Slow:
                await pump.drain()
                raise
            await pump.drain()
        except BaseException:
            response.close()
            await pump.settle()
            raise
        if sink.offset < self.size:
            response.close()
            raise Broken(Unavailable(f"{response.url.host} ended the body early"))
        response.release()

    def _check_start(self, response: aiohttp.ClientResponse, offset: int) -> int:
        """How many bytes of the body are to be skipped. Raises IntegrityError for another size or place."""
        if response.status == 416:
            raise IntegrityError(f"blob {self.digest}: the registry has no bytes behind {offset}")
        if response.status == 206:
            part = grammar.content_range(response.headers.get(hdrs.CONTENT_RANGE, ""))
            if part is None or part[0] != offset or part[2] not in (None, self.size):
                raise IntegrityError(
                    f"blob {self.digest}: the registry sends another range than was asked for"
                )
            return 0
        length = response.content_length
        if length is not None and length != self.size:
            raise IntegrityError(f"blob {self.digest} has {length} bytes at the registry, not {self.size}")
        return offset  # the registry knows no ranges: a skip is cheaper than decompressing again

    async def _body(self, response: aiohttp.ClientResponse, pump: Pump, offset: int, skip: int) -> None:
        position = offset
        async for chunk in self._pieces(response, offset, skip):
            position += len(chunk)
            await pump.put(chunk)
            self.progress.say(self.digest, "downloading", position, self.size)

    async def _pieces(self, response: aiohttp.ClientResponse, offset: int, skip: int) -> AsyncIterator[bytes]:
        """The body's pieces behind `offset`, within its size and not dripping."""
        position = offset - skip
        loop = asyncio.get_running_loop()
        window = self.remote.settings.stall
        mark, until = position, loop.time() + window
        async for chunk in response.content.iter_any():
            position += len(chunk)
            if loop.time() >= until:
                if position - mark < window * SLOWEST:
                    raise Slow(Unavailable(f"{response.url.host} sends less than {SLOWEST} bytes a second"))
                mark, until = position, loop.time() + window
            if position > self.size:
                raise IntegrityError(f"blob {self.digest} is larger than its {self.size} bytes")
            if skip:
                dropped = min(skip, len(chunk))
                skip -= dropped
                chunk = chunk[dropped:]
                if not chunk:
                    continue
            yield chunk


async def open_sink(make: Callable[[], S]) -> S:
    """Run `make`, which may wait for another process that fetches the same, without holding up our own end.

    A plain thread pool would be joined at exit, behind the other process's download.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[S] = loop.create_future()
    lock = threading.Lock()
    left = False

    def finish(sink: S | None, error: BaseException | None) -> None:
        if future.done():
            if sink is not None:
                sink.close()
        elif error is not None:
            future.set_exception(error)
        elif sink is not None:
            future.set_result(sink)

    def run() -> None:
        sink, error = None, None
        try:
            sink = make()
        except BaseException as failure:
            error = failure
        with lock:
            if not left:
                loop.call_soon_threadsafe(finish, sink, error)
            elif sink is not None:
                sink.close()

    threading.Thread(target=run, daemon=True, name="registry-open").start()
    try:
        return await future
    except asyncio.CancelledError:
        with lock:
            left = True
        if future.done() and not future.cancelled() and future.exception() is None:
            future.result().close()
        raise


def _naming(error: IntegrityError, digest: str) -> IntegrityError:
    """The error with the digest of what was fetched, where the sink stumbled before it could tell."""
    if digest in error.message:
        return error
    return type(error)(f"blob {digest}: {error.message}", hint=error.hint)
