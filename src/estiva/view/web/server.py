"""The pages and streams: a list, an anatomy, the same each second (server-sent events), a start to replay."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import secrets
import signal
import time
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.engine.containers import listing
from estiva.engine.images import inspect as images
from estiva.engine.state import lookup
from estiva.errors import Conflict, EstivaError, InvalidInput, from_os, oneline, status
from estiva.view import anatomy, start, words
from estiva.view.seen import clean
from estiva.view.web.guard import HEADERS, Doors, Guard, policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine import Engine

EVERY = 1.0  # seconds between two looks of a stream
STREAMS = 32  # at once
LISTED = 500  # containers, images
STALL = 10.0  # seconds that a client may read nothing
NAME = 300  # characters of what is asked for


def address_of(text: str) -> tuple[str, int]:
    """(address, port) of --listen. Raises InvalidInput for what is not on loopback."""
    host, colon, port = text.rpartition(":") if text.count(":") == 1 or "]" in text else (text, "", "")
    if not colon and text.isdigit():
        host, port = "127.0.0.1", text
    host = (host or "127.0.0.1").strip("[]")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        number = int(port or "0")
        if not ipaddress.ip_address(host).is_loopback or not 0 <= number < 65536:
            raise ValueError
    except ValueError:
        raise InvalidInput(
            f"invalid --listen: {oneline(text)[:100]!r}",
            hint="an address of loopback: 127.0.0.1:8080, [::1]:0",
        ) from None
    return host, number


class Looks:
    """What is looked at, once for all who ask at the same time: a flood of questions is one look a moment."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.known: dict[str, tuple[float, asyncio.Task[dict[str, Any]]]] = {}
        self.one = asyncio.Semaphore(2)

    async def of(self, ref: str) -> dict[str, Any]:
        """Raises EstivaError, OSError."""
        now = time.monotonic()
        for name, (when, task) in list(self.known.items()):
            if task.done() and now - when > EVERY / 2:
                del self.known[name]
        if ref not in self.known:
            self.known[ref] = now, asyncio.create_task(self._look(ref))
        return await asyncio.shield(self.known[ref][1])

    async def _look(self, ref: str) -> dict[str, Any]:
        async with self.one:
            return await asyncio.to_thread(self._gather, ref)

    def _gather(self, ref: str) -> dict[str, Any]:
        body = anatomy.of(self.engine, ref)
        sections = [dataclasses.asdict(section) for section in words.sections(body)]
        return {"anatomy": dataclasses.asdict(body), "sections": sections}


class Site:
    def __init__(self, engine: Engine, token: str) -> None:
        self.engine = engine
        self.token = token
        self.looks = Looks(engine)
        self.streams = 0
        self.page = resources.files("estiva.view.web").joinpath("page.html").read_text("utf-8")
        style = self.page.partition("<style>")[2].partition("</style>")[0]
        script = self.page.partition("<script>")[2].partition("</script>")[0]
        self.policy = policy(style, script)

    def application(self, hosts: frozenset[str]) -> web.Application:
        self.guard = Guard(self.token, hosts)
        made = web.Application(middlewares=[self.guard.middleware()], client_max_size=1024)
        made.router.add_get("/{token}/", self.index)
        made.router.add_get("/{token}/list", self.list)
        made.router.add_get("/{token}/anatomy", self.anatomy)
        made.router.add_get("/{token}/start", self.start)
        made.router.add_get("/{token}/events", self.events)
        return made

    async def index(self, request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": self.policy}
        return web.Response(text=self.page, content_type="text/html", charset="utf-8", headers=headers)

    async def list(self, request: web.Request) -> web.Response:
        return await self._answer(lambda: asyncio.to_thread(self._list))

    def _list(self) -> dict[str, Any]:
        rows = listing.listing(self.engine, all=True, damaged=[])[:LISTED]
        return {
            "containers": [
                {
                    "id": row["Id"],
                    "name": clean(row["Name"].removeprefix("/"), 100),
                    "status": row["State"]["Status"],
                    "image": clean(row["Config"]["Image"], 100),
                }
                for row in rows
            ],
            "images": [
                {"id": entry["Id"], "name": clean(", ".join(entry["RepoTags"]) or entry["Id"][7:19], 100)}
                for entry in images.listing(self.engine)[:LISTED]
            ],
        }

    async def anatomy(self, request: web.Request) -> web.Response:
        ref = self._ref(request)
        return await self._answer(lambda: self.looks.of(ref))

    async def start(self, request: web.Request) -> web.Response:
        ref = self._ref(request)
        return await self._answer(lambda: asyncio.to_thread(self._start, ref))

    def _start(self, ref: str) -> dict[str, Any]:
        record = lookup.resolve(self.engine, ref)
        done = start.read(start.path_of(self.engine, record["Id"]))
        return {"steps": [dataclasses.asdict(each) for each in done], "lines": start.lines(done)}

    def _ref(self, request: web.Request) -> str:
        ref = request.query.get("of", "")
        if not ref or len(ref) > NAME:
            raise web.HTTPBadRequest
        return ref

    async def _answer(self, work: Callable[[], Any]) -> web.Response:
        try:
            return web.json_response(await work())
        except EstivaError as error:
            return web.json_response(_told(error), status=status(error)[1])
        except OSError as error:
            return web.json_response(_told(from_os(error)), status=500)

    async def events(self, request: web.Request) -> web.StreamResponse:
        ref = self._ref(request)
        if self.streams >= STREAMS:
            return web.Response(status=503, text="too many streams\n")
        self.streams += 1
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            while True:
                try:
                    event, data = "anatomy", await self.looks.of(ref)
                except EstivaError as error:
                    event, data = "gone", _told(error)
                except OSError as error:
                    event, data = "gone", _told(from_os(error))
                text = f"event: {event}\ndata: {json.dumps(data)}\n\n"
                await asyncio.wait_for(response.write(text.encode()), STALL)
                if event == "gone":
                    return response
                await asyncio.sleep(EVERY)
        except (ConnectionError, TimeoutError):
            return response  # it has gone, or reads nothing
        finally:
            self.streams -= 1


def _told(error: EstivaError) -> dict[str, str]:
    return {"error": clean(error.message), "hint": clean(error.hint)}


def serve(engine: Engine, listen: str, ready: Callable[[str], object]) -> None:
    """Until SIGINT or SIGTERM. `ready` is called with the page's address. Raises InvalidInput, Conflict."""
    asyncio.run(_serve(engine, *address_of(listen), ready))


async def _serve(engine: Engine, host: str, port: int, ready: Callable[[str], object]) -> None:
    token = secrets.token_urlsafe(24)
    site = Site(engine, token)
    hosts: set[str] = set()
    guarded = site.application(frozenset())
    runner: web.AppRunner | None = None
    listener: asyncio.Server | None = None
    loop = asyncio.get_running_loop()
    try:
        import socket

        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            listening.close()
            raise Conflict(f"can't listen on {host}:{port}: {(error.strerror or '').lower()}") from None
        number = listening.getsockname()[1]
        shown = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        hosts = {shown, f"localhost:{number}"}
        guarded = site.application(frozenset(hosts))
        runner = web.AppRunner(guarded, access_log=None, keepalive_timeout=15.0, shutdown_timeout=1.0)
        await runner.setup()
        assert runner.server is not None
        site.guard.doors = Doors(runner.server)
        listener = await loop.create_server(site.guard.doors, sock=listening)
        ended = asyncio.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, ended.set)
        ready(f"http://{shown}/{token}/")
        await ended.wait()
    finally:
        if listener is not None:
            listener.close()
        if runner is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runner.cleanup(), 3.0)
