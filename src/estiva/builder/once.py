"""What several threads need and is made once: by whoever asks first, while the others wait for it."""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, TypeVar, cast

    Key = TypeVar("Key")
    Made = TypeVar("Made")
else:
    Key = Made = None

    class Generic:
        __class_getitem__ = classmethod(lambda cls, parameters: cls)

    def cast(type, value):
        return value


class Promise(Generic[Made]):
    """A value to come, or the error in its place. (concurrent.futures takes 12 ms to import, threading 1.)"""

    def __init__(self) -> None:
        self.done = False
        self._value: Made | None = None
        self._error: BaseException | None = None
        self._coming = allocate_lock()  # held until it is there
        self._coming.acquire()

    @property
    def failed(self) -> bool:
        return self._error is not None

    def keep(self, value: Made) -> None:
        self._value = value
        self._settle()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._settle()

    def _settle(self) -> None:
        self.done = True
        self._coming.release()

    def wait(self, seconds: float) -> bool:
        """Whether it is there, perhaps after so long."""
        if not self.done and self._coming.acquire(timeout=seconds):
            self._coming.release()
        return self.done

    def result(self) -> Made:
        """The value, as soon as it is there. Raises the error."""
        if not self.done:
            with self._coming:
                pass
        if self._error is not None:
            raise self._error
        return cast("Made", self._value)


class Once(Generic[Key, Made]):
    """Values by their keys. Nobody may ask for what waits for itself."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._made: dict[Key, Promise[Made]] = {}

    def begun(self, key: Key) -> bool:
        """Whether somebody has asked for it."""
        return key in self._made

    def found(self, key: Key) -> Made | None:
        """The value of `key`, if it is there."""
        promise = self._made.get(key)
        return promise.result() if promise is not None and promise.done and not promise.failed else None

    def get(self, key: Key, make: Callable[[], Made]) -> Made:
        """The value of `key`: what `make` gives or raises, the first time, and the same for all."""
        with self._lock:
            promise = self._made.get(key)
            mine = promise is None
            if promise is None:
                promise = self._made[key] = Promise()
        if mine:
            try:
                promise.keep(make())
            except BaseException as error:
                promise.fail(error)
                raise
        return promise.result()

    def values(self) -> list[Made]:
        """Those that were made without an error."""
        return [each.result() for each in self._made.values() if each.done and not each.failed]
