"""Credentials that requests bring for registries: they go to that registry, and are kept nowhere (K11)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers
from estiva.engine.images import registry
from estiva.errors import Denied, InvalidInput, Unavailable, oneline

if TYPE_CHECKING:
    from estiva.api.app import Api, Route

MOST = 256 << 10  # bytes of a header
ONE, ALL = "X-Registry-Auth", "X-Registry-Config"


def one(request: web.Request, host: str) -> dict[str, dict[str, Any]]:
    """The login that a request brings for a registry; none where there is none or it is no AuthConfig, as
    with docker. The user's own files are not asked: they are not the client's."""
    found = _header(request, ONE)
    return {host: found} if found else {}


def every(request: web.Request) -> dict[str, dict[str, Any]]:
    """The logins of a build, by registry."""
    found = _header(request, ALL)
    return {host: login for host, login in found.items() if isinstance(login, dict)}


def _header(request: web.Request, name: str) -> dict[str, Any]:
    text = request.headers.get(name, "")
    if not text or len(text) > MOST:
        return {}
    try:
        padded = text + "=" * (-len(text) % 4)
        found = json.loads(base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def auth(api: Api, request: web.Request) -> web.Response:
    """`docker login`: the client keeps the credentials, if they are good."""
    given = await answers.body(request)
    server = given.get("serveraddress") or ""
    if not isinstance(server, str):
        raise InvalidInput("serveraddress is no text")
    if not any(given.get(name) for name in ("username", "identitytoken", "registrytoken", "auth")):
        raise InvalidInput("no username and password, and no token, were given")
    try:
        await api.work.long_do(registry.verify, server, given)
    except Denied as error:
        return answers.json({"message": f"Get {server}: unauthorized: {oneline(error.message)}"}, 401)
    except Unavailable as error:
        return answers.json({"message": oneline(error.message)}, 500)
    return answers.json({"IdentityToken": "", "Status": "Login Succeeded"})


ROUTES: tuple[Route, ...] = (("POST", "/auth", auth),)
