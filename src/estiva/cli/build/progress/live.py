"""The builder's end of the live view (screen.py): starts its process, sends it the events, waits for it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

from estiva import held
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
        self.writer, self.pid, self.queue, self.stuck = -1, 0, b"", False
        parent = os.getpid()
        try:
            reader, self.writer = os.pipe()
            self.pid = os.fork()
        except OSError:  # no more processes or files: what is left is told as lines
            if self.writer >= 0:
                os.close(reader)
                os.close(self.writer)
                self.writer = -1
            return
        if not self.pid:
            try:
                os.close(self.writer)
                screen.serve(reader, fd, title, colours, unicode, parent)
            finally:
                os._exit(0)
        os.close(reader)
        os.set_blocking(self.writer, False)

    def show(self, event: dict[str, Any], about: Step | Pull | None, lines: list[str], now: float) -> None:
        if self.writer < 0 or not self._send(event):
            self.rest.show(event, about, lines, now)

    def close(self, end: str, left: list[Step], now: float) -> None:
        """Have it draw the last frame, and wait for that."""
        if self.writer < 0:
            self.rest.close(end, left, now)
        elif self._send({"end": end}):
            if self.queue:
                os.kill(self.pid, signal.SIGKILL)
            self._gone()

    def _send(self, event: dict[str, Any]) -> bool:
        """Whether it is there still to take it. Once somebody did not want to wait for that any more, what it
        does not take at once is not sent."""
        kept = {key: value for key, value in event.items() if isinstance(value, PLAIN)}
        self.queue += screen.packed(kept)
        poll = select.poll()
        poll.register(self.writer, select.POLLOUT)
        try:
            while self.queue and (not self.stuck or poll.poll(0)):
                self._wait(poll)
                with held.Signals() as signals:
                    signals.hold()  # half an event is followed by its other half
                    with contextlib.suppress(BlockingIOError):
                        self.queue = self.queue[os.write(self.writer, self.queue) :]
        except BrokenPipeError:
            self._gone()
            return False
        return True

    def _wait(self, poll: select.poll) -> None:
        """Until it takes something, which is never if it is stopped, or its terminal is."""
        try:
            poll.poll()
        except BaseException:
            self.stuck = True
            raise

    def _gone(self) -> None:
        os.close(self.writer)
        self.writer = -1
        os.waitpid(self.pid, 0)
