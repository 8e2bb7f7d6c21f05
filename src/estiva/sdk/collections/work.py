"""Work that takes its time, as an iterator of its progress."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from estiva.errors import EstivaError
from estiva.sdk.objects.shown import Progress
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    Heard = Callable[[Progress], object]
    Look = Callable[[], object]

R = TypeVar("R")
AHEAD = 1000  # steps that nobody has looked at yet; then the work waits


class Cancelled(EstivaError):
    """The iterator was closed before the end."""


class Work(Iterator[Progress], Generic[R]):
    """A pull or a build that goes on while its progress is read, each Progress once.

        with engine.images.pulling("alpine") as work:
            for step in work: print(step.id, step.current, step.total)
        image = work.result()

    What went wrong is raised by the iteration, or by `result`. `close`, or the end of a with-block, ends it
    before its time: a build at once, a pull at its next piece. It is done by a thread of its own.
    """

    def __init__(
        self, function: Callable[[Heard, Look], R], wake: Callable[[], object] = lambda: None
    ) -> None:
        self._wake = wake  # called when a step, or the end, has come
        self._steps: queue.Queue[Progress | None] = queue.Queue(AHEAD)
        self._closed = False
        self._over = False
        self._error: BaseException | None = None
        self._result: list[R] = []
        self._thread = threading.Thread(target=self._work, args=(function,), daemon=True)
        self._thread.start()

    def _work(self, function: Callable[[Heard, Look], R]) -> None:
        try:
            self._result.append(told(function)(self._hear, self._look))
        except BaseException as error:
            self._error = error
        self._put(None)

    def _hear(self, step: Progress) -> None:
        self._put(step)
        self._look()

    def _look(self) -> None:
        if self._closed:
            raise Cancelled("the work was ended by who read its progress")

    def _put(self, step: Progress | None) -> object:
        while not self._closed:
            try:
                self._steps.put(step, timeout=0.1)
                return self._wake()
            except queue.Full:
                continue
        return self._wake()

    def ready(self) -> bool:
        """Whether the next step, or the end, need not be waited for."""
        return self._over or self._closed or not self._steps.empty()

    def alive(self) -> bool:
        """Whether it is still at it."""
        return self._thread.is_alive()

    def leave(self) -> None:
        """Have it end, without waiting for that."""
        self._closed = True

    def __next__(self) -> Progress:
        step = None if self._over or self._closed else self._steps.get()
        if step is not None:
            return step
        if not self._over:
            self._over = True
            self._thread.join()
            self._raise()
        raise StopIteration

    @told
    def _raise(self) -> None:
        if self._error is not None and not isinstance(self._error, Cancelled):
            raise self._error

    def result(self) -> R:
        """Do the rest, and give what it has made. Raises what went wrong."""
        for _ in self:
            pass
        self._raise()
        if not self._result:
            raise Cancelled("the work was ended before its time")
        return self._result[0]

    def close(self) -> None:
        """End it, and wait for that. Fine if it has ended."""
        self._closed = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._closed = True
