"""Boxes made ahead: `estiva.pool`."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from estiva.engine.containers import control
from estiva.engine.containers import exec as exec_
from estiva.engine.launch import agent as agents
from estiva.errors import Conflict, EstivaError, InvalidInput
from estiva.sdk import running, values
from estiva.sdk.engine import chosen
from estiva.sdk.objects.container import Container
from estiva.sdk.pipes import MAX_OUTPUT, Pipes
from estiva.sdk.run_options import RunOptions
from estiva.sdk.sandbox.owned import Owned
from estiva.sdk.told import told
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.result import Result
    from estiva.sdk.sandbox.snapshots import Snapshot

MOST = 1000  # boxes of one pool
AGAIN = 0.2  # seconds after a box that could not be made
FILLERS = 2  # threads that make boxes, and end those that were used
PATIENCE = 120.0  # seconds that a taker waits for a box


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

    def _rehearse(self) -> None:
        """Have its init look for a command that there is not: the next one finds all in memory."""
        with contextlib.suppress(EstivaError, agents.Refused):
            self._by_agent(self._agent, [""]) if self._agent is not None else None

    @told
    def exec(self, command: Any, **options: Any) -> Result:
        """As of any container. In a box of a pool a command that is killed at its timeout takes along what
        earlier commands of `exec` have left running, and `exec` leaves no events."""
        agent = self._agent
        if agent is None or self._counted or options.get("privileged"):
            return super().exec(command, **options)
        try:
            return self._by_agent(agent, command, **options)
        except agents.Refused:
            return super().exec(command, **options)

    def _by_agent(
        self,
        agent: agents.Agent,
        command: Any,
        *,
        input: Any = None,
        timeout: Any = None,
        max_output: Any = MAX_OUTPUT,
        on_output: Any = None,
        env: Any = None,
        user: Any = "",
        workdir: Any = "",
        privileged: Any = False,
    ) -> Result:
        seconds = values.seconds(timeout)
        values.flag("privileged", privileged)
        process = exec_.make_process(
            agent.live,
            values.words("the command", command),
            values.environment(env),
            values.user(user),
            values.path("workdir", workdir) if workdir not in ("", None) else "",
            False,
            False,
        )
        pipes = Pipes(values.data(input), values.whole("max_output", max_output), running.heard(on_output))
        with pipes:
            started = agent.start(process, pipes.theirs)
            try:
                pipes.close_theirs()
                pipes.communicate(seconds, started)
                outcome = started.wait()
            finally:
                started.close()
        return pipes.result(outcome, seconds)


class Ready(Owned[Box]):
    """One box of a pool, from its making to its end."""

    def __init__(self, pool: Pool) -> None:
        config, host_config, wanted = pool._asked()
        super().__init__(pool.engine, Box, config, host_config, wanted)
        self.pool = pool
        self.live: Any = None

    def make(self) -> None:
        """Start it, warm it, freeze it. Raises EstivaError."""
        ours, theirs = agents.pair()
        try:
            self.begun.agent = theirs.detach()
            box = self.__enter__()
            box._attach(ours)
            box._counted = bool(self.begun.configs[1].get("OutputLimit"))
            box._rehearse()
            self.pool._warm(box)
            self.live = agents.state_of(self.engine, box.id)
            control.pause(self.engine, box.id)
        except BaseException:
            ours.close()
            self.end()
            raise
        finally:
            self.begun.drop_agent()

    def take(self) -> Box:
        """It goes on, and is the caller's. Raises EstivaError if it has ended."""
        box = self._box
        assert box is not None
        self.live["paused"] = True
        control.thaw(self.engine, self.live)
        if not box.running:
            raise Conflict(f"container {box.short_id} has ended")
        return box

    def end(self) -> None:
        with contextlib.suppress(EstivaError, OSError):  # a sweep finds what is left
            self.__exit__()


class Pool:
    """Boxes made ahead and frozen: see `estiva.pool`."""

    def __init__(self, engine: Engine, image: Any, size: Any, warm: Any, options: dict[str, Any]) -> None:
        self.engine = engine
        self.size = values.whole("size", size)
        if not 1 <= self.size <= MOST:
            raise InvalidInput(f"size must be from 1 to {MOST}, not {self.size}")
        self.warm = values.text("warm", warm)
        if options.get("name") or options.get("tty"):
            what = "name" if options.get("name") else "tty"
            raise InvalidInput(f"{what} can't be given to a pool, whose boxes are many")
        self._options = image, options
        self._asked()  # what can't be is told at once
        self._owner = os.getpid()
        self._changed = threading.Condition()
        self._ready: collections.deque[Ready] = collections.deque()
        self._used: collections.deque[Ready] = collections.deque()
        self._out: set[Ready] = set()
        self._making = 0
        self._failed: EstivaError | None = None
        self._closed = False
        first = Ready(self)
        first.make()
        self._ready.append(first)
        self._fillers = [
            threading.Thread(target=self._fill, name="estiva pool", daemon=True) for _ in range(FILLERS)
        ]
        for each in self._fillers:
            each.start()

    def _asked(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        image, options = self._options
        return running.settings(image, None, options, RunOptions)

    def _warm(self, box: Box) -> None:
        if self.warm:
            from estiva.sdk.sandbox.python import Python

            box._python = Python(box, self.warm)
            box._python.start()

    def __repr__(self) -> str:
        return f"<estiva.Pool of {self.size}, {len(self._ready)} ready>"

    @property
    def ready(self) -> int:
        """How many boxes can be had at once."""
        return len(self._ready)

    @contextlib.contextmanager
    def box(self) -> Iterator[Box]:
        """A box, for a with-block, at whose end it is killed and removed. Waits where none is ready. Raises
        the error of why there is none, Conflict for a pool that is closed.
        """
        taken, box = self._take()
        try:
            yield box
        finally:
            self._return(taken)

    @told
    def _take(self) -> tuple[Ready, Box]:
        self._mine()
        until = time.monotonic() + PATIENCE
        while True:
            with self._changed:
                while not self._ready:
                    if self._closed:
                        raise Conflict("this pool is closed")
                    failed, self._failed = self._failed, None
                    if failed is not None:
                        raise failed
                    if not self._changed.wait(until - time.monotonic()):
                        raise Conflict(f"no box of the pool was ready within {PATIENCE:g} s")
                found = self._ready.popleft()
                self._out.add(found)
                self._changed.notify_all()
            try:
                return found, found.take()
            except EstivaError:  # somebody has removed it
                self._return(found)

    def _return(self, used: Ready) -> None:
        if os.getpid() != self._owner:
            return
        with self._changed:
            self._out.discard(used)
            aside = len(self._used) < self.size and not self._closed
            if aside:
                self._used.append(used)
                self._changed.notify_all()
        if not aside:
            used.end()

    def _mine(self) -> None:
        if os.getpid() != self._owner:
            raise Conflict("this pool is of the program that has forked", hint="make another in the fork")

    def _fill(self) -> None:
        """A filler's life: end what was used, make what is missing."""
        while True:
            with self._changed:
                while not (self._used or self._closed or len(self._ready) + self._making < self.size):
                    self._changed.wait()
                if self._closed and not self._used:
                    return
                missing = len(self._ready) + self._making < self.size and not self._closed
                used = self._used.popleft() if self._used and not (missing and not self._ready) else None
                self._making += used is None
            if used is not None:
                used.end()
                continue
            made: Ready | None = Ready(self)
            failed: EstivaError | None = None
            try:
                assert made is not None
                told(made.make)()
            except EstivaError as error:
                made, failed = None, error
            with self._changed:
                self._making -= 1
                late = self._closed
                if made is not None and not late:
                    self._ready.append(made)
                self._failed = failed if not late else None
                self._changed.notify_all()
            if late and made is not None:
                made.end()
            if failed is not None:
                time.sleep(AGAIN)

    @told
    def close(self) -> None:
        """End all boxes that nobody has; those that are in use end with their blocks. Again: nothing."""
        if os.getpid() != self._owner:
            return
        with self._changed:
            self._closed = True
            self._used.extend(self._ready)
            self._ready.clear()
            self._changed.notify_all()
        for each in self._fillers:
            each.join()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@told
@shows(RunOptions)
def pool(
    image: str | Snapshot,
    *,
    size: int = 8,
    warm: str = "",
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> Pool:
    """Boxes of an image or a snapshot, made ahead and frozen: one is had in about a millisecond.

        with estiva.pool("alpine", size=8, network="none", memory="64m") as pool:
            with pool.box() as box:
                print(box.exec(["id"]).output)

    Each box is used once; the pool makes others in the background, so that there are `size` of them. `warm`
    is Python that the interpreter of `box.python` has run before: "import json". The pool ends with its
    block, or `close`, or the program, however that ends. Options: see `container`. Raises EstivaError.
    """
    return Pool(chosen(engine), image, size, warm, dict(options))
