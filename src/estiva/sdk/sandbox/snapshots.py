"""Snapshots of containers, as a Python program has them."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

from estiva.engine.containers.snapshots import snapshot
from estiva.sdk import values
from estiva.sdk.told import told

if TYPE_CHECKING:
    import builtins

    from estiva.engine import Engine


class Snapshot:
    """What a container had written at one moment, over its image: it never changes. `id`; `name`, "" without
    one; `image`, the id of that; `created`, in seconds since 1970.

        with estiva.container(snapshot) as box: ...      # any number of them, at once

    One without a name is there as long as this object is, and as containers and snapshots stand on it.
    """

    def __init__(self, engine: Engine, state: Any, made: snapshot.Made | None = None) -> None:
        self.engine = engine
        self.id: str = state.id
        self.name: str = state.name
        self.image: str = state.image
        self.created: float = state.created
        if made is not None:
            weakref.finalize(self, _release, made, os.getpid())

    @property
    def _begins(self) -> str:  # what a container's image is told by: sdk/running.py
        return self.id

    def __repr__(self) -> str:
        return f"<estiva.Snapshot {self.name or self.id[:12]}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    @told
    def size(self) -> int:
        """Bytes on the disk of what it holds itself, without what it stands on."""
        return snapshot.size(self.engine, snapshot.resolve(self.engine, self.id))

    @told
    def inspect(self) -> dict[str, Any]:
        """All that is known of it. Raises NotFound."""
        return snapshot.inspect(self.engine, self.id)

    @told
    def remove(self) -> None:
        """Take its name away; its files go with the last container and snapshot that stands on it. Raises
        NotFound."""
        snapshot.remove(self.engine, self.id)


def _release(made: snapshot.Made, owner: int) -> None:
    if os.getpid() != owner:
        return
    made.release()
    try:
        snapshot.collect(made.engine)
    except Exception:  # noqa: S110  at the end of an object, or of Python: the next sweep finds it
        pass


class Snapshots:
    """Snapshots of an engine: `estiva.Engine().snapshots`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @told
    def list(self) -> builtins.list[Snapshot]:
        """Those that have a name, newest first."""
        return [Snapshot(self.engine, state) for state in snapshot.listing(self.engine)]

    @told
    def get(self, name: str) -> Snapshot:
        """One by its name, its id or 12 digits of that. Raises NotFound."""
        return Snapshot(self.engine, snapshot.resolve(self.engine, values.name("snapshot", name)))
