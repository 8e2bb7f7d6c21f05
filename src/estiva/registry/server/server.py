"""The registry server: every endpoint of distribution-spec 1.1 over one directory, in one process.

    serve -> listening -> Registry.answer        dispatch.py
                 |- Maintenance                  maintenance.py: garbage collection and the like
                 |- Auth                         access.py, auth/: auth.py, bearer.py, htpasswd.py
                 |- Mirrors                      mirror.py: pull-through caching
                 `- Storage, Uploads             storage/: storage.py, content.py, uploads.py

http.py has the shapes that the endpoints in blobs.py and manifests.py use; what they share is in context.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from aiohttp import web

from estiva.errors import Conflict, InvalidInput, Unavailable, oneline, reason
from estiva.files import refuse_others
from estiva.registry.http.settings import Settings
from estiva.registry.server import connections
from estiva.registry.server.access import Access
from estiva.registry.server.auth import bearer
from estiva.registry.server.auth.auth import TOKEN_PATH, Auth
from estiva.registry.server.auth.htpasswd import Htpasswd
from estiva.registry.server.config import Config
from estiva.registry.server.context import Context
from estiva.registry.server.dispatch import Registry
from estiva.registry.server.http import READ_BUFFER
from estiva.registry.server.maintenance import Maintenance
from estiva.registry.server.metrics import Metrics
from estiva.registry.server.mirror import Mirrors
from estiva.registry.server.storage.storage import Storage
from estiva.registry.server.storage.uploads import Uploads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from estiva.registry.server.dispatch import Log

THREADS = 8
LINGER = 3.0


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


def _realm(listen: str, bound: socket.socket, scheme: str) -> str:
    """Where this server itself gives tokens, as a client reaches it. Raises InvalidInput."""
    host, (address, port) = parse_listen(listen)[0], bound.getsockname()[:2]
    if address in ("0.0.0.0", "::"):
        raise InvalidInput(
            f"the registry listens on {listen}, which is no address that clients could get tokens from",
            hint='name one in [token]: realm = "https://registry.example.org/token"',
        )
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{TOKEN_PATH}"


def _auth(config: Config, bound: socket.socket, scheme: str) -> Auth:
    """Who may do what, as configured. Raises InvalidInput for what makes no sense together."""
    users = Htpasswd(config.htpasswd) if config.htpasswd else None
    tokens, own, issued = config.tokens, None, None
    if tokens is not None and tokens.jwks:
        issued = bearer.IssuedTokens(tokens.jwks, tokens.issuer, tokens.service)
    elif tokens is not None:
        if users is None:
            raise InvalidInput("the registry can't issue tokens without users", hint="name an htpasswd file")
        own = bearer.OwnTokens(bearer.own_key(config.root), tokens.service, tokens.life)
    access = Access(config.rules, login=users is not None or issued is not None)
    realm, service = (tokens.realm, tokens.service) if tokens is not None else ("", "")
    if own is not None and not realm:
        realm = _realm(config.listen, bound, scheme)
    return Auth(access, users, own=own, issued=issued, realm=realm, service=service)


@contextlib.asynccontextmanager
async def listening(
    listen: str,
    root: str,
    *,
    htpasswd: str | None = None,
    log: Log | None = None,
    tls: ssl.SSLContext | None = None,
    config: Config | None = None,
    upstream_settings: Settings | None = None,
) -> AsyncIterator[str]:
    """A registry that serves inside the async with-block; the block gets its HOST:PORT.

    The first arguments go before those of `config`. `upstream_settings` is how upstreams are spoken to.
    """
    config = replace(config or Config(), listen=listen, root=os.path.abspath(root))
    config.htpasswd = htpasswd or config.htpasswd
    async with contextlib.AsyncExitStack() as stack:
        bound = _bind(listen)
        stack.callback(bound.close)
        storage = Storage(config.root, config.storage)
        stack.callback(storage.close)
        auth = _auth(config, bound, "https" if tls else "http")
        stack.callback(auth.close)
        uploads = Uploads(storage)
        stack.callback(uploads.close)
        pool = ThreadPoolExecutor(THREADS, "registry")
        stack.callback(pool.shutdown)
        context = Context(storage, uploads, pool, Metrics(), auth, read_only=config.read_only)
        if config.upstreams:
            settings = upstream_settings or Settings.from_environment()
            mirrors = Mirrors(config.upstreams, settings, storage, uploads, pool, context.metrics)
            context.mirrors = await stack.enter_async_context(mirrors)
        await stack.enter_async_context(Maintenance(context, config))
        records = _records(config.access_log, stack) if config.access_log else None
        # What a refused client goes on sending is read and dropped for a while, so that it sees the refusal.
        server = connections.Server(
            Registry(context, log, records).answer,
            most=config.connections,
            metrics=context.metrics,
            access_log=None,
            lingering_time=LINGER,
            read_bufsize=READ_BUFFER,
            auto_decompress=False,
        )
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=config.stop_timeout)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        site = web.SockSite(runner, bound, ssl_context=tls)
        await site.start()
        stack.push_async_callback(_drain, site, context.metrics, config.stop_timeout)
        host, port = bound.getsockname()[:2]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _drain(site: web.SockSite, metrics: Metrics, seconds: float) -> None:
    """No new connections, and time for the requests that run.

    aiohttp's own shutdown waits too, but reads nothing more meanwhile: an upload would never end.
    """
    await site.stop()
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while metrics.running and loop.time() < end:
        await asyncio.sleep(0.02)


def _records(path: str, stack: contextlib.AsyncExitStack) -> Log:
    """Where the access log goes: a file, or stdout for `-`. Reopened on SIGHUP, for whoever rotates it."""
    if path == "-":
        return lambda line: print(line, flush=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o640)
    except OSError as error:
        raise InvalidInput(f"can't write {path}: {reason(error)}") from None
    stack.callback(os.close, fd)

    def reopen() -> None:
        with contextlib.suppress(OSError):
            fresh = os.open(path, flags, 0o640)
            os.dup2(fresh, fd, inheritable=False)
            os.close(fresh)

    with contextlib.suppress(RuntimeError, ValueError):  # not the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reopen)

    def write(line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk is no reason to stop serving
            os.write(fd, line.encode("utf-8", "backslashreplace") + b"\n")

    return write


def serve(
    listen: str | None = None,
    root: str = "",
    *,
    ready: Callable[[str], object] | None = None,
    htpasswd: str | None = None,
    log: Log | None = None,
    certificate: str | None = None,
    key: str | None = None,
    config: Config | None = None,
) -> None:
    """Serve the registry in directory `root` until SIGTERM or SIGINT; running requests get
    `config.stop_timeout` seconds more, and a second signal ends them.

    `ready` is called with the bound HOST:PORT (port 0 takes a free one), `log` with one line per request,
    `certificate` and `key` are PEM files that turn TLS on, `htpasswd` names a file of users for Basic
    authentication; each goes before what `config` has. Raises Conflict if the address or the directory is in
    use, InvalidInput for a bad address, Denied for a directory that others could replace.
    """
    config = config or Config()
    config.listen = config.listen if listen is None else listen
    config.root = root or config.root
    config.htpasswd = htpasswd or config.htpasswd
    config.tls_cert, config.tls_key = certificate or config.tls_cert, key or config.tls_key
    if not config.root:
        raise InvalidInput("the registry needs a directory")
    refuse_others(os.path.abspath(config.root))  # whose key for tokens is read first
    _more_files(config.connections)
    asyncio.run(_serve(config, ready, log, _tls(config.tls_cert, config.tls_key)))


def _more_files(most: int) -> None:
    """Each connection takes two fds, so the soft limit is raised as far as it is needed and may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * most + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise InvalidInput("a key without a certificate", hint="name the certificate too")
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except FileNotFoundError as error:
        what = f"certificate {certificate}" if not os.path.exists(certificate) else f"key {key}"
        raise InvalidInput(f"can't use the {what}: {reason(error)}") from None
    except ssl.SSLError as error:
        both = f"with the key {key}" if key else "alone"
        raise InvalidInput(
            f"can't use the certificate {certificate} {both}: {oneline(reason(error))}",
            hint="both are PEM files, the key not encrypted and the certificate's own"
            if key
            else "--tls-key FILE names its key, where that is not in the same file",
        ) from None
    except OSError as error:
        raise InvalidInput(f"can't use the certificate {certificate}: {reason(error)}") from None
    return context


async def _serve(
    config: Config, ready: Callable[[str], object] | None, log: Log | None, tls: ssl.SSLContext | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    with contextlib.suppress(RuntimeError, ValueError):  # not the main thread: its owner cancels instead
        for number in signals:
            loop.add_signal_handler(number, stop.set)
    async with listening(config.listen, config.root, log=log, tls=tls, config=config) as address:
        if ready is not None:
            ready(address)
        await stop.wait()
        with contextlib.suppress(RuntimeError, ValueError):
            for number in signals:  # once more: at once
                loop.add_signal_handler(number, os._exit, 128 + number)
