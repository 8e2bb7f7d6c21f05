"""The Python API in asyncio.

    import asyncio, estiva.aio

    async def main():
        async with estiva.aio.container("alpine", memory="256m") as box:
            async with asyncio.timeout(5):                      # kills the command, with its children
                print((await box.exec(["id"])).output)

    asyncio.run(main())

As `estiva`, name by name. What has to be waited for is awaited, what is looked up too (`await box.status`);
streams are `async for`. A task that is cancelled, or a timeout, kills its command or ends its box, and that
has gone when the cancellation goes on. Nothing waits in a thread of its own, but pulls, pushes and builds; a
pool has two.
"""

from __future__ import annotations

from estiva.sdk.aio.container import Container
from estiva.sdk.aio.containers import container, run
from estiva.sdk.aio.engine import Engine, Network, Volume
from estiva.sdk.aio.images import Image, build, pull, push
from estiva.sdk.aio.looking import anatomy
from estiva.sdk.aio.pool import Pool, pool
from estiva.sdk.aio.popen import Popen
from estiva.sdk.aio.snapshots import Snapshot
from estiva.sdk.aio.work import Work

__all__ = [
    "Container",
    "Engine",
    "Image",
    "Network",
    "Pool",
    "Popen",
    "Snapshot",
    "Volume",
    "Work",
    "anatomy",
    "build",
    "container",
    "pool",
    "pull",
    "push",
    "run",
]
