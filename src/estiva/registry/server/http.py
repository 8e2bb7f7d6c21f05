"""What every endpoint of the registry server uses: routes, refusals in the spec's form, bodies in and out."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from aiohttp import web

from estiva import fastjson
from estiva.errors import Denied, EstivaError, NotFound, Unavailable
from estiva.registry import grammar
from estiva.registry.http.offload import Gather, call
from estiva.registry.server.connections import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from concurrent.futures import Executor
    from typing import Protocol

    from estiva.registry.server.metrics import Metrics
    from estiva.registry.server.mirror import Fetch
    from estiva.registry.server.storage.content import Content

    class Source(Protocol):
        async def send(
            self, request: web.BaseRequest, response: web.StreamResponse, offset: int, count: int
        ) -> int:
            """Send up to `count` bytes from `offset`; how many there were."""

        def close(self) -> None: ...


STALL = 60.0  # seconds without a byte of a request body before its connection is given up
SLOWEST = 256  # bytes a second, on the average of STALL seconds; a body that drips slower is given up too
DOCUMENT_TIME = 120.0  # seconds for a manifest's body
PAGE = 1000  # entries of a list that are sent at once
PIECE = 4 << 20  # bytes sent in one go, each within PIECE_TIME: a client that reads slower is given up
PIECE_TIME = 300.0
CHUNK = 1 << 20  # bytes read at once from what is not a file
READ_BUFFER = 1 << 17


class Refusal(Exception):
    """An error response with a code of the distribution-spec, section "Error Codes"."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers

    def response(self) -> web.Response:
        errors = {"errors": [{"code": self.code, "message": self.message}]}
        return json_response(errors, status=self.status, headers=self.headers)


@dataclass(frozen=True)
class Route:
    """Where a path leads. `reference` is a tag, a digest or an upload's id as it came: not yet validated."""

    kind: str
    name: str = ""
    reference: str = ""


def parse_path(path: str) -> Route:
    """The route of a decoded path, read from its end, as a repository's name may hold any of the words."""
    if path in ("/v2", "/v2/"):
        return Route("base")
    if path == "/v2/_catalog":
        return Route("catalog")
    parts = path.removeprefix("/v2/").split("/") if path.startswith("/v2/") else []
    kind, name, reference = "", "", parts[-1] if parts else ""
    if len(parts) >= 4 and parts[-3:-1] == ["blobs", "uploads"]:
        kind, name = ("upload" if reference else "uploads"), "/".join(parts[:-3])
    elif len(parts) >= 3 and parts[-2:] == ["blobs", "uploads"]:
        kind, name = "uploads", "/".join(parts[:-2])
    elif len(parts) >= 3 and parts[-2:] == ["tags", "list"]:
        kind, name = "tags", "/".join(parts[:-2])
    elif len(parts) >= 3 and parts[-2] in ("blobs", "manifests", "referrers"):
        kind, name = parts[-2], "/".join(parts[:-2])
    else:
        raise Refusal(404, "UNSUPPORTED", "no such endpoint")
    if not grammar.is_name(name):
        raise Refusal(400, "NAME_INVALID", "invalid repository name")
    return Route(kind, name, reference)


@contextlib.contextmanager
def upstream_errors(unknown: str) -> Iterator[None]:
    """What an upstream's failure is to our client."""
    try:
        yield
    except NotFound as error:
        raise Refusal(404, unknown, error.message) from None
    except Denied as error:
        raise Refusal(403, "DENIED", error.message) from None
    except Unavailable as error:
        raise Refusal(503, "UNAVAILABLE", error.message, {"Retry-After": "10"}) from None
    except EstivaError as error:
        raise Refusal(502, "UNKNOWN", error.message) from None


def want_digest(text: str) -> str:
    if not grammar.is_digest(text):
        raise Refusal(400, "DIGEST_INVALID", "the digest is malformed or its algorithm is not supported")
    return text


def paging(request: web.BaseRequest) -> tuple[int, str]:
    """The `n` and `last` of a list request."""
    asked = request.query.get("n", str(PAGE))
    if not asked.isascii() or not asked.isdigit() or len(asked) > 9:
        raise Refusal(400, "UNSUPPORTED", "n is not a number")
    return min(int(asked), PAGE), request.query.get("last", "")[:1024]


def next_page(request: web.BaseRequest, **query: str) -> dict[str, str]:
    """The Link header to what follows (RFC 5988)."""
    return {"Link": f'<{quote(request.path)}?{urlencode(query)}>; rel="next"'}


def json_response(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = ""
) -> web.Response:
    body = fastjson.dumps(value).encode()
    return web.Response(
        status=status, body=body, headers=headers, content_type=content_type or "application/json"
    )


async def _chunks(request: web.BaseRequest, slowest: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Refusal when it breaks off, stalls, or drips."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refusal(415, "UNSUPPORTED", "a body must not have a Content-Encoding")
    transport = request.transport
    if request.headers.get("Expect", "").lower() == "100-continue" and transport is not None:
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    loop = asyncio.get_running_loop()
    window, got = loop.time(), 0
    try:
        while True:
            async with asyncio.timeout(STALL):
                chunk = await request.content.readany()
            if not chunk:
                return
            got += len(chunk)
            yield chunk
            if loop.time() - window >= STALL:
                if got < slowest * STALL:
                    raise Refusal(408, "SIZE_INVALID", "the request's body comes too slowly")
                window, got = loop.time(), 0
    except (ConnectionError, TimeoutError, web.RequestPayloadError):
        raise Refusal(400, "SIZE_INVALID", "the request's body broke off") from None


async def receive(
    request: web.BaseRequest, consume: Callable[[list[bytes]], object], pool: Executor, metrics: Metrics
) -> int:
    """Carry a request's body into `consume`, called in threads of `pool`, with flat memory; its length.

    What has come before a connection broke is consumed too, so that the upload can be resumed behind it.
    """
    pump = Gather(consume, pool)
    received = 0
    try:
        async for chunk in _chunks(request, SLOWEST):
            received += len(chunk)
            metrics.received += len(chunk)
            await pump.put(chunk)
        await pump.drain()
        return received
    except Refusal:
        metrics.broken += 1
        await pump.drain()
        raise
    except BaseException:
        await pump.settle()
        raise


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """A request's body of at most `limit` bytes."""
    if (request.content_length or 0) > limit:
        raise Refusal(413, "SIZE_INVALID", f"the body is larger than {limit} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(DOCUMENT_TIME):
            async for chunk in _chunks(request, 0):
                body += chunk
                if len(body) > limit:
                    raise Refusal(413, "SIZE_INVALID", f"the body is larger than {limit} bytes")
    except TimeoutError:
        raise Refusal(408, "SIZE_INVALID", "the request's body comes too slowly") from None
    return bytes(body)


async def send(
    request: web.BaseRequest,
    response: web.StreamResponse,
    source: Source,
    offset: int,
    count: int,
    metrics: Metrics,
) -> web.StreamResponse:
    """Send `count` bytes of a source from `offset` as the body, and close the source.

    Once the headers are out an error can only be told by breaking the connection; so is a client that takes
    a piece in no reasonable time.
    """
    try:
        response.content_length = count
        await response.prepare(request)
        if request.method != "HEAD" and count:
            end = offset + count
            while offset < end:
                async with asyncio.timeout(PIECE_TIME):
                    sent = await source.send(request, response, offset, min(PIECE, end - offset))
                if not sent:
                    raise ConnectionAbortedError("less content than there should be")
                offset += sent
                metrics.sent += sent
        await response.write_eof()
    except (EstivaError, OSError, TimeoutError, RuntimeError):
        # RuntimeError: the loop's word for a transport that closes. Nobody is left to answer.
        metrics.broken += 1
        state(request).broken = True
        if request.transport is not None:
            request.transport.abort()
    finally:
        source.close()
    return response


class FileSource:
    """A file by its fd, sent with sendfile(2); over TLS the event loop reads it in a thread."""

    def __init__(self, fd: int) -> None:
        self.file = os.fdopen(fd, "rb", buffering=0)

    async def send(
        self, request: web.BaseRequest, response: web.StreamResponse, offset: int, count: int
    ) -> int:
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        return await asyncio.get_running_loop().sendfile(request.transport, self.file, offset, count)

    def close(self) -> None:
        self.file.close()


class PieceSource:
    """Content that is no file, read piece by piece in a thread of `pool`."""

    def __init__(self, content: Content, digest: str, pool: Executor) -> None:
        self.content = content
        self.digest = digest
        self.pool = pool

    async def send(
        self, request: web.BaseRequest, response: web.StreamResponse, offset: int, count: int
    ) -> int:
        piece = await call(self.pool, self.content.piece, self.digest, offset, min(count, CHUNK))
        await response.write(piece)
        return len(piece)

    def close(self) -> None:
        pass


class GrowingSource(FileSource):
    """A blob that is still coming from upstream."""

    def __init__(self, fd: int, fetch: Fetch) -> None:
        super().__init__(fd)
        self.fetch = fetch

    async def send(
        self, request: web.BaseRequest, response: web.StreamResponse, offset: int, count: int
    ) -> int:
        there = await self.fetch.more(offset)
        return await super().send(request, response, offset, min(count, there - offset))
