"""Work on several containers at once, without threads.

A task is a generator: it does what it can, yields when it has to wait, and looks again when it is asked on.
"""

from __future__ import annotations

import time

from estiva.errors import EstivaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import TypeVar

    Result = TypeVar("Result")

FIRST, LONGEST = 0.002, 0.05  # seconds between two looks: it may take a moment, or the whole timeout


class Gate:
    """Lets through a number of tasks at once; the others wait in front of it."""

    def __init__(self, most: int) -> None:
        self.free = most

    def through(self, task: Iterator[None]) -> Iterator[None]:
        while not self.free:
            yield
        self.free -= 1
        try:
            yield from task
        finally:
            self.free += 1


def run(task: Generator[None, None, Result]) -> Result:
    """Do one task to its end; what it returns."""
    pause = FIRST
    while True:
        try:
            next(task)
        except StopIteration as end:
            result: Result = end.value
            return result
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST)


def together(tasks: Sequence[Iterator[None]]) -> Iterator[EstivaError | None]:
    """Do all tasks side by side. For each, in their order, the error that it ended with, as soon as that and
    those before it are known.
    """
    ended: dict[int, EstivaError | None] = {}
    told = 0
    pause = FIRST
    while told < len(tasks):
        for index, task in enumerate(tasks):
            if index not in ended:
                try:
                    next(task)
                    continue
                except StopIteration:
                    ended[index] = None
                except EstivaError as error:
                    ended[index] = error
                while told in ended:
                    yield ended[told]
                    told += 1
        if told < len(tasks):
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST)
