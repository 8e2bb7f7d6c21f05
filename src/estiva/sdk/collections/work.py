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


class Going(Generic[R]):
    """What the thread of a work has in hand, and its reader looks at. It does not know the reader, which may
    be dropped while it goes on."""

    def __init__(self, function: Callable[[Heard, Look], R], wake: Callable[[], object]) -> None:
        self.wake = wake
        self.steps: queue.Queue[Progress | None] = queue.Queue(AHEAD)
        self.left = False  # nobody reads any more: it is to end
        self.error: BaseException | None = None
        self.result: list[R] = []
        self.thread = threading.Thread(target=self._go, args=(function,), daemon=True)
        self.thread.start()

    def _go(self, function: Callable[[Heard, Look], R]) -> None:
        try:
            self.result.append(told(function)(self._hear, self._look))
        except BaseException as error:
            self.error = error
        self._put(None)

    def _hear(self, step: Progress) -> None:
        self._put(step)
        self._look()

    def _look(self) -> None:
        if self.left:
            raise Cancelled("the work was ended by who read its progress")

    def _put(self, step: Progress | None) -> object:
        while not self.left:
            try:
                self.steps.put(step, timeout=0.1)
                return self.wake()
            except queue.Full:
                continue
        return self.wake()


class Work(Iterator[Progress], Generic[R]):
    """A pull or a build that goes on while its progress is read, each Progress once.

        with engine.images.pulling("alpine") as work:
            for step in work: print(step.id, step.current, step.total)
        image = work.result()

    What went wrong is raised by the iteration, or by `result`. `close`, the end of a with-block, or dropping
    it, ends it before its time: a build at once, a pull at its next piece. It is done by a thread of its own.
    """

    def __init__(
        self, function: Callable[[Heard, Look], R], wake: Callable[[], object] = lambda: None
    ) -> None:
        self._going = Going(function, wake)  # `wake` is called when a step, or the end, has come
        self._over = False

    def ready(self) -> bool:
        """Whether the next step, or the end, need not be waited for."""
        return self._over or self._going.left or not self._going.steps.empty()

    def alive(self) -> bool:
        """Whether it is still at it."""
        return self._going.thread.is_alive()

    def leave(self) -> None:
        """Have it end, without waiting for that."""
        self._going.left = True

    def __next__(self) -> Progress:
        step = None if self._over or self._going.left else self._going.steps.get()
        if step is not None:
            return step
        if not self._over:
            self._over = True
            self._going.thread.join()
            self._raise()
        raise StopIteration

    @told
    def _raise(self) -> None:
        error = self._going.error
        if error is not None and not isinstance(error, Cancelled):
            raise error

    def result(self) -> R:
        """Do the rest, and give what it has made. Raises what went wrong."""
        for _ in self:
            pass
        self._raise()
        if not self._going.result:
            raise Cancelled("the work was ended before its time")
        return self._going.result[0]

    def close(self) -> None:
        """End it, and wait for that. Fine if it has ended."""
        self.leave()
        self._going.thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        going = getattr(self, "_going", None)
        if going is not None:
            going.left = True
