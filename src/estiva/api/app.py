"""The application: which request is answered by what, in which version, and what becomes of errors.

Each path is there twice, with /v1.N before it and without. A handler gets the `Api` that all share.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp import web

from estiva import errors, version
from estiva.api import answers
from estiva.api.work import Work
from estiva.errors import EstivaError, InvalidInput, oneline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from estiva.api.waiting import Attaches
    from estiva.engine import Engine

    Handler: TypeAlias = Callable[["Api", web.Request], Awaitable[web.StreamResponse]]
    Route: TypeAlias = tuple[str, str, Handler]  # method, path, what answers

OLDEST = (1, 24)
NEWEST = (1, 51)
TOLD = (1, 45)  # the one that is spoken to the letter, and by who names none
MODULES = ("system", "containers.look", "containers.life", "containers.streams", "buildkit.routes")


class Api:
    """One server's: the engine, where its verbs run, who waits to be attached to what is not started yet."""

    def __init__(self, engine: Engine) -> None:
        from estiva.api.waiting import Attaches

        self.engine = engine
        self.work = Work()
        self.attaches: Attaches = Attaches(engine)
        self.buildkit: object = None  # what builds share (buildkit/routes.py), from the first on
        self.active = 0  # requests that are being answered
        self.touched = asyncio.Event()  # something was asked

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._around], client_max_size=answers.BODY)
        for name in MODULES:
            routes: tuple[Route, ...] = importlib.import_module(f"estiva.api.{name}").ROUTES
            for method, path, handler in routes:
                bound = self._bound(handler)
                app.router.add_route(method, path, bound)
                app.router.add_route(method, "/v{version:[0-9.]+}" + path, bound)
        return app

    def _bound(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
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
                _check_version(request)
                response = await handler(request)
            except EstivaError as error:
                response = refused(error)
            except web.HTTPException as error:
                response = answers.json({"message": _words(error, request)}, error.status)
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
    "Server": f"Docker/{version.__version__} (estiva)",
}


def refused(error: EstivaError) -> web.Response:
    """Docker's form of an error."""
    return answers.json({"message": oneline(error.message)}, errors.status(error)[1])


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
