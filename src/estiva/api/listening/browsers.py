"""What a page in a browser could send to a server on this machine's TCP is refused (K25).

A page of any site can have its visitor's browser send requests to 127.0.0.1, and by a name that it lets point
there (DNS rebinding) read what comes back. Such a request has an Origin that is not ours, says so in
Sec-Fetch-Site (Fetch Metadata), or has that name in Host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

REFUSED = "requests of web pages are refused"


def problem(request: web.Request) -> str:
    """Why a request is refused, "" for one that isn't: none that came by a unix socket, which no browser
    reaches."""
    transport = request.transport
    if transport is None or not isinstance(transport.get_extra_info("sockname"), tuple):
        return ""
    given = request.headers.get("Host")
    host = given or ""
    # an empty one is docker's client's, whose connections for BuildKit have none; a browser always names one
    if given != "" and transport.get_extra_info("sslcontext") is None and not _is_here(host):
        return f"{REFUSED}: the host is not this machine's loopback"
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return f"{REFUSED}: the origin is another"
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return f"{REFUSED}: the site is another"
    return ""


def _is_here(host: str) -> bool:
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    parts = name.split(".")
    four = len(parts) == 4 and parts[0] == "127" and all(part.isascii() and part.isdigit() for part in parts)
    return four or name.lower() in ("localhost", "[::1]")
