"""Containers of an engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva import held
from estiva.engine.containers import create as creation
from estiva.engine.containers import listing, sweep
from estiva.engine.state import lookup
from estiva.sdk import running, values
from estiva.sdk.objects.container import Container
from estiva.sdk.objects.shown import Pruned
from estiva.sdk.pipes import MAX_OUTPUT
from estiva.sdk.run_options import CreateOptions
from estiva.sdk.told import told
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal, Unpack, overload

    from estiva.engine import Engine
    from estiva.engine.launch.start import Start
    from estiva.sdk.result import Result

    Word = str | os.PathLike[str]
    Command = str | Sequence[Word]
    Data = bytes | bytearray | memoryview | str


class Containers:
    """Containers of an engine: `estiva.Engine().containers`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @told
    @shows(CreateOptions)
    def create(
        self, image: str, command: Command | None = None, **options: Unpack[CreateOptions]
    ) -> Container:
        """Make a container that does not run yet. It stays when the program ends, as the command line's.

            box = engine.containers.create("alpine", "sleep 60", name="job", memory="64m")
            box.start()

        Options: see `estiva.container`, and auto_remove, interactive. Raises EstivaError.
        """
        config, host_config, chosen = running.settings(image, command or (), options)
        record = creation.create(self.engine, config, host_config, **chosen)
        return Container(self.engine, record["Id"], own=True)

    if TYPE_CHECKING:

        @overload
        def run(
            self,
            image: str,
            command: Command = (),
            *,
            detach: Literal[False] = False,
            input: Data | None = None,
            timeout: float | None = None,
            max_output: int = MAX_OUTPUT,
            on_output: Callable[[str, bytes], object] | None = None,
            **options: Unpack[CreateOptions],
        ) -> Result: ...

        @overload
        def run(
            self,
            image: str,
            command: Command = (),
            *,
            detach: Literal[True],
            **options: Unpack[CreateOptions],
        ) -> Container: ...

    @told
    @shows(CreateOptions)
    def run(
        self,
        image: str,
        command: Command = (),
        *,
        detach: bool = False,
        input: Data | None = None,
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: Callable[[str, bytes], object] | None = None,
        **options: Unpack[CreateOptions],
    ) -> Result | Container:
        """Run a command in a new container, and remove it: see `estiva.run`. With `detach`, start it and
        return it; then it stays when the program ends, as with the command line's `run -d`.

            web = engine.containers.run("nginx", detach=True, ports={80: 8080}, restart="always")
        """
        if not values.flag("detach", detach):
            return running.finished(
                self.engine, image, command, input, timeout, max_output, on_output, options, CreateOptions
            )
        config, host_config, chosen = running.settings(image, command or (), options)
        return begin(self.engine, config, host_config, chosen)

    @told
    def get(self, name: str) -> Container:
        """A container by its name, its id or the beginning of that: whoever has made it. Raises NotFound."""
        return Container(self.engine, lookup.resolve(self.engine, values.text("name", name))["Id"])

    @told
    def list(
        self, all: bool = False, *, filters: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> builtins.list[Container]:
        """Those that run, or `all`, newest first. Filters are Docker's.

        engine.containers.list(all=True, filters={"label": "job", "status": "exited"})
        """
        rows = listing.listing(self.engine, all=values.flag("all", all), filters=values.filters(filters))
        most = None if limit is None else values.whole("limit", limit)
        return [Container(self.engine, row["Id"]) for row in rows[:most]]

    @told
    def prune(self, *, filters: Mapping[str, Any] | None = None) -> Pruned:
        """Remove every container that does not run: their ids."""
        removed, freed = sweep.prune(self.engine, values.filters(filters))
        return Pruned(tuple(removed), freed)


def begin(
    engine: Engine,
    config: dict[str, Any],
    host_config: dict[str, Any],
    chosen: dict[str, Any],
) -> Container:
    """Start a container that goes on without the program."""
    with sent(engine, config, host_config, chosen) as start:
        start.started()
    return Container(engine, start.id, own=True)


def sent(
    engine: Engine,
    config: dict[str, Any],
    host_config: dict[str, Any],
    chosen: dict[str, Any],
) -> Start:
    """The start of such a container, whose monitor has been sent for; the caller's to close."""
    with held.Signals() as signals:
        start = creation.prepare(engine, config, host_config, begins=signals.hold, **chosen)
        start.go(detach=True)
    return start
