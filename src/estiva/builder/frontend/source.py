"""Finding a build's Dockerfile and its ignore file."""

from __future__ import annotations

import os

from estiva.builder.frontend import ignore, parser
from estiva.errors import InvalidInput, NotFound, reason
from estiva.files import read_bounded
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend import syntax


_MAX_LINKS = 40  # as path_resolution(7)
NAMES = ("Dockerfile", "Containerfile")


def read_dockerfile(
    context: int | None, place: str, *, path: str | None, text: str | None, inside: bool = False
) -> tuple[syntax.Dockerfile, ignore.Matcher]:
    """The parsed Dockerfile and the patterns that the context leaves out. Raises NotFound, InvalidInput.

    `context` is an fd of the build context, `place` its name for messages; `text` the Dockerfile itself,
    `path` the one that the caller names.

    A Dockerfile that the caller names is opened as named. One in the context, found there or named, is not
    followed out of it, since a context may be someone else's (K14). `NAME.dockerignore` beside it comes
    before the context's `.dockerignore`. `inside`: the context is not a folder of the caller's, so a relative
    path is one in it, whatever there is here.
    """
    if text is not None:
        return parser.parse(text), patterns(context, None)
    if path and path != "-":
        return _named(context, path, inside)
    for name in NAMES if context is not None else ():
        data = inner(context, name)
        if data is not None:
            own = inner(context, name + ".dockerignore")
            return parser.parse(data, name=name), patterns(context, own, name + ".dockerignore")
    raise NotFound(f"no Dockerfile in {place or 'an empty context'}", hint="name one with -f FILE")


def _named(context: int | None, path: str, inside: bool) -> tuple[syntax.Dockerfile, ignore.Matcher]:
    name = os.path.basename(path)
    if not os.path.isabs(path) and (inside or not os.path.exists(path)):
        data = inner(context, path)
        if data is None and inside:
            raise NotFound(f"there is no {path} in the build context")
        if data is not None:
            own = inner(context, path + ".dockerignore")
            return parser.parse(data, name=name), patterns(context, own, path + ".dockerignore")
    rest, real = _followed(context, path)
    if rest is None:
        try:
            data = read_bounded(real, parser.LIMIT)
        except OSError as error:
            raise NotFound(f"the Dockerfile {path} can't be read: {reason(error)}") from None
    else:
        data = inner(context, rest)
        if data is None and os.path.lexists(path):
            message = f"the Dockerfile {path} is a link out of the build context"
            raise InvalidInput(message, hint="name what it leads to")
        if data is None:
            raise NotFound(f"the Dockerfile {path} can't be read: no such file or directory")
    beside = path + ".dockerignore"
    rest, real = _followed(context, beside)
    own = _outside(real, beside) if rest is None else inner(context, rest)
    return parser.parse(data, name=name), patterns(context, own, beside)


def _followed(context: int | None, path: str) -> tuple[str | None, str]:
    """(the rest of a path from where it comes to the context, by whatever links; the path to open otherwise).

    The rest is None for a path that doesn't come there, or only to go out again by `..`: then links that it
    passes there are not in the path to open. One that can't be followed to its end is opened as it is.
    """
    root = os.fstat(context) if context is not None else None
    here = "/" if path.startswith("/") else os.getcwd()
    pending = path.split("/")[::-1]
    links = 0
    passed = False
    try:
        while pending:
            if root is not None and os.path.samestat(os.stat(here), root):
                rest = os.path.normpath("/".join(pending[::-1]))
                if rest != ".." and not rest.startswith("../"):
                    return rest, path
                pending = rest.split("/")[::-1]
                passed = True
            part = pending.pop()
            there = os.path.join(here, part)
            if part == "..":
                here = os.path.dirname(here)
            elif part and os.path.islink(there):
                target = os.readlink(there)
                here = "/" if target.startswith("/") else here
                pending += target.split("/")[::-1]
                links += 1
                if links > _MAX_LINKS:
                    return None, path
            elif part not in ("", "."):
                here = there
    except OSError:  # who opens it will tell
        pass
    return None, here if passed else path  # as named: /dev/fd/N leads to what has no name


def inner(context: int | None, name: str) -> bytes | None:
    """A file of the context, symlinks resolved inside it; None when it is not there."""
    if context is None:
        return None
    try:
        fd = fs.open_in_root(context, name, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidInput(f"{name} in the build context can't be read: {reason(error)}") from None
    try:
        with open(fd, "rb") as file:
            data = file.read(parser.LIMIT + 1)
    except OSError as error:
        raise InvalidInput(f"{name} in the build context can't be read: {reason(error)}") from None
    if len(data) > parser.LIMIT:
        raise InvalidInput(f"{name} is larger than {parser.LIMIT >> 20} MiB")
    return data


def _outside(real: str, path: str) -> bytes | None:
    try:
        return read_bounded(real, parser.LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {reason(error)}") from None


def patterns(context: int | None, own: bytes | None, beside: str = "") -> ignore.Matcher:
    """What a context leaves out, by the file `beside` the Dockerfile (its text: `own`) or by its own one."""
    data, named = own, beside
    for name in (".dockerignore", ".containerignore"):
        if data is None:
            data, named = inner(context, name), name
    return ignore.read_ignore((data or b"").decode("utf-8", "replace"), named)
