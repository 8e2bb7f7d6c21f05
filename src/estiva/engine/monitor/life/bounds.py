"""How long a run may take, and how much it may say: HostConfig.TimeLimit and OutputLimit. Loaded only where
there is one."""

from __future__ import annotations

import time
from _signal import SIGKILL

from estiva.engine.state.life.certificate import OUTPUT, TIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine.state.types import Limits


class Bounds:
    """Of one process, from now on; its time from `begin` on, if it was made ahead. `kill` is called with
    SIGKILL and the limit that it has reached."""

    def __init__(self, limits: Limits, kill: Callable[[int, str], object]) -> None:
        self.kill = kill
        self.span = limits.get("time", 0) / 1e9
        self.deadline = 0.0  # 0: none
        if not limits.get("ahead"):
            self.begin()
        self.left = limits.get("output", 0) or -1  # bytes; -1: any number
        self.over = False  # it has said more

    def begin(self) -> None:
        """Its time begins now, once."""
        if self.span:
            self.deadline = time.monotonic() + self.span
            self.span = 0.0

    def sooner(self, pause: int) -> int:
        """Of a poll(2), no longer than there is time: milliseconds, -1 for any."""
        if not self.deadline:
            return pause
        left = max(0, int((self.deadline - time.monotonic()) * 1000) + 1)
        return left if pause < 0 else min(pause, left)

    def due(self) -> bool:
        """Whether its time is over just now: then it has been killed."""
        if not self.deadline or time.monotonic() < self.deadline:
            return False
        self.deadline = 0.0
        self.kill(SIGKILL, TIME)
        return True

    def cut(self, data: bytes) -> bytes:
        """As much of its output as it may have; one that says more is killed."""
        if self.left < 0:
            return data
        kept = data[: self.left]
        self.left -= len(kept)
        if len(kept) < len(data) and not self.over:
            self.over = True
            self.kill(SIGKILL, OUTPUT)
        return kept
