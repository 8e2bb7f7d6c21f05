"""What a container has written, line by line."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from estiva.engine.containers import logs
from estiva.engine.containers.logreader import entries
from estiva.sdk import steps, values
from estiva.sdk.objects.shown import LogLine
from estiva.sdk.steps import Wait

if TYPE_CHECKING:
    from collections.abc import Generator

    from estiva.engine import Engine
    from estiva.sdk.steps import Stream


class Lines(logs.Show):
    """Keeps the lines that are read of the streams that are wanted."""

    def __init__(self, streams: tuple[str, ...], since: float | None, until: float | None) -> None:
        super().__init__(id, id, since, until, False)
        self.streams = streams
        self.lines: deque[LogLine] = deque()

    def __call__(self, lines: bytes) -> None:
        for stream, at, text in entries(lines):
            if self.fits(at) and stream.decode() in self.streams:
                self.lines.append(LogLine(stream.decode(), text, at.decode()))


def read(
    engine: Engine,
    ref: str,
    stdout: Any,
    stderr: Any,
    since: Any,
    until: Any,
    tail: Any,
    follow: Any,
) -> Stream[LogLine]:
    """See Container.logs, in steps. What is wrong is told at once, not with the first line."""
    wanted = {"stdout": values.flag("stdout", stdout), "stderr": values.flag("stderr", stderr)}
    streams = tuple(name for name, chosen in wanted.items() if chosen)
    show = Lines(streams, values.moment("since", since), values.moment("until", until))
    count = None if tail in ("all", None) else values.whole("tail", tail)
    task = logs.reading(engine, ref, show, follow=values.flag("follow", follow), tail=count)
    stream = _stream(task, show.lines)
    next(stream)  # up to its first yield
    return stream


def _stream(task: Generator[bool, None, None], lines: deque[LogLine]) -> Stream[LogLine]:
    pauses = steps.Pauses(logs.LOOK_AGAIN)
    try:
        idle: bool | None = next(task, None)
        yield Wait({}, 0)
        while idle is not None:
            while lines:
                yield lines.popleft()
                pauses.anew()
            if idle:
                yield pauses.again()
            idle = next(task, None)
        while lines:
            yield lines.popleft()
    finally:
        task.close()
