"""A container for the length of a with-block: what `estiva.container`, `box.fork` and pools give."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from estiva.errors import Conflict
from estiva.sdk.begun import Begun
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine import Engine
    from estiva.engine.launch.start import Start
    from estiva.sdk.sandbox.snapshots import Snapshot


class Ending(Protocol):
    """What is told that the block which it was begun for is over."""

    begun: Begun | None

    def _ended(self) -> None: ...


C = TypeVar("C", bound=Ending)


class Owned(Generic[C]):
    """One that is as `config` says. `make` makes the object of an id, `wanted` are options of
    create.prepare."""

    def __init__(
        self,
        engine: Engine,
        make: Callable[[Engine, str], C],
        config: dict[str, Any],
        host_config: dict[str, Any],
        wanted: dict[str, Any],
    ) -> None:
        self.engine = engine
        self._make = make
        self.begun = Begun(self.engine, config, host_config, lingers=True, **wanted)
        self._box: C | None = None
        self.state: Snapshot | None = None  # that it begins with, if nobody else has it
        self._entered = threading.Lock()  # held while it is

    @told
    def __enter__(self) -> C:
        self.enter()
        try:
            return self._begin()
        except BaseException:
            self.__exit__()
            raise

    def _begin(self) -> C:
        start = self.begun.__enter__()
        start.started()
        return self.made(start)

    @told
    def __exit__(self, *exception: object) -> None:
        try:
            self.begun.close()
        finally:
            self.left()

    def enter(self) -> None:
        """Raises Conflict."""
        if not self._entered.acquire(blocking=False):
            raise Conflict(
                "this estiva.container has been entered already", hint="make one for each with-block"
            )

    def made(self, start: Start) -> C:
        """What it is the block of, from now on."""
        self._box = self._make(self.engine, start.id)
        self._box.begun = self.begun
        return self._box

    def left(self) -> None:
        """At its end."""
        box, self._box = self._box, None
        if box is not None:
            box._ended()
        if self._entered.locked():
            self._entered.release()
