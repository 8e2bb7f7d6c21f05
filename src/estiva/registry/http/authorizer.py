"""Answers to a registry's 401: Basic credentials, or a bearer token from the realm that it names.

    request -> 401 WWW-Authenticate: Bearer realm=R,service=S -> GET R?service=S&scope=... -> request again

Follows the Docker token authentication specification ("Token Authentication Specification", "OAuth2 Token
Authentication"). Credentials leave for two places only: the registry's own origin, and its realm, which must
be https unless registry and realm are both on loopback (K11).
"""

from __future__ import annotations

import asyncio
import re
import time

from yarl import URL

from estiva import fastjson
from estiva.errors import Denied, EstivaError, InvalidInput, NoAccess, Unavailable, oneline
from estiva.registry import grammar
from estiva.registry.http import credentials as credential_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Protocol

    class Transport(Protocol):
        """How a token is asked for: the part of http/transport.py, which imports this, that is used."""

        async def small(
            self, url: URL, headers: Mapping[str, str], body: Mapping[str, str] | None, *, limit: int
        ) -> tuple[int, bytes]: ...
        def may_be_plain(self, target: URL, source: URL) -> bool: ...


CLIENT_ID = "estiva"
MINIMUM_LIFE = 60.0  # seconds; what the specification assumes when a server says nothing
_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9-]*)(?:\s+|$)")
_PARAMETER = re.compile(r'\s*([A-Za-z0-9_.-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')


def parse_challenges(headers: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """(scheme in lower case, parameters) of WWW-Authenticate headers (RFC 9110, section 11.6.1)."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        position = 0
        while match := _SCHEME.match(header, position):
            position = match.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                position = parameter.end()
                value = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
                parameters.setdefault(parameter[1].lower(), value)
            found.append((match[1].lower(), parameters))
    return found


class Authorizer:
    """The credentials of one registry host, and the tokens they have bought so far in this process."""

    def __init__(
        self, transport: Transport, host: str, base: URL, credentials: credential_files.Credentials | None
    ) -> None:
        self.transport = transport
        self.host = host
        self.base = base
        self.credentials = credentials
        self.basic: str | None = None
        self.tokens: dict[frozenset[str], tuple[str, float]] = {}
        self.lock = asyncio.Lock()

    def header(self, scopes: frozenset[str]) -> str | None:
        """The Authorization header for a request, None before the first challenge."""
        if self.basic is not None:
            return self.basic
        token, expires = self.tokens.get(scopes, ("", 0.0))
        return f"Bearer {token}" if time.monotonic() < expires else None

    async def answer(self, challenges: Iterable[str], scopes: frozenset[str], sent: str | None) -> None:
        """Make `header` give what the challenge asks for. `sent` is the header that was refused: none, or one
        that has expired.

        Raises Denied when there is nothing better to send.
        """
        async with self.lock:
            current = self.header(scopes)
            if current is not None and current != sent:
                return  # another request has answered meanwhile
            kinds = dict(reversed(parse_challenges(challenges)))
            if "bearer" in kinds and self.credentials is not None and self.credentials.registry_token:
                if sent is not None:
                    raise self.denied()
                self.tokens[scopes] = _proven(self.credentials.registry_token, self.host), float("inf")
            elif "bearer" in kinds:
                self.tokens[scopes] = await self._fetch(kinds["bearer"], scopes)
            elif "basic" in kinds:
                if sent is not None or self.credentials is None or not self.credentials.user:
                    raise self.denied()
                self.basic = self.credentials.basic()
            else:
                raise self.denied()

    def denied(self, why: str = "") -> Denied:
        """The error for a refused login."""
        said = f": {why}" if why else ""
        if self.credentials is None:
            return NoAccess(f"{self.host} wants a login{said}", hint=f"estiva login {self.host}")
        return Denied(
            f"{self.host} refuses the credentials it was given{said}", hint=f"estiva login {self.host}"
        )

    async def _fetch(self, challenge: dict[str, str], scopes: frozenset[str]) -> tuple[str, float]:
        """Get a token, as (token, monotonic time at which it is taken for expired)."""
        realm = self._realm(challenge.get("realm", ""))
        wanted = sorted(scopes | set(challenge.get("scope", "").split()))
        service = challenge.get("service", "")
        headers: dict[str, str] = {}
        form: dict[str, str] | None = None
        if self.credentials is not None and self.credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": CLIENT_ID,
                "refresh_token": self.credentials.identity_token,
                "scope": " ".join(wanted),
            }
        else:
            query = [("service", service)] if service else []
            query += [("scope", scope) for scope in wanted]
            if self.credentials is not None:
                query.append(("account", self.credentials.user))
                headers["Authorization"] = self.credentials.basic()
            realm = realm.extend_query(query)
        status, body = await self.transport.small(realm, headers, form, limit=grammar.TOKEN_LIMIT)
        if status in (400, 401, 403):
            raise self.denied(error_text(body))
        if status != 200:
            raise Unavailable(f"the token server {realm.host} answers with HTTP {status}")
        return _parse_token(body, str(realm.host))

    def _realm(self, text: str) -> URL:
        """The realm, if credentials may go there."""
        try:
            realm = URL(text)
        except ValueError:
            realm = URL()
        if not realm.host or realm.scheme not in ("http", "https") or realm.user is not None:
            raise Denied(f"{self.host} names no usable token server: {oneline(text)[:200]!r}")
        if realm.scheme == "http" and not self.transport.may_be_plain(realm, self.base):
            raise Denied(f"{self.host} names a token server without https: {oneline(text)[:200]}")
        return realm.with_fragment(None)


def _parse_token(body: bytes, host: str) -> tuple[str, float]:
    try:
        value = fastjson.loads(body, what="the token")
    except InvalidInput:
        value = None
    token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
    if not isinstance(token, str) or not _sound(token):
        raise Unavailable(f"the token server {host} gives no token")
    life = value.get("expires_in") if isinstance(value, dict) else None
    seconds = float(life) if isinstance(life, (int, float)) and 0 < life < 1e9 else MINIMUM_LIFE
    return token, time.monotonic() + max(seconds * 0.9, 5.0)


def _sound(token: str) -> bool:
    """Whether it can stand in a header."""
    return token.isascii() and token.isprintable() and " " not in token


def _proven(token: str, host: str) -> str:
    if not _sound(token):
        raise Denied(f"the token for {host} is none")
    return token


def error_text(body: bytes) -> str:
    """The first message of an error body (distribution-spec, "Error Codes"), fit for one line, or ""."""
    try:
        value = fastjson.loads(body, what="the error")
        first = value["errors"][0]
        text = f"{first.get('message') or first.get('code') or ''}"
    except (EstivaError, LookupError, TypeError, AttributeError):
        return ""
    return oneline(text)[:200]
