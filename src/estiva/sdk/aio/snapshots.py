"""Snapshots in asyncio: see sdk/sandbox/snapshots.py."""

from __future__ import annotations

from typing import Any

from estiva.sdk.aio.bridge import Around, Field, Looked, each, later
from estiva.sdk.sandbox import snapshots as plain


class Snapshot(Around[plain.Snapshot]):
    """What a container had written at one moment: see estiva.Snapshot.

    async with estiva.aio.container(snapshot) as box: ...      # any number of them, at once
    """

    id = Field[str]("id")
    name = Field[str]("name")
    image = Field[str]("image")
    created = Field[float]("created")
    size = Looked[int]("size", plain.Snapshot)

    inspect = later(plain.Snapshot.inspect)
    remove = later(plain.Snapshot.remove)


class Snapshots(Around[plain.Snapshots]):
    """Snapshots of an engine: `estiva.aio.Engine().snapshots`."""

    list = later(plain.Snapshots.list, each(Snapshot))
    get = later(plain.Snapshots.get, Snapshot)


def begins(image: Any) -> Any:
    """What the plain API takes for what a container of here begins with."""
    return image._plain if isinstance(image, Around) else image
