"""The live view's own process: reads events from a pipe, and draws ten times a second on the terminal.

A process of its own, so that clocks run while the builder computes, the builder stays without a thread of
its own for it (namespaces are made in processes with one), and whatever becomes of the builder, the terminal
is left as it was: the cursor is never hidden, and what has been drawn stays.

Events are marshalled, each after its length in four bytes; the last is {"end": how}.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import time

from estiva.cli.build.progress import frame
from estiva.cli.build.progress.steps import Step, Steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INTERVAL = 0.1  # seconds between two frames
CHUNK = 1 << 18  # bytes
SIZE = (80, 24)  # of a terminal that does not say


class Screen:
    """Draws on `fd`, the last frame over the one before."""

    def __init__(self, fd: int, title: str, colours: bool, unicode: bool, now: float) -> None:
        self.fd = fd
        self.title = title
        self.colours = colours
        self.marks = frame.MARKS if unicode else frame.ASCII
        self.steps = Steps(now)
        self.widths: list[int] = []  # of the lines that have been drawn last

    def take(self, event: dict[str, Any], now: float) -> None:
        about = self.steps.take(event, now)
        if isinstance(about, Step) and event["status"] == "output":
            about.lines.feed(event["data"])

    def draw(self, now: float, end: str = "") -> None:
        """The frame of this moment; the last one, at the `end`, with all that there is."""
        from rich.cells import cell_len

        width, height = _size(self.fd)
        found = frame.rows(self.steps, self.title, now, height, self.marks, end)
        lines = [frame.painted(row, max(width - 1, 1), self.colours) for row in found]
        text = self.over(width) + "".join(f"{line}\x1b[K\r\n" for line in lines)
        self.widths = [cell_len(frame.painted(row, max(width - 1, 1), False)) for row in found]
        _write(self.fd, text.encode("utf-8", "replace") if self.marks is frame.MARKS else _ascii(text))

    def over(self, width: int) -> str:
        """What brings the cursor to the begin of the last frame: a terminal that has become narrower since
        has broken its lines into several."""
        up = sum(max(1, -(-drawn // width)) for drawn in self.widths)
        return (f"\x1b[{up}A" if up else "") + "\r\x1b[J"

    def forget(self) -> None:
        """Something else has been written: the next frame stands below it."""
        self.widths = []


def serve(reader: int, fd: int, title: str, colours: bool, unicode: bool, parent: int) -> None:
    """Draw until the event that says so, the pipe's end or that of the process `parent`."""
    screen = Screen(fd, title, colours, unicode, time.monotonic())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the builder's business: it tells how it ends
    signal.signal(signal.SIGCONT, lambda number, stack: screen.forget())
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    drawn, pending, end = 0.0, b"", ""
    while not end:
        data: bytes | None = None  # nobody may write any more, or others have that end of the pipe still
        if poll.poll(max(0.0, drawn + INTERVAL - time.monotonic()) * 1000):
            data = os.read(reader, CHUNK)
        if not data and (data is not None or os.getppid() != parent):
            return  # the builder was killed: what it has drawn stays, and the shell has the terminal by now
        events, pending = _events(pending + (data or b""))
        now = time.monotonic()
        for event in events:
            end = str(event.get("end", end))
            screen.take(event, now)
        if end:
            screen.steps.cancel(now)
        if end or now - drawn >= INTERVAL:
            screen.draw(now, end)
            drawn = now


def packed(event: dict[str, Any]) -> bytes:
    data = marshal.dumps(event)
    return len(data).to_bytes(4) + data


def _events(data: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """The events that have come whole, and the rest."""
    found: list[dict[str, Any]] = []
    place = 0
    while len(data) - place >= 4:
        end = place + 4 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            break
        found.append(marshal.loads(data[place + 4 : end]))
        place = end
    return found, data[place:]


def _size(fd: int) -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(fd)
    except OSError:
        return SIZE
    return columns or SIZE[0], lines or SIZE[1]


def _ascii(text: str) -> bytes:
    return text.replace("…", "~").encode("ascii", "replace")


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
