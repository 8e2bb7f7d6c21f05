"""What the registry server does beside answering: idle uploads, garbage collection, and its control socket.

The control socket, ROOT/control, is how `estiva registry gc` reaches a server that runs: one line of JSON
there, {"gc": {"grace": ..., "untagged": ..., "dry_run": ...}}, and one back. Only the owner of the directory
can reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

from estiva import fastjson
from estiva.errors import Conflict, EstivaError, NotFound, StateError, Unavailable, reason
from estiva.registry.server.storage.gc import Collection
from estiva.registry.server.storage.storage import Storage
from estiva.registry.server.storage.uploads import Uploads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from estiva.registry.server.config import Config
    from estiva.registry.server.context import Context

SWEEP = 300.0  # seconds between two looks for idle uploads
CONTROL = "control"
LINE = 16 << 10
PATIENCE = 3600.0  # seconds that a collection may take before who asked for it goes


class Maintenance:
    """The tasks of one server, as an async with-block."""

    def __init__(self, context: Context, config: Config) -> None:
        self.context = context
        self.config = config
        self.collecting = asyncio.Lock()
        self.stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Maintenance:
        await self.stack.enter_async_context(self._control())
        self._every(SWEEP, self._expire, at_once=True)
        if self.config.gc.interval:
            self._every(self.config.gc.interval, self._collect, at_once=False)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stack.aclose()

    def _every(self, seconds: float, what: Callable[[], Any], *, at_once: bool) -> None:
        async def again() -> None:
            if not at_once:
                await asyncio.sleep(seconds)
            while True:
                with contextlib.suppress(EstivaError, OSError):
                    await what()
                await asyncio.sleep(seconds)

        task = asyncio.create_task(again())

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self.stack.push_async_callback(end)

    async def _expire(self) -> None:
        gone = await self.context.call(self.context.uploads.expire)
        self.context.metrics.collections["sessions"] += gone

    async def _collect(self) -> None:
        await self.collect({})

    async def collect(self, options: dict[str, Any]) -> dict[str, int]:
        """One collection at a time; what the options leave open is as configured."""
        async with self.collecting:
            collection = _collection(self.context.storage, self.config, options)
            report = await self.context.call(collection.run, self.context.uploads)
        if not collection.dry_run:
            self.context.metrics.collections.update(report.values())
        return report.values()

    @contextlib.asynccontextmanager
    async def _control(self) -> AsyncIterator[None]:
        listening = _control_socket(self.context.storage.root)
        tasks: set[asyncio.Task[None]] = set()

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                writer.write((fastjson.dumps(await self._order(reader)) + "\n").encode())
                await writer.drain()
            except (OSError, ValueError):
                pass
            finally:
                tasks.discard(task)
                writer.close()

        # Its name was below an fd that is closed now: nothing for asyncio to look up or unlink.
        leave: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        server = await asyncio.start_unix_server(client, sock=listening, limit=LINE, **leave)
        try:
            yield
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(OSError):
                os.unlink(f"{self.context.storage.root}/{CONTROL}")

    async def _order(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            async with asyncio.timeout(10):
                order = fastjson.loads(await reader.readline(), what="the order")
            if not isinstance(order, dict) or not isinstance(order.get("gc"), dict):
                return {"error": "not an order"}
            return {"report": await self.collect(order["gc"])}
        except (EstivaError, OSError, TypeError, ValueError, TimeoutError) as error:
            return {"error": str(error) or type(error).__name__}


def _collection(storage: Storage, config: Config, options: dict[str, Any]) -> Collection:
    return Collection(
        storage,
        grace=float(options.get("grace", config.gc.grace)),
        untagged=bool(options.get("untagged", config.gc.untagged)),
        keep=config.keep,
        dry_run=bool(options.get("dry_run", False)),
    )


def _control_socket(root: str) -> socket.socket:
    """Bound below the directory's fd, as a path of more than 107 bytes can't be bound."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(CONTROL, dir_fd=fd)
        made.bind(f"/proc/self/fd/{fd}/{CONTROL}")
        os.chmod(CONTROL, 0o600, dir_fd=fd)
    except OSError as error:
        made.close()
        raise StateError(f"can't make {root}/{CONTROL}: {reason(error)}") from None
    finally:
        os.close(fd)
    return made


def collect_now(config: Config, options: dict[str, Any]) -> dict[str, int]:
    """A collection in `config.root`: by the server that runs there, or here if none does.

    Raises NotFound if there is no registry, Unavailable if its server does not answer.
    """
    if not os.path.exists(f"{config.root}/registry.db"):
        raise NotFound(f"no registry in {config.root}")
    try:
        storage = Storage(config.root, config.storage)
    except Conflict:
        return _ask_server(config.root, options)
    try:
        return _collection(storage, config, options).run(Uploads(storage)).values()
    finally:
        storage.close()


def _ask_server(root: str, options: dict[str, Any]) -> dict[str, int]:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as talk:
            talk.settimeout(PATIENCE)
            talk.connect(f"/proc/self/fd/{fd}/{CONTROL}")
            talk.sendall((fastjson.dumps({"gc": options}) + "\n").encode())
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < LINE:
                got = talk.recv(LINE)
                if not got:
                    break
                answer += got
    except OSError as error:
        raise Unavailable(f"the registry that serves {root} does not answer: {reason(error)}") from None
    finally:
        os.close(fd)
    value = fastjson.loads(answer, what="the registry's answer")
    if not isinstance(value, dict) or "report" not in value:
        why = value.get("error", "") if isinstance(value, dict) else ""
        raise Unavailable(f"the registry that serves {root} could not collect: {why}")
    report: dict[str, int] = value["report"]
    return report
