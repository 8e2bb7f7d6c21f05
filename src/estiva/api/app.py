"""The application: which request is answered by what, in which version, and what becomes of errors.

Each path is there twice, with /v1.N before it and without. A handler gets the `Api` that all share.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from estiva import errors, version
from estiva.api import answers
from estiva.api.listening import browsers, routes
from estiva.api.work import Work
from estiva.errors import EstivaError, InvalidInput, brief, oneline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from estiva.api.ends import Ends
    from estiva.api.waiting import Attaches
    from estiva.engine import Engine

    Handler: TypeAlias = Callable[["Api", web.Request], Awaitable[web.StreamResponse]]
    Route: TypeAlias = tuple[str, str, Handler]  # method, path, what answers

OLDEST = (1, 24)
NEWEST = (1, 51)
WORDS, LINES = 1024, 64  # characters of a line of an error, and its lines: a request's words may be in it
VERSION = f"26.1.5+estiva.{version.__version__}"  # the docker that this is like: clients refuse old ones
TOLD = (1, 45)  # the one that is spoken to the letter, and by who names none


class Api:
    """One server's: the engine, where its verbs run, who waits to be attached to what is not started yet."""

    def __init__(self, engine: Engine, reaper: bool = True) -> None:
        from estiva.api.containers.rows import Rows
        from estiva.api.ends import Ends
        from estiva.api.waiting import Attaches
        from estiva.engine.state.known import Known

        self.engine = engine
        self.reaper = reaper  # whether testcontainers' ryuk is our own (reaper/image.py)
        self.work = Work()
        self.attaches: Attaches = Attaches(engine)
        self.ends: Ends = Ends(engine, self.work)
        self.known, self.rows = Known(), Rows()  # of containers
        self.buildkit: object = None  # what builds share (buildkit/routes.py), from the first on
        self.execs: dict[str, dict[str, Any]] = {}  # the last that ended (containers/exec.py), by id
        self.active = 0  # requests that are being answered
        self.touched = asyncio.Event()  # something was asked

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._around], client_max_size=answers.BODY)
        for module, words in routes.TABLE.items():
            for number, word in enumerate(words):
                method, _, path = word.partition(" ")
                bound = self._bound(module, number)
                app.router.add_route(method, path, bound)
                app.router.add_route(method, "/v{version:[0-9.]+}" + path, bound)
        return app

    def _bound(self, module: str, number: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """What answers a request of the table: a module's handler, as soon as somebody asks."""
        handler: Handler | None = None

        async def answer(request: web.Request) -> web.StreamResponse:
            nonlocal handler
            if handler is None:
                found: tuple[Route, ...] = importlib.import_module(f"estiva.api.{module}").ROUTES
                handler = found[number][2]
            return await handler(self, request)

        return answer

    @property
    def _around(self) -> Any:
        @web.middleware
        async def around(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self.active += 1
            self.touched.set()
            try:
                why = browsers.problem(request)
                if why:
                    raise web.HTTPForbidden(reason=why)
                _check_version(request)
                response = await handler(request)
            except EstivaError as error:
                response = refused(error)
                _refuse_begun(request, error)
            except web.HTTPException as error:
                # docker's has no 405: what a path can't do is a page that is not there
                status = 404 if error.status == 405 else error.status
                response = answers.json({"message": _words(error, request)}, status)
            except (RequestPayloadError, HttpProcessingError) as error:
                response = answers.json(
                    {"message": f"the request's body is broken: {brief(str(error))}"}, 400
                )
                response.force_close()
            except ConnectionError:
                raise  # the client's, which has gone
            except Exception as error:
                response = unforeseen(request, error)
                _refuse_begun(request, error)
            finally:
                self.active -= 1
                self.touched.set()
            if not response.prepared:
                response.headers.update(HEADERS)
            return response

        return around


HEADERS = {
    "Api-Version": ".".join(map(str, NEWEST)),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Docker/{VERSION} (linux)",
}


def refused(error: EstivaError) -> web.Response:
    """Docker's form of an error."""
    lines = error.message.split("\n")[:LINES]  # some of docker's have several
    words = "\n".join(brief(line, WORDS) for line in lines)
    return answers.json({"message": words}, errors.status(error)[1])


def _refuse_begun(request: web.Request, error: Exception) -> None:
    """Of an answer that has begun nothing but its end can be told: raises ConnectionResetError, which closes
    the connection, so that nobody takes it for whole."""
    transport = request.transport
    hijacked = transport is not None and transport.get_protocol() is not request.protocol
    if hijacked or request.writer.output_size > 0:
        if transport is not None:
            transport.close()
        raise ConnectionResetError from error


def unforeseen(request: web.Request, error: Exception) -> web.Response:
    """What no handler foresaw: the system's refusals in plain words, all else as an internal error, which is
    a line on stderr, too. It is the end of this request alone."""
    told: EstivaError | None = errors.exhausted(error)
    if told is None and isinstance(error, OSError) and error.errno:
        told = errors.from_os(error)
    if told is not None:
        return refused(told)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace is not None else ""
    text = f"internal error: {type(error).__name__}: {error}"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"estiva api: {brief(f'{request.method} {request.path}: {text}{where}')}\n")
        sys.stderr.flush()
    return answers.json({"message": brief(text)}, 500)


def api_version(request: web.Request) -> tuple[int, int]:
    """The version that a request is in. Raises InvalidInput."""
    text = request.match_info.get("version", "")
    if not text:
        return TOLD
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit() and len(text) < 10):
        raise InvalidInput(f"invalid API version: {text[:20]}")
    return int(major), int(minor)


def _check_version(request: web.Request) -> None:
    asked = api_version(request)
    words = ".".join(map(str, asked))
    if asked < OLDEST:
        raise InvalidInput(
            f"client version {words} is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version"
        )
    if asked > NEWEST:
        raise InvalidInput(f"client version {words} is too new. Maximum supported API version is 1.51")


def _words(error: web.HTTPException, request: web.Request) -> str:
    if error.status in (404, 405):
        return "page not found"
    return oneline(error.reason or str(error.status))
