"""ADD from a URL: one bounded GET over http or https, its checksum verified."""

from __future__ import annotations

import posixpath

from estiva.errors import InvalidInput, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

_USERINFO = r"(?<=://)[^/?#\s@]*(?:@[^/?#\s@]*)*@"


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def is_http(text: str) -> bool:
    """The same, of an address that people write: in small letters or not."""
    return text.lower().startswith(("http://", "https://"))


def name_of(url: str) -> str:
    """The file name that a URL's path ends in."""
    from urllib.parse import unquote, urlsplit

    try:
        name = posixpath.basename(unquote(urlsplit(url).path))
    except ValueError:
        name = ""
    if name in ("", ".", "..") or "\0" in name:
        return "__unnamed__"
    return name


def split(url: str) -> tuple[str, str, str]:
    """(the URL without name and password, the header that these make, the URL to show)."""
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
    except ValueError as error:
        raise InvalidInput(f"invalid URL {redacted(oneline(url))[:200]}: {error}") from None
    if user is None and password is None:
        return url, "", redacted(oneline(url))
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return bare, basic(f"{unquote(user or '')}:{unquote(password or '')}"), redacted(oneline(url))


def basic(pair: str) -> str:
    """The Authorization header for USER:PASSWORD (RFC 7617)."""
    import base64

    return "Basic " + base64.b64encode(pair.encode("utf-8", "surrogateescape")).decode()


def redacted(text: str) -> str:
    """A text without the passwords of the addresses in it."""
    if "://" not in text or "@" not in text:
        return text
    import re

    return re.sub(_USERINFO, _mask, text)


def _mask(found: re.Match[str]) -> str:
    user, colon, _ = found[0].removesuffix("@").partition(":")
    return f"{user}:xxxxx@" if colon else f"{user}@" if user in ("git", "") else "xxxxx@"
