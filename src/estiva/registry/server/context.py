"""TODO docstring."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from estiva.registry.server.connections import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from typing import Any

    from estiva.registry.server.access import Principal
    from estiva.registry.server.auth.auth import Auth
    from estiva.registry.server.http import T
    from estiva.registry.server.metrics import Metrics
    from estiva.registry.server.mirror import Mirrors
    from estiva.registry.server.storage.storage import Storage
    from estiva.registry.server.storage.uploads import Uploads


@dataclass
class Context:
    """What the endpoints share."""

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
        """Run what blocks in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)
