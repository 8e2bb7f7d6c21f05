"""Verbs that talk while they work: what they tell goes out as they tell it, what they read comes from the
request's body, and a client that goes away ends them.

The verb runs in a thread of its own, so that clients that do not read keep nobody else waiting. Each of its
reads and writes is done by the loop and waited for: nothing piles up (K22).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from concurrent.futures import CancelledError
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from aiohttp import web

from estiva.api.app import HEADERS
from estiva.errors import EstivaError, Unavailable, brief, oneline

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from estiva.api.app import Api

    R = TypeVar("R")

PIECE = 1 << 18  # bytes that are read at once
MOST = 256  # threads of verbs: one that waits for its client has 1.5 MB


class Line:
    """What joins a verb's thread and its request. All that it does raises Unavailable once the client has
    gone."""

    def __init__(self, request: web.Request, kind: str) -> None:
        self.request = request
        self.response = web.StreamResponse(headers={**HEADERS, "Content-Type": kind})
        self.loop = asyncio.get_running_loop()
        self.gone = False
        self._turn = threading.Lock()

    @property
    def file(self) -> IO[bytes]:
        """Itself, for who reads or writes a file."""
        return cast("IO[bytes]", self)

    @property
    def begun(self) -> bool:
        """Whether anything has been told: from then on the status is."""
        return self.response.prepared

    def look(self) -> None:
        if self.gone:
            raise Unavailable("the client has gone")

    def write(self, data: bytes) -> int:
        """Send; returns when there is room for more. By any thread."""
        with self._turn:
            self._wait(self._write(data))
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Of the request's body: what has come, `size` bytes at most; b"" at its end."""
        return self._wait(self._read(PIECE if size < 0 else min(size, PIECE)))

    def flush(self) -> None:
        """Nothing waits here."""

    def _wait(self, what: Coroutine[Any, Any, R]) -> R:
        if self.gone:
            what.close()
        self.look()
        try:
            return asyncio.run_coroutine_threadsafe(what, self.loop).result()
        except (OSError, RuntimeError, CancelledError, web.HTTPException) as error:
            self.gone = True
            raise Unavailable("the client has gone") from error

    async def _write(self, data: bytes) -> None:
        if not self.response.prepared:
            await self.response.prepare(self.request)
        await self.response.write(data)

    async def _read(self, size: int) -> bytes:
        try:
            return await self.request.content.read(size)
        except web.RequestPayloadError as error:
            raise ConnectionResetError from error


class Told(Line):
    """A stream of JSON objects, one a line."""

    def __init__(self, request: web.Request) -> None:
        super().__init__(request, "application/json")

    def say(self, event: Mapping[str, Any]) -> None:
        text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        self.write(text.encode("utf-8", "replace") + b"\r\n")

    def status(self, text: str, **more: Any) -> None:
        self.say({"status": text, **more})

    def failed(self, error: EstivaError, code: int | None = None) -> None:
        """The end of a stream whose status is gone already."""
        message = oneline(error.message)
        detail = {"code": code, "message": message} if code else {"message": message}
        self.say({"errorDetail": detail, "error": message})


async def run(api: Api, line: Line, verb: Callable[[], object]) -> web.StreamResponse:
    """Do the verb; what there is to answer. An error before anything was told is raised. Raises Unavailable
    where too many go on already."""
    if api.work.telling >= MOST:
        raise Unavailable(f"{MOST} builds, pulls and the like are under way: there is room for no more")
    api.work.telling += 1
    done: asyncio.Future[None] = line.loop.create_future()
    thread = threading.Thread(target=_do, args=(api, line, verb, done), name="told")
    try:
        thread.start()
    except RuntimeError as error:  # the machine has no more
        api.work.telling -= 1
        raise Unavailable(f"a thread can't be started: {error}") from None
    try:
        await asyncio.shield(done)
        if not line.begun:
            await line.response.prepare(line.request)
        await line.response.write_eof()
    except EstivaError as error:
        if not line.begun:
            raise
        await _end(line, error)
    except OSError:
        pass  # nobody is there any more
    finally:
        line.gone = True
        if not done.done():
            done.add_done_callback(lambda end: end.cancelled() or end.exception())
    return line.response


async def _end(line: Line, error: EstivaError) -> None:
    """The end of a response that has begun."""
    if isinstance(line, Told):
        with contextlib.suppress(EstivaError, OSError):
            await asyncio.to_thread(line.failed, error, getattr(error, "code", None))
            await line.response.write_eof()
    elif line.request.transport is not None:  # bytes that end too soon are seen; JSON among them is not
        line.request.transport.abort()


def _do(api: Api, line: Line, verb: Callable[[], object], done: asyncio.Future[None]) -> None:
    found: BaseException | None = None
    try:
        verb()
    except EstivaError as error:
        found = error
    except Exception as error:
        line.loop.call_soon_threadsafe(
            line.loop.call_exception_handler, {"message": "a verb of the api", "exception": error}
        )
        found = EstivaError(f"internal error: {brief(repr(error), 200)}")
    finally:
        api.engine.close_database()

    def end() -> None:
        api.work.telling -= 1
        if done.cancelled():
            return
        if found is None:
            done.set_result(None)
        else:
            done.set_exception(found)

    try:
        line.loop.call_soon_threadsafe(end)
    except RuntimeError:
        pass  # the server has ended meanwhile
