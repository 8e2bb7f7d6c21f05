"""The packers of one build: they make layers of what steps have written, while the next steps run."""

from __future__ import annotations

import os
from _thread import allocate_lock

from estiva.builder import threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from estiva.builder.steps.written import Written


class Packing:
    """As many at once as there are processors, begun in the order in which they were added.

    `failed` is told what went wrong, of the first at least.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self.failed = failed
        self.most = max(2, os.cpu_count() or 1)
        self.waiting: list[Written] = []
        self.threads: list[threading.Thread] = []
        self.idle = 0
        self.closed = False
        self._lock = allocate_lock()
        self._changed: threading.Condition | None = None  # with the first: a cached build needs none

    @property
    def changed(self) -> threading.Condition:
        with self._lock:
            if self._changed is None:
                import threading

                self._changed = threading.Condition()
            return self._changed

    def add(self, written: Written) -> None:
        with self.changed:
            self.waiting.append(written)
            if self.idle < len(self.waiting) and len(self.threads) < self.most:
                self.threads.append(threads.start(self._work, "estiva-pack"))
            self.changed.notify()

    def close(self, cancelled: BaseException | None = None) -> None:
        """Wait for all; with `cancelled` only for what has begun."""
        if self._changed is None:
            return
        with self.changed:
            self.closed = True
            while cancelled is not None and self.waiting:
                self.waiting.pop(0).cancel(cancelled)
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
            return self.waiting.pop(0) if self.waiting else None
