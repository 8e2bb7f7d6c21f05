"""Progress events, thinned: every change of status, but of bytes ten a second for each blob."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Callback = Callable[[dict[str, Any]], object]

INTERVAL = 0.1  # seconds


class Progress:
    """Turns `say` into calls of `callback` with {"id", "status", "current", "total", "message"}."""

    def __init__(self, callback: Callback | None) -> None:
        self.callback = callback
        self.last: dict[str, tuple[str, float]] = {}

    def say(self, digest: str, status: str, current: int = 0, total: int = 0, message: str = "") -> None:
        """Tell the state of one blob; `current` and `total` are bytes."""
        if self.callback is None:
            return
        now = time.monotonic()
        known, when = self.last.get(digest, ("", 0.0))
        if status == known and now - when < INTERVAL and not message:
            return
        self.last[digest] = (status, now)
        self.callback(
            {
                "id": digest.partition(":")[2][:12],
                "status": status,
                "current": current,
                "total": total,
                "message": message,
            }
        )
