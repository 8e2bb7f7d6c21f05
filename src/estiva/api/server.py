"""`estiva api serve`: where it listens, who may connect, and when it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import os
import signal
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from estiva.api.app import Api
from estiva.errors import Conflict, InvalidInput, brief, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiva.engine import Engine

BACKLOG = 512
GROUP = "docker"
HEADER = 256 << 10  # bytes of a line of a request's head: logins and build arguments are long
LINGER = 2.0  # seconds that requests have to end when the server does


def serve(
    engine: Engine,
    listen: Sequence[str],
    *,
    idle: float = 0,
    ready: Callable[[str], object] = lambda address: None,
) -> None:
    """Answer until SIGTERM or SIGINT, or, with `idle`, until nobody has asked for so many seconds.

    `listen`: unix://PATH, tcp://HOST:PORT, fd:// (sd_listen_fds(3)). Raises InvalidInput, Conflict.
    """
    sockets = [made for word in listen for made in _sockets(word)]
    try:
        asyncio.run(_serve(engine, sockets, listen, idle, ready))
    finally:
        for made in sockets:
            made.close()


async def _serve(
    engine: Engine,
    sockets: list[socket.socket],
    listen: Sequence[str],
    idle: float,
    ready: Callable[[str], object],
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = Api(engine)
    runner = web.AppRunner(
        api.application(),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=LINGER,
        handler_cancellation=True,
        max_line_size=HEADER,
        max_field_size=HEADER,
    )
    await runner.setup()
    for made in sockets:
        await web.SockSite(runner, made, backlog=BACKLOG).start()
    for word in listen:
        ready(word)
    waiting: list[asyncio.Task[object]] = [asyncio.create_task(stop.wait())]
    if idle:
        waiting.append(asyncio.create_task(_idle(api, idle)))
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await runner.cleanup()
    api.work.close()


async def _idle(api: Api, seconds: float) -> None:
    """Until nobody has asked for so long."""
    while True:
        api.touched.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(api.touched.wait(), seconds)
            continue
        if not api.active:
            return


def _sockets(word: str) -> list[socket.socket]:
    kind, _, place = word.partition("://")
    if kind == "unix" and place.startswith("/"):
        return [_unix(place)]
    raise InvalidInput(
        f"can't listen on {brief(word, 100)}", hint="unix:///run/estiva/docker.sock, tcp://HOST:PORT or fd://"
    )


def _unix(path: str) -> socket.socket:
    """A socket for root and the group docker, or without that for its owner alone (K25)."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            _sweep(path)
            before = os.umask(0o177)
            try:
                made.bind(path)
            finally:
                os.umask(before)
            with contextlib.suppress(KeyError, PermissionError):
                os.chown(path, -1, grp.getgrnam(GROUP).gr_gid, follow_symlinks=False)
                os.chmod(path, 0o660)
        except OSError as error:
            raise InvalidInput(f"can't listen on {brief(path, 100)}: {reason(error)}") from None
        made.listen(BACKLOG)
        return made
    except BaseException:
        made.close()
        raise


def _sweep(path: str) -> None:
    """Remove a socket that a server which was killed has left. Raises Conflict where one listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise
            os.unlink(path)
            return
    raise Conflict(f"another server listens on {brief(path, 100)}")
