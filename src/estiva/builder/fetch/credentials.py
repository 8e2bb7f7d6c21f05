"""What a build's secrets say of how to come in elsewhere: GIT_AUTH_TOKEN, HTTP_AUTH_TOKEN_HOST and such.

They are docker's (docs.docker.com/build/building/secrets). They go to the place they are for alone, and into
no cache key (K14).
"""

from __future__ import annotations

import os
import stat
from urllib.parse import urlsplit

from estiva.builder.fetch.address import GitAddress
from estiva.builder.fetch.git import Access
from estiva.builder.files.url import basic
from estiva.builder.request import Request
from estiva.errors import InvalidInput, NotFound, reason

LIMIT = 16 << 10  # bytes
_GITHUB = ("https://github.com/", "https://www.github.com/")


def of_git(request: Request, address: GitAddress, main: GitAddress) -> Access:
    """For a repository, that of `main` or one of its submodules.

    A secret for the host comes before one for all. It is for the repository that the build names, and on
    github.com for all others there, as with docker; a submodule elsewhere gets none.
    """
    if address.scheme == "ssh":
        places = request.ssh.get("default", [])
        agents = [place for place in places if _is_socket(place)]
        return Access(agent=next(iter(agents), ""), keys=[place for place in places if place not in agents])
    if not address.scheme.startswith("http"):
        return Access()
    within = next((top for top in _GITHUB if main.remote.startswith(top)), main.remote)
    if address is not main and not (address.remote + "/").startswith(within.rstrip("/") + "/"):
        return Access()
    host = urlsplit(main.remote).netloc
    for name in (f"GIT_AUTH_HEADER.{host}", f"GIT_AUTH_TOKEN.{host}", "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"):
        text = _secret(request, name)
        if text:
            token = name.startswith("GIT_AUTH_TOKEN")
            return Access(basic("x-access-token:" + text) if token else text, within)
    return Access()


def of_url(request: Request, url: str) -> str:
    """The Authorization header for a URL, "" for none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:  # who fetches it will tell
        return ""
    header = _secret(request, f"HTTP_AUTH_HEADER_{host}")
    if header:
        return header
    token = _secret(request, f"HTTP_AUTH_TOKEN_{host}")
    return f"Bearer {token}" if token else ""


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:  # ssh will tell
        return False


def _secret(request: Request, name: str) -> str:
    value = request.secrets.get(name)
    if isinstance(value, str):
        path = value
        try:
            with open(path, "rb") as file:
                value = file.read(LIMIT + 1)
        except OSError as error:
            raise NotFound(f"secret {name}: {path}: {reason(error)}") from None
    if value is not None and len(value) > LIMIT:
        raise InvalidInput(f"secret {name} is larger than {LIMIT >> 10} KiB")
    return (value or b"").decode("utf-8", "surrogateescape").rstrip("\r\n")
