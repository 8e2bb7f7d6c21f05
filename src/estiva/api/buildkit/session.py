"""What a client offers for the time of its build (POST /session): we call, it answers.

Calls go over the server's loop; threads of a build `wait` for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from estiva.api.buildkit.http2 import Call, Connection
from estiva.api.buildkit.rpc import UNAVAILABLE, RpcError
from estiva.errors import Unavailable, oneline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable

    from estiva.api.buildkit.wire import Schema

T = TypeVar("T")
PATIENCE = 20.0  # seconds that a build waits for its session to come
ANSWER = 60.0  # seconds for a call that has a short answer; a helper for credentials may ask the user


class Session:
    """One client's. `shared` tells its folder from others of the same name, as buildx has it."""

    def __init__(self, connection: Connection, methods: Iterable[str], shared: str) -> None:
        self.connection = connection
        self.methods = {method.lower() for method in methods}
        self.shared = shared
        self.loop = asyncio.get_running_loop()

    def offers(self, method: str) -> bool:
        return method.lower() in self.methods

    @contextlib.asynccontextmanager
    async def stream(self, method: str, metadata: Iterable[tuple[str, str]] = ()) -> AsyncIterator[Call]:
        """A call with messages both ways; gone at the end of the block. Raises RpcError."""
        call = await self.connection.call(method, metadata)
        try:
            yield call
        finally:
            self.connection.drop(call)
            with contextlib.suppress(RpcError):
                await self.connection.flush()

    async def ask(self, method: str, request: bytes, answer: Schema) -> dict[str, Any]:
        """A call with one message each way. Raises RpcError."""
        async with self.stream(method) as call, asyncio.timeout(ANSWER):
            await call.send([request])
            await call.close()
            return answer.decode(await call.one())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """From another thread: what comes of it. Raises RpcError, Unavailable."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop).result()
        except TimeoutError:
            raise Unavailable("the client of the build does not answer") from None


class Alone(Session):
    """That of a client which has none: it offers nothing, so nothing is asked of it."""

    def __init__(self) -> None:
        self.methods = set()
        self.shared = ""
        self.loop = asyncio.get_running_loop()


class Sessions:
    """Those that are connected, by the id that the client has chosen."""

    def __init__(self) -> None:
        self._known: dict[str, Session] = {}
        self._came = asyncio.Condition()

    def there(self, name: str) -> bool:
        return name in self._known

    async def add(self, name: str, session: Session) -> None:
        async with self._came:
            self._known[name] = session
            self._came.notify_all()

    def remove(self, name: str, session: Session) -> None:
        if self._known.get(name) is session:
            del self._known[name]

    async def get(self, name: str) -> Session:
        """Raises RpcError."""
        try:
            async with asyncio.timeout(PATIENCE), self._came:
                await self._came.wait_for(lambda: name in self._known)
                return self._known[name]
        except TimeoutError:
            raise RpcError(UNAVAILABLE, f"no active session for {oneline(name)[:100]}") from None
