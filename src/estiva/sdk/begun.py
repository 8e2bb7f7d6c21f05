"""A container that was begun for a program: it ends, and goes, with the block that it was begun for.

However the block ends (its end, an exception, Ctrl-C at any instruction), and however the program does: then
its monitor (engine/monitor/monitor.py) sees that, or its spawner what no monitor has yet
(engine/launch/ledger.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any

from estiva import held
from estiva.engine.containers import control, create
from estiva.engine.containers import start as starting
from estiva.engine.launch import launch
from estiva.engine.state import runstate
from estiva.errors import Conflict, EngineError, NotFound, Unavailable
from estiva.sdk import steps
from estiva.sdk.steps import Wait

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Self

    from estiva.engine import Engine
    from estiva.engine.launch.start import Start
    from estiva.sdk.steps import Task


def ending(start: Start) -> Task[bool]:
    """Have a bound container killed and removed; True when nobody finds it any more, False when its monitor
    was killed, or has said nothing for launch.PATIENCE seconds."""
    launched = start.launched
    channel = launched.channel.fileno()
    if channel < 0:
        return True  # the garbage collector has closed it first: that ends it, too
    launched.end()
    deadline = time.monotonic() + launch.PATIENCE
    while (yield Wait({channel: select.POLLIN}, deadline - time.monotonic())):
        event = launched.receive()["event"]
        if event in ("removed", "lost"):
            return event == "removed"
    return False


class Begun:
    """See above: a with-block that gives the Start of a container whose monitor has been sent for. `options`
    are those of create.prepare, besides the two configs. One that `lingers` can be looked at when it has
    ended by itself. Raises EstivaError, OSError.
    """

    def __init__(
        self,
        engine: Engine,
        config: dict[str, Any],
        host_config: dict[str, Any],
        *,
        lingers: bool = False,
        **options: Any,
    ) -> None:
        self.engine = engine
        self.configs = config, {**host_config, "AutoRemove": True}
        self.lingers = lingers
        self.ahead = False  # made for later: its time begins with the order for that
        self.stdio = (-1, -1, -1)
        self.options = options
        self.owner = os.getpid()
        self.agent = -1  # an end of the socket to an agent that its init is to be, while nobody has it
        self.start: Start | None = None

    def drop_agent(self) -> None:
        """Close that end, if it was not needed."""
        if self.agent >= 0:
            fd, self.agent = self.agent, -1
            os.close(fd)

    def with_stdio(self, stdio: tuple[int, int, int]) -> Self:
        """The same, with fds for its streams."""
        self.stdio = stdio
        return self

    def __enter__(self) -> Start:
        return self.begin()

    def begin(self) -> Start:
        """Make it, and send for its monitor."""
        try:
            with held.Signals() as signals:
                start = create.prepare(self.engine, *self.configs, begins=signals.hold, **self.options)
                start.bound, start.lingers, start.ahead = True, self.lingers, self.ahead
                start.agent, self.agent = self.agent, -1
                self.start = start
                start.go(self.stdio)
            return start
        except BaseException:
            self.close()
            raise

    @property
    def lasts(self) -> bool:
        """Whether it has been begun, by this process and no fork, and the block goes on."""
        return self.start is not None and self.owner == os.getpid()

    def again(self) -> Generator[None, None, None]:
        """Start it again, as one of the same block, while that `lasts`: a task (containers/tasks.py), which
        is over once its command runs. Raises EstivaError, OSError."""
        before = self.start
        assert before is not None, "see `lasts`"
        start = yield from starting.beginning(self.engine, before.id)
        if start is None:
            return  # it runs
        with held.Signals() as signals:
            signals.hold()
            if self.start is not before:
                start.close()
                raise Conflict(f"container {before.id[:12]} has ended with its block")
            start.bound, start.lingers = True, self.lingers
            self.start = start
            try:
                start.go()
            finally:
                before.close()  # its monitor, which has waited for that, sees that it has another now
        while not start.heard():
            yield
        start.started()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Have it killed and removed, and return when nobody finds it any more. A monitor that does not
        answer is killed, and what it leaves removed. Nothing in a fork of the program, whose parent has it
        still.
        """
        start = self.leave()
        if start is None:
            return
        try:
            if start.begun and not steps.run(ending(start)):
                self.force(start)
        finally:
            start.close()

    def leave(self) -> Start | None:
        """What is to be ended, if there is something, by the caller from now on."""
        start, self.start = self.start, None
        return start if self.owner == os.getpid() else None

    def force(self, start: Start) -> None:
        """The end of one whose monitor did not see to it."""
        if not start.heard():
            self._kill_monitor(start)
        with contextlib.suppress(NotFound, Unavailable):  # the disk is full: a sweep finds it
            control.remove(self.engine, start.id, force=True, volumes=True)

    def _kill_monitor(self, start: Start) -> None:
        """One that does not answer: stopped, or held by the kernel. Raises EngineError."""
        live = runstate.read(self.engine.paths, start.id)
        problem = EngineError(
            f"container {start.id[:12]} has not ended", hint="it does once its monitor goes on"
        )
        if live is None:
            raise problem  # it is being started still
        try:
            pidfd = os.pidfd_open(live["monitor"])
        except ProcessLookupError:
            return
        try:
            if not start.heard():  # it has its end of the channel still: so that pid was its own just now
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                if not start.heard(launch.PATIENCE):
                    raise problem
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)
