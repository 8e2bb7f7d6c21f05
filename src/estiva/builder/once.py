"""What several stages need and is made once: by whoever asks first, while the others wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key")
Made = TypeVar("Made")


class Once(Generic[Key, Made]):
    """Values by their keys. Nobody may ask for what waits for itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Key, Future[Made]] = {}

    def begun(self, key: Key) -> bool:
        """Whether somebody has asked for it."""
        return key in self._made

    def found(self, key: Key) -> Made | None:
        """The value of `key`, if it is there."""
        future = self._made.get(key)
        return future.result() if future is not None and future.done() and not future.exception() else None

    def get(self, key: Key, make: Callable[[], Made]) -> Made:
        """The value of `key`: what `make` gives or raises, the first time, and the same for all."""
        with self._lock:
            future = self._made.get(key)
            mine = future is None
            if future is None:
                future = self._made[key] = Future()
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def values(self) -> list[Made]:
        """Those that were made without an error."""
        return [each.result() for each in self._made.values() if each.done() and not each.exception()]
