"""The stages of a build beside each other.

Every thread takes the first stage that nobody has begun, in the Dockerfile's order; a stage waits only where
it needs another one, which is an earlier one: the first that is not done never waits for one that is not
begun. The first that fails stops the others.

What is found in the cache is found by one thread sooner than by several, which wait for each other. So there
is one, until a step has something to do that may take its time.

With a cache elsewhere (a `frugal` build) that one begins with the target: others are built when it reads from
them, and those whose readers have all been found are not (definition.py).
"""

from __future__ import annotations

from _thread import allocate_lock

from estiva.builder import threads
from estiva.builder.frontend.stages import references

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from estiva.builder.frontend.stages import Stage
    from estiva.builder.solver.job import Job

MOST = 16  # stages at once


class Parallel:
    """Runs `stages` in this thread and, once one of them is `busy`, as many others as are of use."""

    def __init__(self, job: Job, stages: list[Stage], target: Stage) -> None:
        self.job = job
        self.stages = stages
        self.target = target
        self.more = min(MOST, _width(stages)) - 1
        self.begun: list[threading.Thread] = []
        self._lock = allocate_lock()
        job.busy = self.busy

    def busy(self) -> None:
        """Whoever calls it goes on for long: have others begin the next stages. Raises RuntimeError."""
        with self._lock:
            while self.more:
                self.more -= 1
                self.begun.append(threads.start(self._work, "estiva-build"))

    def run(self) -> None:
        """Raises what the first stage that failed has raised, once nobody works any more."""
        try:
            if self.job.frugal:
                self.job.look()
                self.job.state(self.target)
            self._work()
            while alive := [thread for thread in self.begun if thread.is_alive()]:
                alive[0].join()
        except BaseException as error:
            self.job.failed(error)
            for thread in self.begun:
                thread.join()
        if self.job.failure is not None:
            raise self.job.failure

    def _work(self) -> None:
        try:
            for stage in self.stages:
                if not self.job.states.begun(stage.index) and self._wanted(stage):
                    self.job.look()
                    self.job.state(stage)
        except BaseException as error:
            self.job.failed(error)

    def _wanted(self, stage: Stage) -> bool:
        """Whether a stage is still to be read from, as far as is known."""
        if not self.job.frugal:
            return True
        wanted = {self.target.index}
        for reader in reversed(self.stages):
            if reader.index in wanted:
                wanted.update(self._to_read(reader))
        return stage.index in wanted

    def _to_read(self, reader: Stage) -> Iterator[int]:
        """The stages that one has not read from yet."""
        if reader.base is not None and not self.job.states.begun(reader.index):
            yield reader.base.index
        done = self.job.passed.get(reader.index, -1)
        for typed in reader.steps:
            if typed.source.line > done:
                for name in references(typed):
                    if (found := self.job.plan.find(name, reader)) is not None:
                        yield found.index


def _width(stages: list[Stage]) -> int:
    """How many can be run at once, at most: one that stands on the one before it waits for that."""
    width = 0
    below: Stage | None = None
    for stage in stages:
        width += below is None or stage.base is not below
        below = stage
    return width
