"""A box of a pool, from its making to its end."""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING, Any

from estiva.engine.containers import control, preload  # noqa: F401
from estiva.engine.launch import agent as agents
from estiva.engine.launch.launch import Refused
from estiva.errors import Conflict, EstivaError
from estiva.sdk import running, steps, values
from estiva.sdk.objects import popen  # noqa: F401  not by a filler: see preload.py
from estiva.sdk.objects.container import Container
from estiva.sdk.sandbox.owned import Owned
from estiva.sdk.sandbox.python import Python
from estiva.sdk.steps import Wait
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from estiva.engine import Engine
    from estiva.sdk.sandbox.snapshots import Snapshot
    from estiva.sdk.steps import Task


class Box(Container):
    """A box of a pool: a Container, whose commands its init executes where it can."""

    _agent: agents.Agent | None = None
    _counted = False  # the monitor counts what commands write: --output-limit

    def _ended(self) -> None:
        super()._ended()
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.close()

    def _attach(self, channel: agents.Channel) -> None:
        live = agents.state_of(self.engine, self.id)
        self._agent = agents.Agent(self.engine, channel, live)

    def _rehearsing(self) -> Task[None]:
        """Have its init look for a command that there is not: the next one finds all in memory, and a process
        that waits for it."""
        asked = {"env": None, "env_file": (), "user": "", "workdir": "", "privileged": False}
        with contextlib.suppress(EstivaError, Refused):
            way = next(self.ways([""], asked, stdin=False))
            yield from running.once(way, running.piped(None, 0, None), None)
        if self._agent is not None:
            self._agent.order()

    def ways(self, command: Any, asked: Mapping[str, Any], *, stdin: bool) -> Iterator[running.Way]:
        """By its init first. A command that is killed at its timeout takes along what earlier ones have left
        running, and none of them leaves events."""
        agent, words = self._agent, values.words("the command", command)
        privileged = values.flag("privileged", asked["privileged"])
        if agent is not None and not self._counted and not privileged:
            process = running.process_of(agent.live, words, **asked)
            yield lambda stdio: agent.start(process, stdio)
        yield from super().ways(words, asked, stdin=stdin)

    @told
    def snapshot(self, name: str | None = None, *, memory: bool = False) -> Snapshot:
        """As of any container."""
        if self._agent is not None:
            self._agent.rest()
        return super().snapshot(name, memory=memory)


class Ready(Owned[Box]):
    """One box of a pool, from its making to its end."""

    def __init__(
        self,
        engine: Engine,
        asked: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
        warm: str,
    ) -> None:
        super().__init__(engine, Box, *asked)
        self.warm = warm
        self.live: Any = None
        self.begun.ahead = True

    def make(self) -> None:
        """Do `making` to its end. Raises EstivaError."""
        try:
            steps.run(self.making())
        except BaseException:
            self.end()
            raise

    def making(self) -> Task[None]:
        """Start it, warm it: a task. What warm code or a health check has begun stands still until it is
        taken; without any, nothing but our own init, which waits, is in it. Raises EstivaError; after an
        error `end` is to follow."""
        ours, theirs = agents.pair()
        try:
            self.begun.agent = theirs.detach()
            self.enter()
            start = self.begun.begin()
            yield Wait({start.launched.channel.fileno(): select.POLLIN})
            start.started()
            box = self.made(start)
            box._attach(ours)
            box._counted = bool(self.begun.configs[1].get("OutputLimit"))
            yield from box._rehearsing()
            yield from self._warming(box)
            if self.warm or self.begun.configs[0].get("Healthcheck"):
                self.live = agents.state_of(self.engine, box.id)
                yield from steps.paced(control.pausing(self.engine, box.id))
        except BaseException:
            ours.close()
            raise
        finally:
            self.begun.drop_agent()

    def _warming(self, box: Box) -> Task[None]:
        if self.warm:
            box._python = Python(box, self.warm)
            yield from box._python.starting()

    def take(self) -> Box:
        """It goes on, and is the caller's; its time begins. Raises EstivaError if it has ended."""
        box, start = self._box, self.begun.start
        assert box is not None and start is not None
        start.launched.send({"do": "begin"})
        if self.live is not None:
            self.live["paused"] = True
            control.thaw(self.engine, self.live)
        if not box.running:
            raise Conflict(f"container {box.short_id} has ended")
        return box

    def end(self) -> None:
        with contextlib.suppress(EstivaError, OSError, MemoryError, RuntimeError):
            self.__exit__()  # a sweep finds what is left
