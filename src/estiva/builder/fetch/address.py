"""Addresses of git repositories as a build names them, read and judged; nothing is fetched here.

    https://HOST/PATH.git  http://HOST/PATH.git  ssh://[USER@]HOST/PATH  git://HOST/PATH  USER@HOST:PATH
    github.com/OWNER/NAME       of a build context only, where no folder has that name

each with #REF:FOLDER or ?KEY=VALUE&... behind it, with BuildKit's keys: ref, tag, branch, subdir, checksum
(or commit), keep-git-dir, submodules, mtime (checkout or commit), fetch-by-commit.

What an address says of a password never stands in a command line, a history or a message: `credentials` has
it, and a text that is `redacted` has `xxxxx` in its place (K14, K24).
"""

from __future__ import annotations

import posixpath
import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from estiva.builder.files.url import is_http as is_http
from estiva.builder.files.url import redacted
from estiva.errors import InvalidInput, oneline

SCHEMES = ("http", "https", "ssh", "git")
LIMIT = 4096  # characters of an address
_SCP = re.compile(r"([A-Za-z0-9_-]+)@([A-Za-z0-9.-]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_PROTOCOL = re.compile(r"[A-Za-z0-9]+://")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|^[-/.]|[/.]$")
TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class GitAddress:
    """One repository and what of it is wanted.

    remote        what git fetches from, without a password
    credentials   "USER:PASSWORD" of the address, "" without
    ref           a branch, tag, full name (refs/...) or commit; "" is the default branch
    folder        the folder of the repository that is wanted, "" for all of it
    checksum      hex digits that the commit, or the tag's object, must begin with
    keep_git_dir, submodules   None where the address does not say
    mtime         "commit" gives files the commit's time; "" and "checkout" do not
    by_commit     `checksum` is the commit, whatever `ref` leads to now
    """

    def __init__(self, remote: str, scheme: str, host: str, credentials: str = "") -> None:
        self.remote = remote
        self.scheme = scheme
        self.host = host
        self.credentials = credentials
        self.ref = ""
        self.folder = ""
        self.checksum = ""
        self.keep_git_dir: bool | None = None
        self.submodules: bool | None = None
        self.mtime = ""
        self.by_commit = False

    def __str__(self) -> str:
        tail = f"#{self.ref}" if self.ref or self.folder else ""
        return oneline(self.remote + tail + (f":{self.folder}" if self.folder else ""))


def is_commit(text: str) -> bool:
    """Whether a text is all of a commit's name: 40 or 64 hex digits."""
    return _COMMIT.fullmatch(text) is not None


def parse(text: str, *, context: bool = False) -> GitAddress | None:
    """The address that a text is, None for one that is no repository's: a path, a name, another URL.

    `context`: github.com/OWNER/NAME is one, too. Raises InvalidInput for an address that is wrong.
    """
    if context and text.startswith("github.com/"):
        text = "https://" + text
    elif _PROTOCOL.match(text):
        scheme = text.partition("://")[0].lower()
        if scheme not in SCHEMES:
            return None
        if scheme.startswith("http") and not re.split(r"[?#]", text, maxsplit=1)[0].endswith(".git"):
            return None
    elif not _SCP.fullmatch(text):
        return None
    if len(text) > LIMIT:
        raise InvalidInput(f"an address of a repository is longer than {LIMIT} characters")
    if re.search(r"[\x00-\x1f\x7f]", text):  # urlsplit would drop some of them
        raise InvalidInput(f"invalid address of a repository: {redacted(oneline(text))[:200]!r}")
    address, query, fragment = _split(text)
    address.ref, colon, folder = fragment.partition(":")
    if colon:
        address.folder = _folder(folder)
    _queries(address, query, text)
    if address.ref:
        check_ref(address.ref)
    if address.checksum and not re.fullmatch(r"[0-9a-fA-F]{1,64}", address.checksum):
        raise InvalidInput(
            f"invalid checksum {address.checksum[:80]!r} of {address.remote}",
            hint="of a repository it is a commit, in hex digits",
        )
    return address


def _split(text: str) -> tuple[GitAddress, str, str]:
    """(address, query, fragment)"""
    if not _PROTOCOL.match(text):
        found = _SCP.fullmatch(text)
        assert found is not None
        user, host, path, query, fragment = found.groups(default="")
        return of_remote(f"{user}@{host}:{path}"), query, fragment
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InvalidInput(f"invalid address {redacted(oneline(text))[:200]}: {error}") from None
    bare = parts._replace(query="", fragment="").geturl()
    return of_remote(bare), parts.query, unquote(parts.fragment)


def of_remote(text: str) -> GitAddress:
    """The address that git itself is given, such as that of a submodule. Raises InvalidInput for what may
    not be fetched from: a path of this machine (K14), a helper of git's, what looks like an option.
    """
    shown = redacted(oneline(text))[:200]
    if re.search(r"[\x00-\x20\x7f]", text) or len(text) > LIMIT:
        raise InvalidInput(f"invalid address of a repository: {shown!r}")
    if not _PROTOCOL.match(text):
        found = _SCP.fullmatch(text)
        if found is None or found[2].startswith("-") or not found[3] or found[3].startswith("-"):
            message = f"{shown!r} is no address of a repository to fetch"
            raise InvalidInput(message, hint="https, ssh or git@HOST:PATH")
        return GitAddress(text, "ssh", found[2])
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidInput(f"invalid address {shown}: {error}") from None
    if parts.scheme not in SCHEMES:
        raise InvalidInput(
            f"{shown} can't be fetched: {parts.scheme[:20]} is not one of {', '.join(SCHEMES)}"
        )
    if not host or host.startswith("-") or not parts.path.strip("/"):
        raise InvalidInput(f"invalid address {shown}: it has no host or no path")
    return _of_url(parts, host, port)


def _of_url(parts: SplitResult, host: str, port: int | None) -> GitAddress:
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port is not None else ""
    credentials = ""
    if parts.username or parts.password:
        user = unquote(parts.username or "")
        if parts.scheme == "ssh":  # a user name is no secret there, and a password is of no use
            if not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*", user):
                raise InvalidInput(f"invalid user in the address of {host}")
            place = f"{user}@{place}"
        elif parts.scheme != "git":
            credentials = f"{user}:{unquote(parts.password or '')}"
    return GitAddress(f"{parts.scheme}://{place}{parts.path}", parts.scheme, host, credentials)


def check_ref(ref: str) -> None:
    """Raises InvalidInput for what git lets no ref be called (git-check-ref-format), options among it."""
    if _BAD_REF.search(ref) or len(ref) > 1000:
        raise InvalidInput(f"invalid git ref {oneline(ref)[:100]!r}")


def _folder(text: str) -> str:
    folder = posixpath.normpath("/" + text).lstrip("/")
    if "\0" in folder:
        raise InvalidInput("a folder of a repository can't have a NUL in its name")
    return folder


def _queries(address: GitAddress, query: str, text: str) -> None:
    given: dict[str, str] = {}
    shown = redacted(oneline(text))[:200]
    for key, value in parse_qsl(query, keep_blank_values=True, max_num_fields=50) if query else ():
        if key in given:
            raise InvalidInput(f"{shown}: the query {oneline(key)[:40]!r} comes twice")
        given[key] = value
    for key, value in given.items():
        if not value and key not in ("submodules", "keep-git-dir", "fetch-by-commit"):
            raise InvalidInput(f"{shown}: the query {oneline(key)[:40]!r} has no value")
        if key in ("ref", "tag", "branch"):
            continue
        if key == "subdir":
            if address.folder and address.folder != _folder(value):
                raise InvalidInput(f"{shown}: two folders, {address.folder!r} and {value!r}")
            address.folder = _folder(value)
        elif key in ("checksum", "commit"):
            address.checksum = value
        elif key == "keep-git-dir":
            address.keep_git_dir = _boolean(key, value, shown)
        elif key == "submodules":
            address.submodules = _boolean(key, value, shown)
        elif key == "fetch-by-commit":
            address.by_commit = _boolean(key, value, shown)
        elif key == "mtime" and value in ("checkout", "commit"):
            address.mtime = value
        elif key == "mtime":
            raise InvalidInput(f"{shown}: invalid mtime {value[:40]!r}", hint="checkout or commit")
        else:
            raise InvalidInput(
                f"{shown}: unknown query {oneline(key)[:40]!r}",
                hint="ref, tag, branch, subdir, checksum, keep-git-dir, submodules, mtime or fetch-by-commit",
            )
    _refs(address, given, shown)


def _refs(address: GitAddress, given: dict[str, str], shown: str) -> None:
    """The one ref that ref=, tag=, branch= and the fragment name."""
    wanted = [address.ref, given.get("ref", "")]
    for key, prefix in (("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if key in given:
            wanted.append(prefix + given[key].removeprefix(prefix))
    named = sorted({ref for ref in wanted if ref})
    if len(named) > 1:
        raise InvalidInput(f"{shown}: two refs, {named[0]!r} and {named[1]!r}")
    address.ref = named[0] if named else ""


def _boolean(key: str, value: str, shown: str) -> bool:
    if value in ("", *TRUE):
        return True
    if value in _FALSE:
        return False
    raise InvalidInput(f"{shown}: invalid {key} {value[:40]!r}", hint="true or false")


def submodule(parent: str, url: str) -> GitAddress:
    """The repository that `.gitmodules` names, relative names (./ ../) taken from that of `parent`.

    Raises InvalidInput, also for one that leads over the top of its host.
    """
    if not url.startswith(("./", "../")):
        return of_remote(url)
    if _PROTOCOL.match(parent):
        scheme, _, rest = parent.partition("://")
        top, _, path = rest.partition("/")
        top = f"{scheme}://{top}/"
    else:
        top, _, path = parent.partition(":")
        top += ":"
    done = [part for part in path.split("/") if part]
    for part in url.split("/"):
        if part == "..":
            if not done:
                raise InvalidInput(f"the submodule {oneline(url)[:200]!r} leads out of {parent}")
            done.pop()
        elif part not in ("", "."):
            done.append(part)
    lead = "/" if path.startswith("/") else ""
    return of_remote(top + lead + "/".join(done))
