"""`estiva api serve`: from sockets to the end of a server that nobody uses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from estiva.api.app import Api
from estiva.api.listening import connections, handling, sockets
from estiva.engine.launch import spawner
from estiva.errors import EstivaError, brief

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from estiva.api.listening.sockets import Listener, Tls
    from estiva.engine import Engine

HEADER = 256 << 10  # bytes of a line of a request's head: logins and build arguments are long
LINGER = 2.0  # seconds that requests have to end when the server does


def serve(
    engine: Engine,
    listen: Sequence[str],
    *,
    tls: Tls | None = None,
    insecure: bool = False,
    idle: float = 0,
    reaper: bool = True,
    ready: Callable[[Listener], object] = lambda listener: None,
) -> None:
    """Answer until SIGTERM or SIGINT, or, with `idle`, until nobody has asked for so many seconds.

    `listen`: unix://PATH, tcp://HOST:PORT, fd://; see listening/sockets.py. `reaper`: whether there is one
    of our own for clients of testcontainers. `ready` is told of each once
    clients can connect. Raises InvalidInput, Conflict, Unavailable.
    """
    made: list[Listener] = []
    try:
        for word in listen:
            made += sockets.listeners(word, tls, insecure, engine.paths.run_root)
        spawner.files = connections.lift()
        engine.share_heap()
        asyncio.run(_serve(Api(engine, reaper), made, idle, ready))
    finally:
        for one in made:
            one.close()


async def _serve(
    api: Api, listeners: list[Listener], idle: float, ready: Callable[[Listener], object]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(_unforeseen)
    runner = web.AppRunner(
        api.application(),
        access_log=None,
        logger=_log(),
        handle_signals=False,
        keepalive_timeout=connections.PATIENCE,
        max_line_size=HEADER,
        max_field_size=HEADER,
        shutdown_timeout=LINGER,
        handler_cancellation=True,
    )
    await runner.setup()
    assert runner.server is not None
    handlers = handling.handlers(runner.server, loop)
    door = connections.Door(runner.server, connections.most(), tell, handlers)
    for listener in listeners:
        for one in listener.sockets:
            door.open(one, listener.tls)
        ready(listener)
    notify("READY=1")
    waiting: list[asyncio.Task[object]] = [asyncio.create_task(stop.wait())]
    renewing = asyncio.create_task(_renew(api, listeners))
    if idle:
        waiting.append(asyncio.create_task(_idle(api, idle)))
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    for task in (*waiting, renewing):
        task.cancel()
    door.close()  # first: who comes from now on waits for the next server, where systemd has the socket
    await runner.cleanup()
    api.work.close()


async def _renew(api: Api, listeners: list[Listener]) -> None:
    """Containers that were given the socket of the server before this one get ours."""
    from estiva.engine.mounts import renewed

    for one in (one for listener in listeners for one in listener.sockets if one.family == socket.AF_UNIX):
        try:
            await api.work.do(renewed.socket, api.engine, os.fsdecode(one.getsockname()))
        except (EstivaError, OSError) as error:
            tell(f"containers that have mounted the socket of the last server keep that one: {error}")


async def _idle(api: Api, seconds: float) -> None:
    """Until nobody has asked for so long."""
    while True:
        api.touched.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(api.touched.wait(), seconds)
            continue
        if not api.active:
            return


def notify(state: str) -> None:
    """Tell systemd, if it has started us: sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


# ---- what went wrong


class _Line(logging.Handler):
    """A line on stderr for what the HTTP library tells, but for requests that are none, whose senders hear of
    it, and for clients that have gone."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, (HttpProcessingError, RequestPayloadError, ConnectionError)):
            tell(f"{record.getMessage()}{f': {type(error).__name__}: {error}' if error else ''}")


def _log() -> logging.Logger:
    made = logging.Logger("estiva.api", logging.WARNING)
    made.addHandler(_Line())
    return made


def _unforeseen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    tell(f"{context.get('message')}{f': {type(error).__name__}: {error}' if error else ''}")


def tell(text: str) -> None:
    """A line on stderr."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"estiva api: {brief(text)}\n")
        sys.stderr.flush()
