"""Who may ask: only who knows the token in the URL, and only by the address that was told (K25).

Other users of the machine can connect to a port on loopback, and a page of the internet can make a browser
do that (DNS rebinding, cross-site requests): the first don't know the token, the second come with another
Host or Origin.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

HEADERS = {
    "Server": "estiva",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
STRANGERS = 128
SITES = ("none", "same-origin")  # of Sec-Fetch-Site


class Doors:
    """Makes the connections of a server: of those that have not shown the token yet there are STRANGERS at
    most. With one more the oldest goes, so that whoever only connects takes no place from who may ask."""

    def __init__(self, server: web.Server) -> None:
        self.server = server
        self.known: set[web.RequestHandler] = set()

    def __call__(self) -> web.RequestHandler:
        here = self.server.connections
        self.known.intersection_update(here)
        strangers = [each for each in here if each not in self.known]
        for each in strangers[: max(0, len(strangers) - STRANGERS + 1)]:
            each.force_close()
        return self.server()


def policy(style: str, script: str) -> str:
    """The policy of a page with that inline style and script, and with no other."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class Guard:
    """`hosts` are the values of Host that are us."""

    def __init__(self, token: str, hosts: frozenset[str]) -> None:
        self.token = token
        self.hosts = hosts
        self.doors: Doors | None = None

    def refusal(self, request: web.Request) -> web.Response | None:
        """Why a request is not answered; None for one that is."""
        if request.headers.getall("Host", [""]) not in [[host] for host in self.hosts]:
            return web.Response(status=421, text="this host is not served here\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.hosts}:
            return web.Response(status=403, text="not for other pages\n")
        if request.headers.get("Sec-Fetch-Site", "none") not in SITES and not request.path.endswith("/"):
            return web.Response(status=403, text="not for other pages\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(
                status=405, text="nothing can be changed here\n", headers={"Allow": "GET, HEAD"}
            )
        given = request.path.split("/")[1].encode("utf-8", "replace")
        if not hmac.compare_digest(given, self.token.encode()):
            return web.Response(status=404, text="not found: the address has a token, as it was printed\n")
        return None

    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            refused = self.refusal(request)
            if refused is not None:
                response: web.StreamResponse = refused
            else:
                if self.doors is not None:
                    self.doors.known.add(request.protocol)
                try:
                    response = await handler(request)
                except web.HTTPException as error:
                    response = web.Response(status=error.status, text=f"{error.reason}\n")
            if not response.prepared:
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
            return response

        return guard
