"""Files by http and https, for ADD and build contexts: bounded in size, time and redirects."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from estiva.builder.files import patient
from estiva.builder.files.record import nothing
from estiva.builder.files.url import name_of, redacted, split
from estiva.errors import IntegrityError, InvalidInput, Unavailable, oneline, reason
from estiva.files import write_all
from estiva.oci import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


LIMIT = 1 << 30  # bytes
LONGEST = 3600.0  # seconds for all of it


class Download:
    """What a URL gave: a file (its fd, which nobody else writes), the sha256 of its content in hex, a name
    for it, and its Last-Modified time (nanoseconds, or None).
    """

    def __init__(self, fd: int, content: str, name: str, mtime_ns: int | None) -> None:
        self.fd = fd
        self.content = content
        self.name = name
        self.mtime_ns = mtime_ns


def fetch(
    url: str,
    into: int,
    checksum: str = "",
    *,
    header: str = "",
    limit: int = 0,
    look: Callable[[], object] = nothing,
    told: Callable[[int, int], object] | None = None,
) -> Download:
    """Download `url` into the new file `into`. Raises Unavailable, IntegrityError for a wrong checksum.

    `header` is the value of an Authorization header, which no other origin ever gets, wherever the answer
    redirects to; one for a name and a password in the URL comes before it. `limit` in bytes, 0 is LIMIT.
    `look` is called often, also while nothing comes: what it raises ends that. `told`
    gets the bytes that have come, and all that are to come or 0.
    """
    algorithm = digests.parse(checksum)[0] if checksum else "sha256"
    address, own_header, shown = split(url)
    opener = patient.opener(look, _Redirects)
    request = urllib.request.Request(address, headers={"User-Agent": "estiva"})
    if own_header or header:
        request.add_unredirected_header("Authorization", _line(own_header or header, shown))
    hasher, own = hashlib.new(algorithm), hashlib.sha256()
    total, limit = 0, limit or LIMIT
    until = time.monotonic() + LONGEST
    try:
        with opener.open(request) as response:
            modified = response.headers.get("Last-Modified")
            length = response.headers.get("Content-Length")
            expected = int(length) if length and length.isdecimal() and len(length) < 19 else 0
            while chunk := response.read1(1 << 20):
                total += len(chunk)
                if total > limit:
                    raise Unavailable(f"{shown} is larger than {_size(limit)}")
                if time.monotonic() > until:
                    raise Unavailable(f"{shown} took longer than an hour")
                hasher.update(chunk)
                own.update(chunk)
                write_all(into, chunk)
                if told is not None:
                    told(total, expected)
    except urllib.error.HTTPError as error:
        hint = ""
        if error.code in (401, 403) and not request.has_header("Authorization"):
            hint = f"--secret id=HTTP_AUTH_TOKEN_{urlsplit(address).hostname},src=FILE gives a token"
        why = oneline(str(error.reason))[:200]
        raise Unavailable(f"{shown}: the server answered {error.code} {why}", hint=hint) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        why = reason(cause) if isinstance(cause, OSError) else oneline(str(cause))
        raise Unavailable(f"{shown} can't be fetched: {why[:500]}") from None
    if length and length != str(total) and length.isdecimal():
        raise Unavailable(f"{shown} broke off after {total} of {length[:20]} bytes")
    got = f"{algorithm}:{hasher.hexdigest()}"
    if checksum and got != checksum:
        raise IntegrityError(f"{shown} has the digest {got}, not {checksum}")
    return Download(into, own.hexdigest(), name_of(url), _time(modified))


def _line(header: str, shown: str) -> str:
    if any(c in header for c in "\r\n\0"):
        raise InvalidInput(f"the credentials for {shown} hold a line break")
    return header


def _size(limit: int) -> str:
    return f"{limit >> 30} GiB" if limit >= 1 << 30 else f"{limit >> 20} MiB"


def _time(text: str | None) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 10**9 if text else None
    except (ValueError, OverflowError):
        return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects stay on http(s) and never step down from https; credentials stay with their origin."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        allowed = ("https://",) if req.full_url.startswith("https:") else ("http://", "https://")
        if not newurl.startswith(allowed):
            raise urllib.error.URLError(f"it redirects to {redacted(newurl)[:200]}, which is refused")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and (made.type, made.host) == (req.type, req.host):
            for name, value in req.unredirected_hdrs.items():
                if name == "Authorization":
                    made.add_unredirected_header(name, value)
        return made
