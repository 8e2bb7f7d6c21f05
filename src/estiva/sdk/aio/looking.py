"""Looking at what is there, in asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from estiva.sdk import looking as plain
from estiva.sdk.aio.loop import call

if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.view.shapes import Anatomy


async def anatomy(name: str, *, engine: Engine | None = None) -> Anatomy:
    """What a container, or else an image, is made of, by name or id: see `estiva.anatomy`.

    body = await estiva.aio.anatomy("web")
    """
    return await call(partial(plain.anatomy, name, engine=engine))
