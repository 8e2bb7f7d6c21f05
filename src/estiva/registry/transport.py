"""HTTP to registries: one session, with every limit in one place.

    Remote.request    one request to one registry: authorization, redirects; statuses become errors
    Transport.send    one exchange with one host: time limits; what breaks becomes Broken
    retrying          the loop around both

Rules (K11, K13): https, but for loopback and hosts the user named; credentials only to the registry's origin
and its realm; a redirect elsewhere goes without them, never from https to http, at most five times; every
body has a bound, every wait an end.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import ssl
import time
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp import hdrs
from yarl import URL

from estiva.errors import (
    Denied,
    EngineError,
    EstivaError,
    IntegrityError,
    NotFound,
    Unavailable,
    oneline,
    reason,
)
from estiva.registry import auth, grammar
from estiva.registry.tokens import Authorizer, error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from types import TracebackType
    from typing import TypeVar

    from estiva.registry.settings import Settings

    T = TypeVar("T")
    Body = Callable[[], AsyncIterator[bytes] | bytes]  # called once per try, as a stream can't be sent twice

REDIRECTS = 5
READ_BUFFER = 1 << 20
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_REDIRECT = (301, 302, 303, 307, 308)


class Broken(Exception):
    """An exchange failed in a way that may pass.

    `error` is what the user sees if it does not; `after` the seconds that the server asked for.
    """

    def __init__(self, error: EstivaError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine by definition (no name is resolved)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Transport:
    """One aiohttp session, as an async with-block."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Transport:
        settings = self.settings
        tls: ssl.SSLContext | bool = True
        if settings.authority is not None:
            try:
                tls = ssl.create_default_context()
                tls.load_verify_locations(settings.authority)
            except (OSError, ssl.SSLError) as error:
                raise EngineError(
                    f"can't use the certificates in {settings.authority}: {reason(error)}"
                ) from None
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.connect, sock_read=settings.stall
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BUFFER,
            headers={"User-Agent": "estiva", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.session is not None:
            await self.session.close()

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], body: Body | Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        """One request without redirects. Raises Broken; Unavailable for a certificate that is not trusted."""
        assert self.session is not None
        data = body() if callable(body) else body
        try:
            return await self.session.request(
                method, url, headers=headers, data=data, allow_redirects=False, proxy=_proxy(url)
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise broken(error, str(url.host), url.explicit_port) from error

    async def small(
        self, url: URL, headers: Mapping[str, str], body: Mapping[str, str] | None, *, limit: int
    ) -> tuple[int, bytes]:
        """Status and bounded body of a GET, or of a POST when there is a form to send. No redirects."""
        response = await self.send("GET" if body is None else "POST", url, headers, body)
        if response.status in TRANSIENT:
            response.close()
            after = retry_after(response.headers.get(hdrs.RETRY_AFTER, ""))
            raise Broken(Unavailable(f"{url.host} can't answer now (HTTP {response.status})"), after)
        return response.status, await read_small(response, limit)

    def may_be_plain(self, target: URL, source: URL) -> bool:
        """Whether what `source` says may lead to `target` without TLS."""
        if source.scheme == "https":
            return False
        host = str(target.host)
        named = {host, f"{host}:{target.port}"} & self.settings.plain_http
        return bool(named) or (is_loopback(host) and is_loopback(str(source.host)))

    async def remote(self, host: str, repository: str = "") -> Remote:
        """The registry at HOST[:PORT]: finds out its scheme, and looks up its credentials."""
        credentials = await asyncio.to_thread(
            auth.lookup, host, repository, auth_file=self.settings.auth_file
        )
        base = await self._base(host)
        return Remote(self, host, base, credentials)

    async def _base(self, host: str) -> URL:
        """https, but on loopback whatever is spoken there, and http where the user said so."""
        if host == auth.DOCKER_HUB:
            return URL("https://registry-1.docker.io")
        try:
            secure, plain = URL(f"https://{host}"), URL(f"http://{host}")
        except ValueError:
            raise Unavailable(f"{oneline(host)} is not a registry's host") from None
        if host in self.settings.plain_http or secure.host in self.settings.plain_http:
            return plain
        if not is_loopback(str(secure.host)):
            return secure

        async def probe() -> URL:
            response = await self.send("GET", plain / "v2/", {})
            status, body = response.status, await read_small(response, grammar.ERROR_LIMIT, cut=True)
            return secure if status == 400 and b"HTTPS" in body else plain

        try:
            return await probe()
        except Broken as failure:
            if isinstance(failure.__cause__, (aiohttp.ClientConnectorError, TimeoutError)):
                raise failure.error from None
            return secure  # it hung up, or answered with what is not HTTP


class Remote:
    """One registry. Everything sent to it goes through `request`."""

    def __init__(
        self, transport: Transport, host: str, base: URL, credentials: auth.Credentials | None
    ) -> None:
        self.transport = transport
        self.settings = transport.settings
        self.host = host
        self.base = base
        self.authorizer = Authorizer(transport, host, base, credentials)
        self.reached = False  # a host that has answered once is worth waiting for when it is down

    def url(self, path: str) -> URL:
        return self.base.with_path(path, encoded=True)

    async def request(
        self,
        method: str,
        url: URL | str,
        *,
        scopes: frozenset[str],
        subject: str,
        expect: tuple[int, ...] = (200,),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> aiohttp.ClientResponse:
        """A response with one of the statuses in `expect`; the caller reads or releases it.

        `subject` is what an error message names. Raises NotFound, Denied,
        EngineError; Broken for what may pass.
        """
        target = self.url(url) if isinstance(url, str) else url
        answered = False
        while True:
            authorization = self.authorizer.header(scopes) if target.origin() == self.base.origin() else None
            try:
                response, last = await self._follow(method, target, headers or {}, authorization, body)
            except Broken as failure:
                if not self.reached and isinstance(failure.__cause__, aiohttp.ClientConnectorError):
                    raise failure.error from None
                raise
            self.reached = True
            if response.status in expect:
                return response
            if response.status == 401 and last.origin() == self.base.origin() and not answered:
                challenges = response.headers.getall(hdrs.WWW_AUTHENTICATE, [])
                if challenges:
                    response.release()
                    await self.authorizer.answer(challenges, scopes, authorization)
                    answered = True
                    continue
            raise await self._error(response, subject, method)

    async def _follow(
        self, method: str, url: URL, headers: Mapping[str, str], authorization: str | None, body: Body | None
    ) -> tuple[aiohttp.ClientResponse, URL]:
        """Send, and follow redirects; the authorization stays behind when the host changes, for good."""
        for _ in range(REDIRECTS + 1):
            sent = dict(headers)
            if authorization is not None:
                sent[hdrs.AUTHORIZATION] = authorization
            response = await self.transport.send(method, url, sent, body)
            location = response.headers.get(hdrs.LOCATION)
            if response.status not in _REDIRECT or location is None:
                return response, url
            if method not in ("GET", "HEAD") and response.status not in (307, 308):
                return response, url  # would be sent again as another method: an error to the caller
            response.release()
            target = self.resolve(url, location)
            if target.origin() != url.origin():
                authorization = None
            url = target
        raise Unavailable(f"{self.host} redirects more than {REDIRECTS} times")

    def resolve(self, url: URL, location: str) -> URL:
        """Where a Location leads from `url`. Raises Denied where nothing may be sent (K11)."""
        try:
            target = url.join(URL(location, encoded=True)).with_fragment(None)
        except ValueError:
            target = URL()
        if target.scheme not in ("http", "https") or not target.host or target.user is not None:
            raise Denied(f"{self.host} redirects to an unusable address: {oneline(location)[:200]!r}")
        same = target.origin() == url.origin()
        if target.scheme == "http" and not same and not self.transport.may_be_plain(target, url):
            raise Denied(f"{self.host} redirects to plain http: {target.origin()}")
        return target

    async def _error(
        self, response: aiohttp.ClientResponse, subject: str, method: str
    ) -> EstivaError | Broken:
        """What a status that nobody expected means."""
        status = response.status
        text = error_text(await read_small(response, grammar.ERROR_LIMIT, cut=True))
        said = f": {text}" if text else ""
        if status == 404:
            return NotFound(f"{subject} not found{said}")
        if status in (401, 403):
            return Denied(f"access to {subject} denied{said}", hint=f"estiva login {self.host}")
        if status in TRANSIENT:
            what = "too many requests" if status == 429 else f"HTTP {status}"
            error = Unavailable(f"{self.host} can't answer for {subject} now ({what}){said}")
            return Broken(error, retry_after(response.headers.get(hdrs.RETRY_AFTER, "")))
        return EngineError(f"{self.host} answers {method} of {subject} with HTTP {status}{said}")

    async def document(
        self, path: str, *, scopes: frozenset[str], subject: str, limit: int, headers: Mapping[str, str]
    ) -> tuple[bytes, Mapping[str, str]]:
        """A small document with its headers, retried. Raises IntegrityError if it is larger than `limit`."""

        async def once() -> tuple[bytes, Mapping[str, str]]:
            response = await self.request("GET", path, scopes=scopes, subject=subject, headers=headers)
            return await read_small(response, limit), response.headers

        return await retrying(self.settings, once)


async def retrying(
    settings: Settings, operation: Callable[[], Awaitable[T]], notify: Callable[[str], object] | None = None
) -> T:
    """Run `operation` until it brings no Broken, `settings.attempts` times at most."""
    attempt = 0
    while True:
        try:
            return await operation()
        except Broken as failure:
            attempt += 1
            if attempt >= settings.attempts:
                raise failure.error from failure
            if notify is not None:
                notify(str(failure.error))
            await pause(settings, attempt, failure.after)


async def pause(settings: Settings, attempt: int, after: float | None) -> None:
    """Exponential backoff with full jitter, or what the server asked for, bounded."""
    if after is not None:
        delay = min(after, settings.retry_after_limit)
    else:
        ceiling = min(settings.backoff * 2.0 ** min(attempt - 1, 16), settings.backoff_limit)
        delay = random.uniform(ceiling / 2, ceiling)
    await asyncio.sleep(delay)


def retry_after(header: str) -> float | None:
    """Seconds in a Retry-After header (RFC 9110, section 10.2.3): a number or a date."""
    if not header:
        return None
    if header.isascii() and header.isdigit() and len(header) < 10:
        return float(header)
    try:
        when = parsedate_to_datetime(header)
        return max(0.0, float(when.timestamp()) - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


async def read_small(response: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """The body of a response, at most `limit` bytes: more is IntegrityError, or dropped with `cut`."""
    host = str(response.url.host)
    if not cut and (response.content_length or 0) > limit:
        response.close()
        raise IntegrityError(f"{host} sends {response.content_length} bytes where {limit} are the limit")
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                response.close()
                if cut:
                    return bytes(body[:limit])
                raise IntegrityError(f"{host} sends more than the limit of {limit} bytes")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        response.close()
        if cut:
            return bytes(body)
        raise broken(error, host) from error
    response.release()
    return bytes(body)


def broken(error: Exception, host: str, port: int | None = None) -> Broken | Unavailable:
    """What went wrong with a connection, in one line."""
    name = f"{host}:{port}" if port else host
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)):
        cause = getattr(error, "certificate_error", error)
        why = getattr(cause, "verify_message", "") or "it can't be verified"
        return Unavailable(f"the certificate of {name} is not trusted: {oneline(str(why))}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        text = f"can't reach {name}: its name can't be resolved"
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        text = f"{name} does not speak https"
    elif isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno  # absent when several addresses failed in different ways
        text = f"can't reach {name}: {os.strerror(number).lower() if number else 'no connection'}"
    elif isinstance(error, TimeoutError):
        text = f"{name} does not answer in time"
    else:
        text = f"the connection to {name} broke off"
    return Broken(Unavailable(oneline(text)))


def _proxy(url: URL) -> str | None:
    """The proxy that the environment names for a URL; loopback never goes through one."""
    names = (
        (f"{url.scheme}_proxy", f"{url.scheme}_proxy".upper()) if url.scheme == "https" else ("http_proxy",)
    )
    proxy = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if proxy is None or is_loopback(str(url.host)):
        return None
    from urllib import request

    return None if request.proxy_bypass(str(url.host)) else proxy
