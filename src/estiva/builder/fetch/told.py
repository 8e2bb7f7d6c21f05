"""How far something is that a build fetches, told while it comes."""

from __future__ import annotations

import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PACE = 0.1  # seconds between two events
_GOT = re.compile(rb"Receiving objects: +\d+% \(\d+/\d+\), ([0-9.]{1,20}) (bytes|KiB|MiB|GiB)")
_UNITS = {b"bytes": 1, b"KiB": 1 << 10, b"MiB": 1 << 20, b"GiB": 1 << 30}


class Told:
    """`with` it something is fetched; it is called with the bytes that have come and those of all, 0 where
    nobody knows. `tell` gets events: {"fetch": its `name`, "kind": "git" or "http", "status": "running" |
    "done" | "error" (with "error", the message) | "canceled", "current", "total", "seconds"}.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None], kind: str, name: str) -> None:
        self.tell = tell
        self.event: dict[str, Any] = {"fetch": name, "kind": kind, "current": 0, "total": 0}
        self.began = self.last = time.monotonic()

    def __call__(self, current: int, total: int) -> None:
        self.event |= {"current": current, "total": total}
        now = time.monotonic()
        if now >= self.last + PACE:
            self.last = now
            self._say("running")

    def heard(self, said: bytes) -> None:
        """What git has said of its progress (git-fetch, --progress): bytes that have come of one pack."""
        if got := _GOT.findall(said[-1000:].replace(b"\r", b"\n")):
            number, unit = got[-1]
            try:
                self(int(float(number) * _UNITS[unit]), 0)
            except ValueError:
                pass

    def __enter__(self) -> Told:
        self._say("running")
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._say("done")
        elif isinstance(error, Exception):
            self._say("error", error=str(error))
        else:
            self._say("canceled")

    def _say(self, status: str, **more: Any) -> None:
        self.tell({**self.event, "status": status, "seconds": time.monotonic() - self.began, **more})
