"""Finding a build's Dockerfile and its ignore file."""

from __future__ import annotations

import os

from estiva.builder.frontend import ignore, parser, syntax
from estiva.builder.request import Request
from estiva.errors import InvalidInput, NotFound, reason
from estiva.files import read_bounded
from estiva.linux import fs

NAMES = ("Dockerfile", "Containerfile")


def read_dockerfile(request: Request) -> tuple[syntax.Dockerfile, ignore.Matcher]:
    """The parsed Dockerfile and the patterns that the context leaves out. Raises NotFound, InvalidInput.

    A Dockerfile that the caller names is opened as named; one found in the context is not followed out of
    it, since a context may be someone else's (K14). `NAME.dockerignore` beside it comes before the context's
    `.dockerignore`.
    """
    if request.context is not None and not os.path.isdir(request.context):
        raise NotFound(f"the build context {request.context} is not a directory")
    if request.dockerfile_text is not None:
        return parser.parse(request.dockerfile_text), _patterns(request, None)
    if request.dockerfile and request.dockerfile != "-":
        path = request.dockerfile
        if not os.path.isabs(path) and not os.path.exists(path) and request.context is not None:
            data = _inside(request.context, path)
            if data is not None:
                own = _inside(request.context, path + ".dockerignore")
                return parser.parse(data, name=os.path.basename(path)), _patterns(request, own)
        try:
            data = read_bounded(path, parser.LIMIT)
        except OSError as error:
            raise NotFound(f"the Dockerfile {path} can't be read: {reason(error)}") from None
        own = _beside(path + ".dockerignore")
        return parser.parse(data, name=os.path.basename(path)), _patterns(request, own)
    for name in NAMES if request.context is not None else ():
        data = _inside(str(request.context), name)
        if data is not None:
            own = _inside(str(request.context), name + ".dockerignore")
            return parser.parse(data, name=name), _patterns(request, own)
    raise NotFound(f"no Dockerfile in {request.context or 'an empty context'}", hint="name one with -f FILE")


def _inside(context: str, name: str) -> bytes | None:
    """A file of the context, symlinks resolved inside it; None when it is not there."""
    root = os.open(context, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = fs.open_in_root(root, name, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidInput(f"{name} in the build context can't be read: {reason(error)}") from None
    finally:
        os.close(root)
    try:
        with open(fd, "rb") as file:
            data = file.read(parser.LIMIT + 1)
    except OSError as error:
        raise InvalidInput(f"{name} in the build context can't be read: {reason(error)}") from None
    if len(data) > parser.LIMIT:
        raise InvalidInput(f"{name} is larger than {parser.LIMIT >> 20} MiB")
    return data


def _beside(path: str) -> bytes | None:
    try:
        return read_bounded(path, parser.LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {reason(error)}") from None


def _patterns(request: Request, own: bytes | None) -> ignore.Matcher:
    data = own
    if data is None and request.context is not None:
        data = _inside(request.context, ".dockerignore")
    if data is None and request.context is not None:
        data = _inside(request.context, ".containerignore")
    return ignore.read_ignore((data or b"").decode("utf-8", "replace"))
