"""A builder's RUN: one command in a container over a snapshot, gone when it ends."""

from __future__ import annotations

import os
import select

from estiva.engine.builds import ahead
from estiva.engine.builds.container import StepStart
from estiva.errors import CommandNotExecutable, CommandNotFound, EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from estiva.builder.request import Step
    from estiva.engine import Engine
    from estiva.engine.builds.shell import Kept, Shells
    from estiva.engine.builds.ssh.served import Served
    from estiva.engine.state.config_types import HostConfig

    class Watch(Protocol):
        """Hears of the containers of steps, each in the thread of its step."""

        def started(self, container_id: str, argv: list[str]) -> None: ...
        def stderr(self, data: bytes) -> bytes:
            """What a command has written to stderr, as it is to be told among its output."""
            ...


CHUNK = 1 << 16  # bytes
LOOK = 0.2  # seconds


def run_step(
    engine: Engine,
    step: Step,
    limits: HostConfig | None = None,
    shells: Shells | None = None,
    watch: Watch | None = None,
    begun: Callable[[], None] | None = None,
) -> int:
    """Run `step` to its end; its exit status, 128+n for a signal. Output goes to step.output as it comes.
    step.look is called each LOOK seconds in which nothing comes; what it raises ends the step.
    `limits` is a judged HostConfig, which the step's own network and rights are put to. A command that fails
    leaves its caller in a shell of `shells` first. With `watch`, stdout and stderr are two pipes. `begun` is
    called when it has been launched.

    Raises CommandNotFound and what else keeps it from starting.
    """
    served: list[Served] = []
    kept: Kept | None = None
    try:
        if shells is not None:
            from estiva.engine.builds.shell import Kept

            kept = Kept(step)
        for agent in step.agents:
            from estiva.engine.builds.ssh.served import Served

            served.append(Served(agent))
        try:
            status = _run(engine, step, limits, watch, begun)
        except (CommandNotFound, CommandNotExecutable) as error:
            if shells is not None and kept is not None:
                shells.open(engine, step, kept, limits, error.message)
            raise
        if status and shells is not None and kept is not None:
            shells.open(engine, step, kept, limits, f"exit status {status}")
        return status
    finally:
        if kept is not None:
            kept.close()
        while served:
            served.pop().close()


def _run(
    engine: Engine,
    step: Step,
    limits: HostConfig | None,
    watch: Watch | None,
    begun: Callable[[], None] | None,
) -> int:
    outputs: dict[int, Callable[[bytes], object]] = {}
    writers: list[int] = []
    try:
        _pipe(outputs, writers, step.output)
        if watch is not None:
            mark = watch.stderr
            _pipe(outputs, writers, lambda data: step.output(mark(data)))
        with StepStart(engine, step, limits) as start:
            try:
                start.go((-1, writers[0], writers[-1]))
            finally:
                _close(writers)
            if begun is not None:
                begun()
            start.started()
            if watch is not None:
                watch.started(start.id, step.argv)
            try:
                _copy(outputs, step.look)
            except BaseException:
                _close(outputs)  # a monitor that waits for us to read would not hear of its end
                raise
            outcome = start.wait()
        if outcome["event"] == "lost":
            raise EngineError("the monitor of the build's container was killed")
        return int(outcome["status"])
    finally:
        _close(writers)
        _close(outputs)


def _pipe(
    outputs: dict[int, Callable[[bytes], object]], writers: list[int], takes: Callable[[bytes], object]
) -> None:
    reader, writer = os.pipe()
    outputs[reader] = takes
    writers.append(writer)


def _copy(outputs: dict[int, Callable[[bytes], object]], look: Callable[[], object]) -> None:
    """Give what comes to whom takes it, until all pipes have ended."""
    poll = select.poll()
    for reader in outputs:
        poll.register(reader, select.POLLIN)
    while outputs:
        ready = poll.poll(LOOK * 1000)
        if not ready:
            ahead.modules()
            look()
        for reader, _ in ready:
            if data := os.read(reader, CHUNK):
                outputs[reader](data)
            else:
                poll.unregister(reader)
                del outputs[reader]
                os.close(reader)


def _close(fds: list[int] | dict[int, Callable[[bytes], object]]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
