"""The engine, as a Python program has it: its collections, and what happens in it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from estiva import engine as plain
from estiva.sdk import values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from estiva.sdk.collections.containers import Containers
    from estiva.sdk.collections.images import Images
    from estiva.sdk.collections.networks import Networks
    from estiva.sdk.collections.registry import Registry
    from estiva.sdk.collections.system import System
    from estiva.sdk.collections.volumes import Volumes
    from estiva.sdk.objects.shown import Event
    from estiva.sdk.sandbox.snapshots import Snapshots

    Moment = float | str | datetime


class Engine(plain.Engine):
    """All that there is below one state root with its run root: see estiva.paths.

        engine = estiva.Engine()
        for box in engine.containers.list(all=True):
            print(box.name, box.status, box.image)

    Without roots those of ESTIVA_ROOT and ESTIVA_RUN_ROOT, or the default ones, as for the command line: both
    see the same. Cheap to make, no connection to anything; safe to share between threads, and to hand to a
    fork or another process. Raises Denied for a root that others than its user could change, InvalidInput for
    what is no path.
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, run_root: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(root, run_root)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.paths.root, self.paths.run_root)

    def __repr__(self) -> str:
        return f"estiva.Engine({self.paths.root!r}, {self.paths.run_root!r})"

    @property
    def containers(self) -> Containers:
        """create, run, get, list, prune."""
        from estiva.sdk.collections.containers import Containers

        return Containers(self)

    @property
    def images(self) -> Images:
        """pull, push, build, get, list, tag, remove, save, load, prune."""
        from estiva.sdk.collections.images import Images

        return Images(self)

    @property
    def volumes(self) -> Volumes:
        """create, get, list, prune."""
        from estiva.sdk.collections.volumes import Volumes

        return Volumes(self)

    @property
    def networks(self) -> Networks:
        """create, get, list, prune."""
        from estiva.sdk.collections.networks import Networks

        return Networks(self)

    @property
    def snapshots(self) -> Snapshots:
        """list, get. `box.snapshot` makes them."""
        from estiva.sdk.sandbox.snapshots import Snapshots

        return Snapshots(self)

    @property
    def registry(self) -> Registry:
        """login, logout, search, tags, referrers."""
        from estiva.sdk.collections.registry import Registry

        return Registry(self)

    @property
    def system(self) -> System:
        """info, version, df, prune, check, resume."""
        from estiva.sdk.collections.system import System

        return System(self)

    def events(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """What happens from now, or `since`, on, to the end of time or `until`.

            for event in engine.events(filters={"type": "container", "event": "die"}):
                print(event.name, event.attributes["exitCode"])

        Nothing is missed between this call and the first look. Times are seconds since the epoch, datetimes,
        or "10m" (before now); with `until` alone, all that is known up to then. Filters are Docker's.
        """
        from estiva.sdk import steps
        from estiva.sdk.collections import events

        return steps.items(
            events.events(
                self, values.moment("since", since), values.moment("until", until), values.filters(filters)
            )
        )


_lock = threading.RLock()  # a signal's handler may come between
_engine: Engine | None = None


def _in_a_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread may have held it


os.register_at_fork(after_in_child=_in_a_fork)


def default_engine() -> Engine:
    """The engine over ESTIVA_ROOT and ESTIVA_RUN_ROOT, made once."""
    global _engine
    if _engine is not None:
        return _engine
    with _lock:
        made = Engine()
        if _engine is None:
            _engine = made
        return _engine


def chosen(engine: Any) -> plain.Engine:
    """The engine that a caller gave, or the default one. Raises InvalidInput."""
    values.engine(engine)
    return engine or default_engine()
