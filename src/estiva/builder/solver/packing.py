"""The packers of one build: they make layers of what steps have written, while the next steps run."""

from __future__ import annotations

import os
import threading
from collections import deque

from estiva.builder.steps.written import Written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Packing:
    """As many at once as there are processors, begun in the order in which they were added.

    `failed` is told what went wrong, of the first at least.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self.failed = failed
        self.most = max(2, os.cpu_count() or 1)
        self.waiting: deque[Written] = deque()
        self.threads: list[threading.Thread] = []
        self.idle = 0
        self.closed = False
        self.changed = threading.Condition()

    def add(self, written: Written) -> None:
        with self.changed:
            self.waiting.append(written)
            if self.idle < len(self.waiting) and len(self.threads) < self.most:
                self.threads.append(threading.Thread(target=self._work, name="estiva-pack"))
                self.threads[-1].start()
            self.changed.notify()

    def close(self, cancelled: BaseException | None = None) -> None:
        """Wait for all; with `cancelled` only for what has begun."""
        with self.changed:
            self.closed = True
            while cancelled is not None and self.waiting:
                self.waiting.popleft().cancel(cancelled)
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()

    def _work(self) -> None:
        while (written := self._next()) is not None:
            try:
                written.pack()
            except BaseException as error:
                self.failed(error)

    def _next(self) -> Written | None:
        with self.changed:
            self.idle += 1
            while not self.waiting and not self.closed:
                self.changed.wait()
            self.idle -= 1
            return self.waiting.popleft() if self.waiting else None
