"""The registry server: every endpoint of distribution-spec 1.1 over one directory, in one process.

    serve -> listen -> answer -> (users) -> parse_path -> ENDPOINTS[kind, method]

server_http.py has the shapes, server_blobs.py and server_manifests.py the endpoints, storage.py the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from estiva.errors import Conflict, EstivaError, InvalidInput, Unavailable, oneline, reason
from estiva.registry import server_blobs, server_manifests
from estiva.registry.htpasswd import Htpasswd
from estiva.registry.server_http import Context, Refusal, Route, json_response, parse_path
from estiva.registry.storage import Storage
from estiva.registry.uploads import Uploads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Endpoint = Callable[[Context, web.BaseRequest, Route], Awaitable[web.StreamResponse]]
    Log = Callable[[str], object]

THREADS = 8
GRACE = 10.0  # seconds that running requests get when the server is told to stop
LINGER = 3.0
SWEEP = 300.0  # seconds between two looks for idle uploads


async def _base(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-1."""
    return json_response({})


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("base", "GET"): _base,
    ("catalog", "GET"): server_manifests.catalog,
    ("blobs", "GET"): server_blobs.get_blob,
    ("blobs", "DELETE"): server_blobs.delete_blob,
    ("uploads", "POST"): server_blobs.start_upload,
    ("upload", "PATCH"): server_blobs.patch_upload,
    ("upload", "PUT"): server_blobs.put_upload,
    ("upload", "GET"): server_blobs.upload_status,
    ("upload", "DELETE"): server_blobs.cancel_upload,
    ("manifests", "GET"): server_manifests.get_manifest,
    ("manifests", "PUT"): server_manifests.put_manifest,
    ("manifests", "DELETE"): server_manifests.delete_manifest,
    ("tags", "GET"): server_manifests.list_tags,
    ("referrers", "GET"): server_manifests.referrers,
}


class Registry:
    """The handler of all requests. `users` None: anyone may read and write."""

    def __init__(self, context: Context, users: Htpasswd | None = None, log: Log | None = None) -> None:
        self.context = context
        self.users = users
        self.log = log

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.monotonic()
        response: web.StreamResponse
        try:
            response = await self._dispatch(request)
        except Refusal as refusal:
            response = refusal.response()
        except (ConnectionError, TimeoutError):
            raise  # nobody is left to answer
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                response = Refusal(507, "UNSUPPORTED", "no space left for this content").response()
            else:
                response = self._broken(error)
        except Exception as error:
            response = self._broken(error)
        response.headers.setdefault("Docker-Distribution-API-Version", "registry/2.0")
        if self.log is not None:
            self._log(request, response, time.monotonic() - started)
        return response

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.users is not None and not await self.context.call(
            self.users.accepts, request.headers.get("Authorization", "")
        ):
            headers = {"WWW-Authenticate": 'Basic realm="estiva"'}
            raise Refusal(401, "UNAUTHORIZED", "authentication required", headers)
        route = parse_path(request.path)
        method = "GET" if request.method == "HEAD" and route.kind != "upload" else request.method
        endpoint = ENDPOINTS.get((route.kind, method))
        if endpoint is None:
            allowed = ", ".join(sorted(verb for kind, verb in ENDPOINTS if kind == route.kind))
            raise Refusal(405, "UNSUPPORTED", "no such operation", {"Allow": allowed})
        return await endpoint(self.context, request, route)

    def _broken(self, error: Exception) -> web.Response:
        """What should not happen: the client learns that it did, the log what."""
        if self.log is not None:
            self.log(f"error: {type(error).__name__}: {oneline(str(error))}")
        return Refusal(500, "UNKNOWN", "the registry failed").response()

    def _log(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        assert self.log is not None
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        size = response.content_length or 0
        line = f"{stamp} {request.remote} {request.method} {request.path_qs} {response.status} {size}"
        self.log(f"{oneline(line)} {seconds * 1000:.1f}ms")


def parse_listen(text: str) -> tuple[str, int]:
    """HOST:PORT, [IPV6]:PORT or :PORT (every address)."""
    host, colon, port = text.rpartition(":")
    if (
        not colon
        or not port.isascii()
        or not port.isdigit()
        or int(port) > 65535
        or (":" in host) != ("[" in host)
    ):
        raise InvalidInput(
            f"{text!r} is not an address to listen on", hint="use HOST:PORT, such as 127.0.0.1:5000"
        )
    return host.strip("[]"), int(port)


def _bind(listen: str) -> socket.socket:
    host, port = parse_listen(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise InvalidInput(f"can't listen on {listen}: {reason(error)}") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"{listen} is in use", hint="choose another port, or 0 for a free one") from None
        raise Unavailable(f"can't listen on {listen}: {reason(error)}") from None
    return bound


@contextlib.asynccontextmanager
async def listening(
    listen: str,
    root: str,
    *,
    htpasswd: str | None = None,
    log: Log | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """A registry that serves inside the async with-block; the block gets its HOST:PORT."""
    users = Htpasswd(htpasswd) if htpasswd else None
    bound = _bind(listen)
    try:
        storage = Storage(root)
    except BaseException:
        bound.close()
        raise
    uploads = Uploads(storage)
    pool = ThreadPoolExecutor(THREADS, "registry")
    context = Context(storage, uploads, pool)
    # What a refused client goes on sending is read and dropped for a while, so that it sees the refusal.
    server = web.Server(Registry(context, users, log).answer, access_log=None, lingering_time=LINGER)
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=GRACE)
    sweeper = asyncio.ensure_future(_sweep(context))
    try:
        await runner.setup()
        await web.SockSite(runner, bound, ssl_context=tls).start()
        host, port = bound.getsockname()[:2]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        sweeper.cancel()
        await runner.cleanup()
        bound.close()
        pool.shutdown()
        uploads.close()
        storage.close()


async def _sweep(context: Context) -> None:
    while True:
        with contextlib.suppress(EstivaError, OSError):
            await context.call(context.uploads.expire)
        await asyncio.sleep(SWEEP)


def serve(
    listen: str = "127.0.0.1:5000",
    root: str = "",
    *,
    ready: Callable[[str], object] | None = None,
    htpasswd: str | None = None,
    log: Log | None = None,
    certificate: str | None = None,
    key: str | None = None,
) -> None:
    """Serve the registry in directory `root` until SIGTERM or SIGINT; running requests get ten seconds more.

    `ready` is called with the bound HOST:PORT (port 0 takes a free one), `log` with one line per request,
    `certificate` and `key` are PEM files that turn TLS on, `htpasswd` names a file of users for Basic
    authentication. Raises Conflict if the address or the directory is in use, InvalidInput for a bad address.
    """
    if not root:
        raise InvalidInput("the registry needs a directory")
    asyncio.run(_serve(listen, root, ready, htpasswd, log, _tls(certificate, key)))


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"can't use the certificate {certificate}: {reason(error)}") from None
    return context


async def _serve(
    listen: str,
    root: str,
    ready: Callable[[str], object] | None,
    htpasswd: str | None,
    log: Log | None,
    tls: ssl.SSLContext | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(RuntimeError, ValueError):  # not the main thread: its owner cancels instead
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    async with listening(listen, root, htpasswd=htpasswd, log=log, tls=tls) as address:
        if ready is not None:
            ready(address)
        await stop.wait()
