"""What the endpoints of the registry server share: one object, made by the server, handed to each of them."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from estiva.registry.http import offload
from estiva.registry.server.connections import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from typing import Any, TypeVar

    from estiva.registry.server.access import Principal
    from estiva.registry.server.auth.auth import Auth
    from estiva.registry.server.metrics import Metrics
    from estiva.registry.server.mirror import Mirrors
    from estiva.registry.server.storage.storage import Storage
    from estiva.registry.server.storage.uploads import Uploads

    T = TypeVar("T")


@dataclass
class Context:
    """`pool` has the threads for what blocks; `mirrors` is None without upstreams."""

    storage: Storage
    uploads: Uploads
    pool: Executor
    metrics: Metrics
    auth: Auth
    mirrors: Mirrors | None = None
    read_only: bool = False

    def principal(self, request: web.BaseRequest) -> Principal:
        """Who asks, as the dispatcher found out."""
        return state(request).principal

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what blocks in a thread; a cancelled caller waits for its end."""
        return await offload.call(self.pool, function, *arguments)
