"""What every endpoint of the registry server uses: routes, refusals in the spec's form, bodies, sendfile."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from aiohttp import web

from estiva import fastjson
from estiva.registry import grammar
from estiva.registry.pump import Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from typing import Any, TypeVar

    from estiva.registry.storage import Storage
    from estiva.registry.uploads import Uploads

    T = TypeVar("T")

STALL = 60.0  # seconds without a byte of a request body before its connection is given up
PAGE = 1000  # entries of a list that are sent at once


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


@dataclass
class Context:
    """What the endpoints share."""

    storage: Storage
    uploads: Uploads
    pool: Executor

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what blocks in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)


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


async def receive(request: web.BaseRequest, consume: Callable[[bytes], object], pool: Executor) -> int:
    """Carry a request's body into `consume` with flat memory. Returns its length.

    What has come before a connection broke is consumed too, so that the upload can be resumed behind it.
    """
    pump = Pump(consume, pool)
    received = 0
    try:
        while True:
            async with asyncio.timeout(STALL):
                chunk = await request.content.readany()
            if not chunk:
                break
            received += len(chunk)
            await pump.put(chunk)
        await pump.drain()
        return received
    except (ConnectionError, TimeoutError, web.RequestPayloadError):
        await pump.drain()
        raise Refusal(400, "SIZE_INVALID", "the request's body broke off") from None
    except BaseException:
        await pump.settle()
        raise


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """A request's body of at most `limit` bytes."""
    if (request.content_length or 0) > limit:
        raise Refusal(413, "SIZE_INVALID", f"the body is larger than {limit} bytes")
    body = bytearray()
    try:
        while True:
            async with asyncio.timeout(STALL):
                chunk = await request.content.readany()
            if not chunk:
                return bytes(body)
            body += chunk
            if len(body) > limit:
                raise Refusal(413, "SIZE_INVALID", f"the body is larger than {limit} bytes")
    except (ConnectionError, TimeoutError, web.RequestPayloadError):
        raise Refusal(400, "SIZE_INVALID", "the request's body broke off") from None


async def send_file(
    request: web.BaseRequest, fd: int, offset: int, count: int, response: web.StreamResponse
) -> web.StreamResponse:
    """Send `count` bytes of `fd` from `offset` as the body: sendfile(2) where the transport can. Closes `fd`.

    Once the headers are out an error can only be told by breaking the connection.
    """
    with os.fdopen(fd, "rb", buffering=0) as file:
        response.content_length = count
        await response.prepare(request)
        transport = request.transport
        if request.method != "HEAD" and count:
            if transport is None:
                raise ConnectionResetError("the client has gone")
            try:
                # Over TLS the loop falls back to reading the file in a thread.
                sent = await asyncio.get_running_loop().sendfile(transport, file, offset, count)
                if sent != count:
                    raise ConnectionAbortedError(f"only {sent} of {count} bytes were there to send")
            except Exception as error:
                transport.abort()
                raise ConnectionAbortedError(str(error)) from error
        await response.write_eof()
    return response
