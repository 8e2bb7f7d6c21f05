"""One request of the registry server: who asks, what for, whether they may; then the endpoint, and the logs.

answer -> _route -> authenticate -> permit -> ENDPOINTS[kind, method]
"""

from __future__ import annotations

import errno
import time

from aiohttp import web

from estiva import fastjson
from estiva.errors import Unavailable, oneline
from estiva.registry.server import blobs, manifests, metrics
from estiva.registry.server.access import NOBODY
from estiva.registry.server.auth.auth import TOKEN_PATH
from estiva.registry.server.connections import state
from estiva.registry.server.context import Context
from estiva.registry.server.http import Refusal, Route, json_response, parse_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Endpoint = Callable[[Context, web.BaseRequest, Route], Awaitable[web.StreamResponse]]
    Log = Callable[[str], object]


async def _base(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-1."""
    return json_response({})


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("base", "GET"): _base,
    ("catalog", "GET"): manifests.catalog,
    ("blobs", "GET"): blobs.get_blob,
    ("blobs", "DELETE"): blobs.delete_blob,
    ("uploads", "POST"): blobs.start_upload,
    ("upload", "PATCH"): blobs.patch_upload,
    ("upload", "PUT"): blobs.put_upload,
    ("upload", "GET"): blobs.upload_status,
    ("upload", "DELETE"): blobs.cancel_upload,
    ("manifests", "GET"): manifests.get_manifest,
    ("manifests", "PUT"): manifests.put_manifest,
    ("manifests", "DELETE"): manifests.delete_manifest,
    ("tags", "GET"): manifests.list_tags,
    ("referrers", "GET"): manifests.referrers,
}


def action(kind: str, method: str) -> str:
    """What a request needs to be allowed to do."""
    if kind in ("uploads", "upload") or method in ("PUT", "POST", "PATCH"):
        return "push"
    return "delete" if method == "DELETE" else "pull"


class Registry:
    """The handler of all requests. `log` gets a line for people, `records` one of JSON, for each."""

    def __init__(self, context: Context, log: Log | None = None, records: Log | None = None) -> None:
        self.context = context
        self.log = log
        self.records = records

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.monotonic()
        response: web.StreamResponse
        counts = self.context.metrics
        counts.running += 1
        about = state(request)
        try:
            response = await self._dispatch(request)
        except Refusal as refusal:
            response = refusal.response()
        except Unavailable as error:
            response = Refusal(503, "UNAVAILABLE", "the storage can't be reached").response()
            self._tell(f"error: {error}")
        except (ConnectionError, TimeoutError):
            response = web.Response(status=400)  # nobody is left to answer
            about.broken = True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                response = Refusal(507, "UNSUPPORTED", "no space left for this content").response()
            else:
                response = self._broken(error)
        except Exception as error:
            response = self._broken(error)
        finally:
            counts.running -= 1
        if not response.prepared:
            response.headers.setdefault("Docker-Distribution-API-Version", "registry/2.0")
        seconds = time.monotonic() - started
        counts.observe(request.method, about.kind, response.status, seconds)
        self._log(request, response, seconds)
        return response

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        context, about = self.context, state(request)
        special = {"/healthz": self._health, "/metrics": self._metrics}.get(request.path)
        if special is not None:
            about.kind = request.path[1:]
            if request.method not in ("GET", "HEAD"):
                raise Refusal(405, "UNSUPPORTED", "no such operation", {"Allow": "GET"})
            return await special(request)
        auth = context.auth
        if request.path == TOKEN_PATH and auth.own is not None:
            about.kind = "token"
            return await auth.issue(request)
        principal = about.principal = await auth.authenticate(request)
        route = parse_path(request.path)
        about.kind = route.kind
        method = "GET" if request.method == "HEAD" and route.kind != "upload" else request.method
        endpoint = ENDPOINTS.get((route.kind, method))
        if route.kind == "base":
            auth.permit_base(principal)
        elif route.kind == "catalog":
            auth.permit_catalog(principal)
        elif endpoint is not None:
            self._permit(request, route, action(route.kind, method))
        if endpoint is None:
            allowed = ", ".join(sorted(verb for kind, verb in ENDPOINTS if kind == route.kind))
            raise Refusal(405, "UNSUPPORTED", "no such operation", {"Allow": allowed})
        return await endpoint(context, request, route)

    def _permit(self, request: web.BaseRequest, route: Route, what: str) -> None:
        context = self.context
        context.auth.permit(context.principal(request), what, route.name)
        if what == "pull":
            return
        if context.read_only:
            raise Refusal(405, "UNSUPPORTED", "the registry is read-only", {"Allow": "GET, HEAD"})
        upstream = context.mirrors.find(route.name) if context.mirrors is not None else None
        if upstream is not None and what == "push":
            message = f"{route.name} is a copy of what {upstream.registry} has"
            raise Refusal(405, "UNSUPPORTED", message, {"Allow": "GET, HEAD, DELETE"})

    async def _health(self, request: web.BaseRequest) -> web.StreamResponse:
        """Whether the database can be read."""
        await self.context.call(self.context.storage.read, "SELECT 1 FROM repositories LIMIT 1")
        return json_response({"status": "ok"})

    async def _metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        """To whoever has logged in, where that is needed."""
        context = self.context
        if context.auth.needed and await context.auth.authenticate(request) is NOBODY:
            raise context.auth.challenge("authentication required")
        gauges = await context.call(context.storage.gauges)
        text = context.metrics.text(gauges)
        return web.Response(text=text, content_type=metrics.CONTENT_TYPE, charset="utf-8")

    def _broken(self, error: Exception) -> web.Response:
        """What should not happen: the client learns that it did, the log what."""
        self._tell(f"error: {type(error).__name__}: {oneline(str(error))}")
        return Refusal(500, "UNKNOWN", "the registry failed").response()

    def _tell(self, line: str) -> None:
        if self.log is not None:
            self.log(line)
        if self.records is not None:
            self.records(fastjson.dumps({"time": _stamp(), "error": line}))

    def _log(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        if self.log is None and self.records is None:
            return
        size, about = response.content_length or 0, state(request)
        if self.log is not None:
            line = f"{_stamp()} {request.remote} {request.method} {request.path_qs} {response.status} {size}"
            self.log(f"{oneline(line)} {seconds * 1000:.1f}ms{' broken' if about.broken else ''}")
        if self.records is not None:
            record = {
                "time": _stamp(),
                "remote": request.remote,
                "user": about.principal.user,
                "method": request.method,
                "path": request.path_qs[:2000],
                "endpoint": about.kind,
                "status": response.status,
                "received": request.content_length or 0,
                "sent": 0 if request.method == "HEAD" else size,
                "seconds": round(seconds, 6),
                "agent": request.headers.get("User-Agent", "")[:200],
                "broken": about.broken,
            }
            self.records(fastjson.dumps(record))


def _stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
