"""The builder's end of the live view (screen.py): starts its process, sends it the events, waits for it."""

from __future__ import annotations

import os
import sys

from estiva.cli.build.progress import screen
from estiva.cli.build.progress.plain import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from estiva.cli.build.progress.steps import Pull, Step

PLAIN = (str, int, float, bytes, bool, type(None))  # what an event that is sent is made of


class Live:
    """To be made before there are threads or locks of ours, which a fork would take along. Should its process
    be killed, the rest is told as lines.
    """

    def __init__(self, stream: TextIO, title: str, colours: bool) -> None:
        self.rest = Plain(stream, False)
        unicode = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
        sys.stdout.flush()
        stream.flush()
        fd = stream.fileno()
        reader, self.writer = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(self.writer)
                screen.serve(reader, fd, title, colours, unicode, parent)
            finally:
                os._exit(0)
        os.close(reader)

    def show(self, event: dict[str, Any], about: Step | Pull | None, lines: list[str], now: float) -> None:
        if self.writer < 0 or not self._send(event):
            self.rest.show(event, about, lines, now)

    def close(self, end: str, left: list[Step], now: float) -> None:
        """Have it draw the last frame, and wait for that."""
        if self.writer < 0:
            self.rest.close(end, left, now)
            return
        if self._send({"end": end}):
            self._gone()

    def _send(self, event: dict[str, Any]) -> bool:
        """Whether it is there still to take it."""
        kept = {key: value for key, value in event.items() if isinstance(value, PLAIN)}
        data = memoryview(screen.packed(kept))
        try:
            while data:
                data = data[os.write(self.writer, data) :]
        except BrokenPipeError:
            self._gone()
            return False
        return True

    def _gone(self) -> None:
        os.close(self.writer)
        self.writer = -1
        os.waitpid(self.pid, 0)
