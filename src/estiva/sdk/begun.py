"""A container that was begun for a program: it ends, and goes, with the block that it was begun for.

However the block ends (its end, an exception, Ctrl-C at any instruction), and however the program does: then
its monitor (engine/monitor/monitor.py) sees that, or its spawner what no monitor has yet
(engine/launch/ledger.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from estiva.engine.containers import control, create
from estiva.engine.containers import start as starting
from estiva.engine.launch import launch
from estiva.engine.state import runstate
from estiva.errors import EngineError, NotFound, Unavailable
from estiva.sdk import held

if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.launch.start import Start


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
        stdio: tuple[int, int, int] = (-1, -1, -1),
        idle: bool = False,
        lingers: bool = False,
        **options: Any,
    ) -> None:
        self.engine = engine
        self.configs = config, {**host_config, "AutoRemove": True}
        self.lingers = lingers
        self.stdio = stdio
        self.idle = idle
        self.options = options
        self.owner = os.getpid()
        self.start: Start | None = None

    def __enter__(self) -> Start:
        try:
            with held.Signals() as signals:
                start = create.prepare(self.engine, *self.configs, begins=signals.hold, **self.options)
                start.bound, start.lingers = True, self.lingers
                self.start = start
                start.go(self.stdio, idle=self.idle)
            return start
        except BaseException:
            self.close()
            raise

    def again(self) -> bool:
        """Start it again, as one of the same block; returns once its command runs. False in a fork of the
        program, or after the block: then it isn't ours to start. Raises EstivaError, OSError.
        """
        before = self.start
        if before is None or self.owner != os.getpid():
            return False
        with held.Signals() as signals:
            signals.hold()
            start = starting.again(self.engine, before.id)
            if start is None:
                return True  # it runs
            start.bound, start.lingers = True, self.lingers
            self.start = start
            try:
                start.go()
            finally:
                before.close()  # its monitor, which has waited for that, sees that it has another now
        start.started()
        return True

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Have it killed and removed, and return when nobody finds it any more. A monitor that does not
        answer is killed, and what it leaves removed. Nothing in a fork of the program, whose parent has it
        still.
        """
        start, self.start = self.start, None
        if start is None or self.owner != os.getpid():
            return
        try:
            if start.begun and not start.end():
                if not start.heard():
                    self._kill_monitor(start)
                with contextlib.suppress(NotFound, Unavailable):  # the disk is full: a sweep finds it
                    control.remove(self.engine, start.id, force=True, volumes=True)
        finally:
            start.close()

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
