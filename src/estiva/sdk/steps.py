"""Work that waits, in steps: threads take them with poll(2), asyncio with its loop (sdk/aio/loop.py).

A task is a generator. It yields a Wait where it has to wait, and is sent the events that have come, by fd;
nothing when the time is up. A stream yields its items too.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import TypeAlias

R = TypeVar("R")
T = TypeVar("T")
LONGEST = 86_400.0  # seconds that poll(2) is asked to wait at once; it takes milliseconds in an int
FIRST, LAST = 0.002, 0.1  # seconds between two looks at what no fd tells


class Wait:
    """For events (of select.poll) of fds, `seconds` at most; None: for as long as it takes."""

    __slots__ = ("fds", "seconds")

    def __init__(self, fds: Mapping[int, int], seconds: float | None = None) -> None:
        self.fds = fds
        self.seconds = seconds

    def poll(self) -> dict[int, int]:
        """Wait here."""
        seconds = LONGEST if self.seconds is None else max(0.0, min(self.seconds, LONGEST))
        if not self.fds:
            time.sleep(seconds)
            return {}
        poll = select.poll()
        for fd, events in self.fds.items():
            poll.register(fd, events)
        return dict(poll.poll(seconds * 1000))


if TYPE_CHECKING:
    Task: TypeAlias = Generator[Wait, Mapping[int, int], R]
    Stream: TypeAlias = Generator[T | Wait, Any, None]


def run(task: Task[R]) -> R:
    """Do a task to its end; what it returns."""
    try:
        wait = next(task)
        while True:
            wait = task.send(wait.poll())
    except StopIteration as end:
        result: R = end.value
        return result
    finally:
        task.close()  # what it holds goes now, not with the traceback of an error


def items(stream: Stream[T]) -> Generator[T, None, None]:
    """The items of a stream."""
    try:
        for one in stream:
            if isinstance(one, Wait):
                one.poll()
            else:
                yield one
    finally:
        stream.close()


class Pauses:
    """Waits that grow longer, for what is looked at again and again."""

    def __init__(self, longest: float = LAST) -> None:
        self.longest = longest
        self.next = FIRST

    def again(self) -> Wait:
        """The next of them."""
        wait = Wait({}, self.next)
        self.next = min(self.next * 1.5, self.longest)
        return wait

    def anew(self) -> None:
        """Something has come: it may go on soon."""
        self.next = FIRST


def paced(task: Generator[None, None, R]) -> Task[R]:
    """One of the engine's (engine/containers/tasks.py), which say only that they have to wait."""
    pauses = Pauses()
    while True:
        try:
            next(task)
        except StopIteration as end:
            result: R = end.value
            return result
        yield pauses.again()
