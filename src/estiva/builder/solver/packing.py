"""The packers of one build: they make layers of what steps have written, while the next steps run."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from estiva.builder.steps.written import Written


class Packing:
    """As many at once as there are processors, begun in the order in which they were added.

    `failed` is told what went wrong, of the first at least.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self.failed = failed
        self.pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "estiva-pack")
        self.waiting: dict[Future[None], Written] = {}

    def add(self, written: Written) -> None:
        future = self.pool.submit(self._pack, written)
        self.waiting[future] = written

    def close(self, cancelled: BaseException | None = None) -> None:
        """Wait for all; with `cancelled` only for what has begun."""
        if cancelled is not None:
            for future, written in self.waiting.items():
                if future.cancel():
                    written.cancel(cancelled)
        self.pool.shutdown()

    def _pack(self, written: Written) -> None:
        try:
            written.pack()
        except BaseException as error:
            self.failed(error)
