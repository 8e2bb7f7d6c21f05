"""Containers from a Python program: `run`, `container`.

No daemon: the first container starts a spawner process (engine/launch/spawner.py), the later ones are forks
of it. Every function may be called from any thread. Options are keyword arguments with the command line's
names. A container that is begun here ends with the program, however that ends (begun.py), unless it is kept.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from estiva.engine.containers import preload  # noqa: F401
from estiva.engine.launch.start import IDLE
from estiva.errors import Conflict
from estiva.sdk import running, values
from estiva.sdk.begun import Begun
from estiva.sdk.collections.containers import begin
from estiva.sdk.engine import chosen
from estiva.sdk.objects.container import Container
from estiva.sdk.pipes import MAX_OUTPUT
from estiva.sdk.run_options import RunOptions
from estiva.sdk.told import told
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.result import Result

    Word = str | os.PathLike[str]
    Data = bytes | bytearray | memoryview | str


@told
@shows(RunOptions)
def run(
    image: str,
    command: str | Sequence[Word] = (),
    *,
    input: Data | None = None,
    timeout: float | None = None,
    max_output: int = MAX_OUTPUT,
    on_output: Callable[[str, bytes], object] | None = None,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> Result:
    """Run a command in a new container and remove it: its status and output.

        print(estiva.run("alpine", ["id"], user="nobody").output)

    A command that is a text is split into words as a shell does, and no shell runs. After `timeout` seconds
    the container is killed and CommandTimeout raised, which has the output so far. Of stdout and of stderr
    `max_output` bytes each are kept, the rest is read and dropped; `on_output` gets "stdout" or "stderr" and
    all that comes, as it comes. Options: see `container`. Raises EstivaError.
    """
    return running.finished(
        chosen(engine), image, command, input, timeout, max_output, on_output, options, RunOptions
    )


@told
@shows(RunOptions)
def container(
    image: str,
    command: str | Sequence[Word] | None = None,
    *,
    keep: bool = False,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> AbstractContextManager[Container]:
    """A container for the length of a with-block; it is killed and removed at its end, or with the program.

        with estiva.container("alpine", memory="256m", ports={80: 8080}, volumes={"data": "/data"}) as box:
            box.exec(["touch", "/data/x"]).check()

    Without `command` its main process is Estiva's own init, which only waits, so that any image serves. With
    `keep` it goes on when the block, and the program, have ended: `box.remove(force=True)` ends it.
    The options are those of the command line's `run`, with _ for -; docs/python.md tells their forms. Raises
    EstivaError.
    """
    idle = command is None
    config, host_config, wanted = running.settings(
        image, [IDLE] if command is None else command, options, RunOptions
    )
    if idle:
        config["Entrypoint"] = []
        host_config["Init"] = True
    return Block(chosen(engine), config, host_config, idle, wanted, keep=values.flag("keep", keep))


class Block:
    """What `container` gives: see there."""

    def __init__(
        self,
        engine: Engine,
        config: dict[str, Any],
        host_config: dict[str, Any],
        idle: bool,
        wanted: dict[str, Any],
        *,
        keep: bool = False,
    ) -> None:
        self.engine = engine
        self._keep = keep
        self._asked = (config, host_config, wanted, idle)
        self._begun = Begun(self.engine, config, host_config, idle=idle, lingers=True, **wanted)
        self._box: Container | None = None
        self._entered = threading.Lock()  # held while it is

    def __repr__(self) -> str:
        return "<estiva.container, to be entered: with estiva.container(...) as box>"

    def __getattr__(self, name: str) -> NoReturn:
        problem = f"estiva.container(...) has no {name!r} until it is entered"
        raise AttributeError(f"{problem}: with estiva.container(...) as box", name=name, obj=self)

    @told
    def __enter__(self) -> Container:
        if not self._entered.acquire(blocking=False):
            raise Conflict(
                "this estiva.container has been entered already", hint="make one for each with-block"
            )
        try:
            if self._keep:
                config, host_config, wanted, idle = self._asked
                return begin(self.engine, dict(config), dict(host_config), wanted, idle=idle)
            start = self._begun.__enter__()
            start.started()
            self._box = Container(self.engine, start.id, begun=self._begun)
            return self._box
        except BaseException:
            self.__exit__()
            raise

    @told
    def __exit__(self, *exception: object) -> None:
        box, self._box = self._box, None
        try:
            self._begun.close()
        finally:
            if box is not None:
                box._gone = True
            if self._entered.locked():
                self._entered.release()
