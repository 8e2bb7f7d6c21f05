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

    from estiva.builder.request import Step
    from estiva.engine import Engine
    from estiva.engine.builds.shell import Kept, Shells
    from estiva.engine.builds.ssh.served import Served
    from estiva.engine.state.config_types import HostConfig

CHUNK = 1 << 16  # bytes
LOOK = 0.2  # seconds


def run_step(
    engine: Engine,
    step: Step,
    look: Callable[[], object] | None = None,
    limits: HostConfig | None = None,
    shells: Shells | None = None,
    begun: Callable[[], None] | None = None,
) -> int:
    """Run `step` to its end; its exit status, 128+n for a signal. Output goes to step.output as it comes.
    `look` and step.look are called each LOOK seconds in which nothing comes; what they raise ends the step.
    `limits` is a judged HostConfig, which the step's own network and rights are put to. A command that fails
    leaves its caller in a shell of `shells` first. `begun` is called when it has been launched.

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
            status = _run(engine, step, look, limits, begun)
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
    look: Callable[[], object] | None,
    limits: HostConfig | None,
    begun: Callable[[], None] | None,
) -> int:
    reader, writer = os.pipe()
    try:
        with StepStart(engine, step, limits) as start:
            try:
                start.go((-1, writer, writer))
            finally:
                os.close(writer)
            if begun is not None:
                begun()
            start.started()
            try:
                while data := _read(reader, step.look, look):
                    step.output(data)
            except BaseException:
                os.close(reader)  # a monitor that waits for us to read would not hear of its end
                reader = -1
                raise
            outcome = start.wait()
        if outcome["event"] == "lost":
            raise EngineError("the monitor of the build's container was killed")
        return int(outcome["status"])
    finally:
        if reader >= 0:
            os.close(reader)


def _read(reader: int, *looks: Callable[[], object] | None) -> bytes:
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while not poll.poll(LOOK * 1000):
        ahead.modules()
        for look in looks:
            if look is not None:
                look()
    return os.read(reader, CHUNK)
