"""ADD from a URL: one bounded GET over http or https, its checksum verified."""

from __future__ import annotations

import hashlib
import http.client
import posixpath
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from estiva.errors import IntegrityError, Unavailable, oneline, reason
from estiva.files import write_all
from estiva.oci import digest as digests

LIMIT = 1 << 30  # bytes
TIMEOUT = 60.0  # seconds without a byte
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


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def is_git(source: str) -> bool:
    """Whether ADD would have to clone a repository."""
    if source.startswith(("git@", "git://", "ssh://")):
        return True
    path = source.partition("#")[0].partition("?")[0]
    return is_url(source) and path.endswith(".git")


def name_of(url: str) -> str:
    """The file name that a URL's path ends in."""
    try:
        name = posixpath.basename(unquote(urlsplit(url).path))
    except ValueError:
        name = ""
    if name in ("", ".", "..") or "\0" in name:
        return "__unnamed__"
    return name


def fetch(url: str, into: int, checksum: str = "") -> Download:
    """Download `url` into the new file `into`. Raises Unavailable, IntegrityError for a wrong checksum."""
    algorithm = digests.parse(checksum)[0] if checksum else "sha256"
    opener = urllib.request.build_opener(_Redirects)
    request = urllib.request.Request(url, headers={"User-Agent": "estiva"})
    hasher, own = hashlib.new(algorithm), hashlib.sha256()
    total = 0
    until = time.monotonic() + LONGEST
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            while chunk := response.read1(1 << 20):
                total += len(chunk)
                if total > LIMIT:
                    raise Unavailable(f"{oneline(url)} is larger than {LIMIT >> 30} GiB")
                if time.monotonic() > until:
                    raise Unavailable(f"{oneline(url)} took longer than an hour")
                hasher.update(chunk)
                own.update(chunk)
                write_all(into, chunk)
            modified = response.headers.get("Last-Modified")
            length = response.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise Unavailable(f"{oneline(url)}: the server answered {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        why = reason(cause) if isinstance(cause, OSError) else oneline(str(cause))
        raise Unavailable(f"{oneline(url)} can't be fetched: {why}") from None
    if length and length != str(total) and length.isdecimal():
        raise Unavailable(f"{oneline(url)} broke off after {total} of {length[:20]} bytes")
    got = f"{algorithm}:{hasher.hexdigest()}"
    if checksum and got != checksum:
        raise IntegrityError(f"{oneline(url)} has the digest {got}, not {checksum}")
    return Download(into, own.hexdigest(), name_of(url), _time(modified))


def _time(text: str | None) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 10**9 if text else None
    except (ValueError, OverflowError):
        return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects stay on http(s) and never step down from https."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        allowed = ("https://",) if req.full_url.startswith("https:") else ("http://", "https://")
        if not newurl.startswith(allowed):
            raise urllib.error.URLError(f"it redirects to {newurl[:200]}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
