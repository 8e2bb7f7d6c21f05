"""Containers from a Python program: `run`, `container`.

No daemon: the first container starts a spawner process (engine/launch/spawner.py), the later ones are forks
of it. Every function may be called from any thread. Options are keyword arguments with the command line's
names. A container that is begun here ends with the program, however that ends (begun.py), unless it is kept.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from estiva.engine.containers import preload  # noqa: F401
from estiva.sdk import running, values
from estiva.sdk.collections.containers import begin
from estiva.sdk.engine import chosen
from estiva.sdk.objects.container import Container
from estiva.sdk.pipes import MAX_OUTPUT
from estiva.sdk.run_options import RunOptions
from estiva.sdk.sandbox.owned import Owned
from estiva.sdk.told import told
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.collections.images import Image
    from estiva.sdk.result import Result
    from estiva.sdk.sandbox.snapshots import Snapshot

    Word = str | os.PathLike[str]
    Data = bytes | bytearray | memoryview | str


@told
@shows(RunOptions)
def run(
    image: str | Image | Snapshot,
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
    image: str | Image | Snapshot,
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
    return block(chosen(engine), image, command, options, RunOptions, keep=keep)


def block(
    engine: Engine, image: Any, command: Any, options: Mapping[str, Any], kind: type, *, keep: Any
) -> Block:
    """The block of such a container. Raises InvalidInput."""
    config, host_config, wanted = running.settings(image, command, options, kind)
    return Block(engine, config, host_config, wanted, keep=values.flag("keep", keep))


class Block(Owned[Container]):
    """What `container` gives: see there."""

    def __init__(
        self,
        engine: Engine,
        config: dict[str, Any],
        host_config: dict[str, Any],
        wanted: dict[str, Any],
        *,
        keep: bool = False,
    ) -> None:
        super().__init__(engine, Container, config, host_config, wanted)
        self.keep = keep
        self.asked = (config, host_config, wanted)

    def __repr__(self) -> str:
        return "<estiva.container, to be entered: with estiva.container(...) as box>"

    def __getattr__(self, name: str) -> NoReturn:
        problem = f"estiva.container(...) has no {name!r} until it is entered"
        raise AttributeError(f"{problem}: with estiva.container(...) as box", name=name, obj=self)

    def _begin(self) -> Container:
        if not self.keep:
            return super()._begin()
        config, host_config, wanted = self.asked
        return begin(self.engine, dict(config), dict(host_config), wanted)
