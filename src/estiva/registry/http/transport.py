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
import random
import ssl

import aiohttp
from aiohttp import hdrs
from yarl import URL

from estiva.errors import (
    Denied,
    EngineError,
    EstivaError,
    NoAccess,
    NotFound,
    Unavailable,
    oneline,
    reason,
)
from estiva.registry import grammar
from estiva.registry.http import credentials as credential_files
from estiva.registry.http.authorizer import Authorizer, error_text
from estiva.registry.http.errors import Broken, broken, is_loopback, proxy, read_small, retry_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from types import TracebackType
    from typing import TypeVar

    from estiva.registry.http.settings import Settings

    T = TypeVar("T")
    Body = Callable[[], AsyncIterator[bytes] | bytes]  # called once per try, as a stream can't be sent twice

REDIRECTS = 5
HEADER_PATIENCE = 4  # times `stall`
READ_BUFFER = 1 << 20
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_REDIRECT = (301, 302, 303, 307, 308)


class Transport:
    """One aiohttp session, as an async with-block."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.session: aiohttp.ClientSession | None = None
        self.contexts: dict[str, ssl.SSLContext | bool] = {}

    async def __aenter__(self) -> Transport:
        settings = self.settings
        tls = self._tls(settings.authority)
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

    def _tls(self, *authorities: str | None) -> ssl.SSLContext | bool:
        """How to verify certificates: with the system's authorities and those in these files."""
        named = [path for path in authorities if path is not None]
        if not named:
            return True
        context = ssl.create_default_context()
        for path in named:
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise EngineError(f"can't use the certificates in {path}: {reason(error)}") from None
        return context

    def _tls_for(self, url: URL) -> ssl.SSLContext | bool:
        """The rule that the user has for a host, else the session's."""
        rule = self.settings.rule(str(url.host), url.port)
        if not rule.verify:
            return False
        if rule.authority is None:
            return True
        if rule.authority not in self.contexts:
            self.contexts[rule.authority] = self._tls(self.settings.authority, rule.authority)
        return self.contexts[rule.authority]

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
        # The watch over sending is the sender's; headers that drip for ever end here.
        patience = None if callable(body) else self.settings.connect + HEADER_PATIENCE * self.settings.stall
        try:
            async with asyncio.timeout(patience):
                return await self.session.request(
                    method,
                    url,
                    headers=headers,
                    data=data,
                    allow_redirects=False,
                    proxy=proxy(url),
                    ssl=self._tls_for(url),
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
        if self.settings.logins is not None:
            credentials = self.settings.logins.get(host)
        else:
            credentials = await asyncio.to_thread(
                credential_files.lookup, host, repository, auth_file=self.settings.auth_file
            )
        base = await self._base(host)
        return Remote(self, host, base, credentials)

    async def _base(self, host: str) -> URL:
        """https, but on loopback whatever is spoken there, and http where the user said so."""
        if host == credential_files.DOCKER_HUB:
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
        self, transport: Transport, host: str, base: URL, credentials: credential_files.Credentials | None
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

        `subject` is what errors name. Raises NotFound, Denied, EngineError; Broken for what may pass.
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
        # RFC 6750, 3.1: the token is good, and not for this
        if status == 403 or "insufficient_scope" in response.headers.get(hdrs.WWW_AUTHENTICATE, ""):
            return NoAccess(f"access to {subject} denied{said}", hint=f"estiva login {self.host}")
        if status == 401:
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
