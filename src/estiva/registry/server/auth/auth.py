"""Authentication of the registry server: Basic, bearer tokens, and the endpoint that issues tokens.

request -> authenticate -> Principal -> permit(action, repository) -> endpoint
             |                             `- 401 with a challenge, or 403 if logging in would not help
             `- wrong credentials: 401
"""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

from aiohttp import web

from estiva.errors import EstivaError
from estiva.registry import grammar
from estiva.registry.server.access import NOBODY, Principal
from estiva.registry.server.auth import bearer
from estiva.registry.server.http import Refusal, json_response, read_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiva.registry.server.access import Access
    from estiva.registry.server.auth.bearer import IssuedTokens, OwnTokens
    from estiva.registry.server.auth.htpasswd import Htpasswd

FORM_LIMIT = 64 << 10
HEADER_LIMIT = bearer.LONGEST
TOKEN_PATH = "/token"
VERIFIERS = 2  # threads: a storm of wrong passwords takes two of them, and the transfers have their own


class Auth:
    """`realm` is where clients get their tokens. It is never made of what a request says, such as its Host:
    who can have a client see an answer to another's request would have its password.
    """

    def __init__(
        self,
        access: Access,
        users: Htpasswd | None = None,
        *,
        own: OwnTokens | None = None,
        issued: IssuedTokens | None = None,
        realm: str = "",
        service: str = "",
    ) -> None:
        self.access = access
        self.users = users
        self.own = own
        self.issued = issued
        self.realm = realm
        self.service = service
        self.pool = ThreadPoolExecutor(VERIFIERS, "registry-auth")

    @property
    def needed(self) -> bool:
        return self.users is not None or self.issued is not None

    @property
    def tokens(self) -> OwnTokens | IssuedTokens | None:
        return self.issued or self.own

    def close(self) -> None:
        self.pool.shutdown()

    # ---- who asks

    async def authenticate(self, request: web.BaseRequest) -> Principal:
        """Raises Refusal for credentials that are wrong; none at all are nobody's."""
        header = request.headers.get("Authorization")
        if not header or not self.needed:
            return NOBODY
        scheme, _, value = header.partition(" ")
        kind = scheme.lower()
        if len(header) <= HEADER_LIMIT:
            if kind == "basic" and self.users is not None:
                user = await self._basic(value)
                if user is not None:
                    return Principal(user)
            if kind == "bearer" and self.tokens is not None:
                return self._bearer(value.strip())
        raise self.challenge("authentication required")

    async def _basic(self, value: str) -> str | None:
        """The user of right Basic credentials (RFC 7617)."""
        try:
            user, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except ValueError:
            return None
        return user if colon and await self.verify(user, password) else None

    async def verify(self, user: str, password: str) -> bool:
        import asyncio

        assert self.users is not None
        return await asyncio.get_running_loop().run_in_executor(self.pool, self.users.accepts, user, password)

    def _bearer(self, token: str) -> Principal:
        assert self.tokens is not None
        try:
            if not token.isascii():
                raise bearer.Refused("malformed token")
            claims = self.tokens.check(token)
        except (bearer.Refused, EstivaError) as error:
            raise self.challenge(f"invalid token: {error}", error="invalid_token") from None
        subject = claims.get("sub")
        user = subject if isinstance(subject, str) and subject else None
        return Principal(user, bearer.grants(claims))

    # ---- what they may

    def allowed(self, principal: Principal, repository: str) -> frozenset[str]:
        if principal.grants is not None:
            granted = principal.grants.get(("repository", repository), frozenset())
            # A token of ours was issued by the rules, which may have been changed since.
            return granted & self.access.allowed(principal.user, repository) if self.own else granted
        return self.access.allowed(principal.user, repository)

    def permit(self, principal: Principal, action: str, repository: str) -> None:
        """Raises Refusal unless the principal may do it."""
        if action in self.allowed(principal, repository):
            return
        scope = f"repository:{repository}:{'pull,push' if action == 'push' else action}"
        if self.needed and (principal is NOBODY or principal.grants is not None):
            error = "insufficient_scope" if principal.grants is not None else ""
            raise self.challenge("authentication required", scope=scope, error=error)
        raise Refusal(403, "DENIED", f"no {action} on {repository} for you")

    def offer(self, principal: Principal, target: str, source: str) -> None:
        """Raises a challenge for a token with which a blob of `source` can be mounted, if it is to be had."""
        if (
            self.own
            and principal.grants is not None
            and "pull" in self.access.allowed(principal.user, source)
        ):
            scope = f"repository:{target}:pull,push repository:{source}:pull"
            raise self.challenge("the token is not for both", scope=scope, error="insufficient_scope")

    def permit_base(self, principal: Principal) -> None:
        """/v2/ tells a client how to log in, so it asks for that whenever there is something to log in to."""
        if self.needed and principal is NOBODY:
            raise self.challenge("authentication required")

    def permit_catalog(self, principal: Principal) -> None:
        """The catalog's entries are filtered; a token must be for it."""
        if principal.grants is not None:
            if {"*", "pull"} & principal.grants.get(("registry", "catalog"), frozenset()):
                return
        elif principal is not NOBODY or self.access.anonymous:
            return
        raise self.challenge("authentication required", scope="registry:catalog:*")

    def sees(self, principal: Principal, repository: str) -> bool:
        """Whether the catalog shows a repository."""
        return "pull" in self.access.allowed(principal.user, repository) or self.issued is not None

    def challenge(self, message: str, *, scope: str = "", error: str = "") -> Refusal:
        if self.tokens is None:
            header = 'Basic realm="estiva", charset="UTF-8"'
        else:
            header = f'Bearer realm="{self.realm}",service="{self.service}"'
            if scope:
                header += f',scope="{scope}"'
            if error:
                header += f',error="{error}"'
        return Refusal(401, "UNAUTHORIZED", message, {"WWW-Authenticate": header})

    # ---- the token endpoint

    async def issue(self, request: web.BaseRequest) -> web.Response:
        """GET with Basic credentials or none, POST with a form ("Token Authentication Specification", "OAuth2
        Token Authentication")."""
        assert self.own is not None and self.users is not None
        if request.method == "GET":
            user = None
            scheme, _, value = request.headers.get("Authorization", "").partition(" ")
            if scheme:
                user = await self._basic(value) if scheme.lower() == "basic" else None
                if user is None:
                    raise Refusal(401, "UNAUTHORIZED", "wrong user name or password")
            service, scopes = request.query.get("service", ""), request.query.getall("scope", [])
        elif request.method == "POST":
            form = await _form(request)
            if form.get("grant_type", [""])[0] != "password":
                raise Refusal(400, "UNSUPPORTED", "the grant type must be password")
            user, password = form.get("username", [""])[0], form.get("password", [""])[0]
            if not await self.verify(user, password):
                raise Refusal(401, "UNAUTHORIZED", "wrong user name or password")
            service, scopes = form.get("service", [""])[0], form.get("scope", [])
        else:
            raise Refusal(405, "UNSUPPORTED", "no such operation", {"Allow": "GET, POST"})
        if service and service != self.service:
            raise Refusal(400, "UNSUPPORTED", "a token for another service is not to be had here")
        token = self.own.issue(user, self._grantable(user, scopes))
        life = self.own.life
        answer = {"token": token, "access_token": token, "expires_in": life, "token_type": "Bearer"}
        return json_response(answer, headers={"Cache-Control": "no-store"})

    def _grantable(self, user: str | None, scopes: list[str]) -> list[dict[str, Any]]:
        """What of the scopes the rules give the user; the rest is left out, as the specification wants."""
        given: list[dict[str, Any]] = []
        for kind, name, actions in bearer.parse_scopes(scopes):
            if kind == "repository" and grammar.is_name(name):
                granted = actions & self.access.allowed(user, name)
            elif (kind, name) == ("registry", "catalog") and (user is not None or self.access.anonymous):
                granted = frozenset({"*"})
            else:
                continue
            if granted:
                given.append({"type": kind, "name": name, "actions": sorted(granted)})
        return given


async def _form(request: web.BaseRequest) -> Mapping[str, list[str]]:
    body = await read_body(request, FORM_LIMIT)
    try:
        return parse_qs(body.decode(), strict_parsing=True, max_num_fields=100)
    except ValueError:
        raise Refusal(400, "UNSUPPORTED", "the form is malformed") from None
