"""A container, as a Python program has it: one that it has begun, or one that somebody else has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.engine.containers import control
from estiva.engine.containers import inspect as inspection
from estiva.engine.state import locks, lookup
from estiva.sdk import steps, values
from estiva.sdk.objects import shown
from estiva.sdk.objects.contents import Contents
from estiva.sdk.objects.explained import Explained
from estiva.sdk.options import changes_of
from estiva.sdk.run_options import UpdateOptions
from estiva.sdk.sandbox.boxes import Boxes
from estiva.sdk.told import told
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    import enum
    from collections.abc import Generator, Iterator, Sequence
    from datetime import datetime
    from typing import Literal, Self, Unpack, overload

    from estiva.engine import Engine
    from estiva.engine.state.types import Record
    from estiva.view.shapes import Anatomy

    Signal = str | int | enum.IntEnum
    Moment = float | str | datetime


class Container(Boxes, Contents, Explained):
    """A container. What it is now is looked up each time that it is asked: there is nothing to reload.

        with estiva.container("alpine") as box:            # it ends with the block
            print(box.exec("uname -r").output)

        web = estiva.Engine().containers.get("web")        # somebody else's is left alone
        print(web.status, web.ip, [port.host for port in web.ports])

    As a block of its own, `with engine.containers.create(...) as box`, one that this program has made is
    removed at the end, and one that `get` has found is not. All raise EstivaError: NotFound for one that has
    gone, Conflict for one in the wrong state.
    """

    def __init__(self, engine: Engine, container_id: str, *, own: bool = False) -> None:
        self.engine = engine
        self.id = container_id
        self.own = own  # this program has made it: removed at the end of a block
        self.gone = False  # though its files may still be on their way

    def __repr__(self) -> str:
        return f"<estiva.Container {self.short_id}>"

    def _repr_html_(self) -> str:
        from estiva.sdk import html

        return html.container(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.own:
            from estiva.errors import NotFound

            try:
                self.remove(force=True, volumes=True)
            except NotFound:
                pass

    # --- what it is -------------------------------------------------------------------------------------

    @property
    def short_id(self) -> str:
        return self.id[:12]

    @told
    def inspect(self) -> Record:
        """All that is known of it, in Docker's shape."""
        return inspection.inspect(self.engine, self.id)

    @property
    def attrs(self) -> Record:
        """As `inspect`."""
        return self.inspect()

    @told
    def reload(self) -> None:
        """Nothing has to be: raises NotFound if it has gone."""
        self._record()

    def _record(self) -> Record:
        return lookup.resolve(self.engine, self.id)

    @property
    @told
    def name(self) -> str:
        return self._record()["Name"].removeprefix("/")

    @property
    @told
    def status(self) -> str:
        """created, running, paused, restarting, exited or dead."""
        return self._record()["State"]["Status"]

    @property
    @told
    def running(self) -> bool:
        """Whether it runs, also if it is paused; False for one that has gone."""
        return not self.gone and locks.held(self.engine.paths, self.id)

    @property
    @told
    def image(self) -> str:
        """The name of its image as it was asked for; `inspect()["Image"]` is its id."""
        return self._record()["Config"]["Image"]

    @property
    @told
    def labels(self) -> dict[str, str]:
        return dict(self._record()["Config"].get("Labels") or {})

    @property
    @told
    def ports(self) -> tuple[shown.Port, ...]:
        """Its published ports while it runs.

        assert box.ports[0].host == 8080
        """
        return shown.ports_of(self._record()["NetworkSettings"].get("Ports") or {})

    @property
    def ip(self) -> str:
        """Its IPv4 address on the network that it has its default route by; "" without one."""
        return next(iter(self.ips.values()), "")

    @property
    @told
    def ips(self) -> dict[str, str]:
        """Its IPv4 addresses by network."""
        networks = inspection.inspect(self.engine, self.id)["NetworkSettings"].get("Networks") or {}
        return {name: one["IPAddress"] for name, one in networks.items() if one.get("IPAddress")}

    @property
    @told
    def health(self) -> shown.Health | None:
        """What its health check has found; None without one, or while it does not run."""
        found = self._record()["State"].get("Health")
        return shown.health_of(found) if found else None

    @property
    @told
    def exit(self) -> shown.Exit | None:
        """How its last run ended; None while it runs or has never run.

        box.stop(); print(box.exit.status, box.exit.oom)
        """
        state = self._record()["State"]
        ended = not state["Running"] and state["Status"] != "created"
        return shown.exit_of(state) if ended else None

    @told
    def anatomy(self) -> Anatomy:
        """What it is made of now: processes, namespaces, network, limits, rights, mounts, layers
        (docs/anatomy.md)."""
        from estiva.view import anatomy

        return anatomy.of_container(self.engine, self.inspect())

    # --- its life ---------------------------------------------------------------------------------------

    @told
    def start(self) -> None:
        """Start it, and return once its command runs. Fine if it runs."""
        from estiva.engine.containers import tasks

        tasks.run(starting(self))

    @told
    def stop(self, timeout: float | None = None, *, signal: Signal | None = None) -> None:
        """Ask it to end, and kill it after `timeout` seconds (negative: never; None: its own, or 10). Fine if
        it does not run."""
        control.stop(self.engine, self.id, timeout=whole(timeout), signal=_signal(signal))

    @told
    def restart(self, timeout: float | None = None, *, signal: Signal | None = None) -> None:
        """Stop it, then start it."""
        from estiva.engine.containers import tasks

        seconds, word = whole(timeout), _signal(signal)
        work = control.restarting(self.engine, self.id, timeout=seconds, signal=word, starting=starting(self))
        tasks.run(work)

    @told
    def kill(self, signal: Signal = "KILL") -> None:
        """Send its main process a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM. Raises EstivaError."""
        control.kill(self.engine, self.id, values.signal(signal))

    @told
    def wait(self, timeout: float | None = None, condition: str = "not-running") -> shown.Exit:
        """Wait until it has ended: how. Or for another `condition`: next-exit, removed, running, paused,
        healthy, ... (engine/waits.py): then its status may be -1, as it has not ended.

        After `timeout` seconds StillRunning is raised, and nothing else happens.
        """
        from estiva.sdk.objects import waiting

        return waiting.wait(
            self.engine, self.id, values.text("condition", condition, "not-running"), values.seconds(timeout)
        )

    @told
    def pause(self) -> None:
        """Freeze all its processes."""
        control.pause(self.engine, self.id)

    @told
    def unpause(self) -> None:
        """Let them go on."""
        control.unpause(self.engine, self.id)

    @told
    def rename(self, name: str) -> None:
        control.rename(self.engine, self.id, values.text("name", name))

    @told
    @shows(UpdateOptions)
    def update(self, **options: Unpack[UpdateOptions]) -> list[str]:
        """Change its limits, also while it runs; warnings. When one is refused, none is changed.

        box.update(memory="512m", cpus=1.5)
        """
        from estiva.engine.containers import update

        return update.update(self.engine, self.id, changes_of(options))

    @told
    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it, with `force` also one that runs, with `volumes` also its volumes that have no name."""
        force, volumes = values.flag("force", force), values.flag("volumes", volumes)
        control.remove(self.engine, self.id, force=force, volumes=volumes)
        self.gone = True

    # --- what it writes, uses and does -------------------------------------------------------------------

    if TYPE_CHECKING:

        @overload
        def logs(
            self,
            *,
            stdout: bool = True,
            stderr: bool = True,
            since: Moment | None = None,
            until: Moment | None = None,
            tail: int | Literal["all"] = "all",
            timestamps: bool = False,
            follow: Literal[False] = False,
        ) -> bytes: ...

        @overload
        def logs(
            self,
            *,
            stdout: bool = True,
            stderr: bool = True,
            since: Moment | None = None,
            until: Moment | None = None,
            tail: int | Literal["all"] = "all",
            timestamps: bool = False,
            follow: Literal[True],
        ) -> Iterator[bytes]: ...

    @told
    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        since: Moment | None = None,
        until: Moment | None = None,
        tail: int | Literal["all"] = "all",
        timestamps: bool = False,
        follow: bool = False,
    ) -> bytes | Iterator[bytes]:
        """What it has written, in the order of time; with `follow` an iterator, until its run ends.

            for piece in box.logs(follow=True, tail=10): ...

        `tail`: the last so many lines. `since`, `until`: seconds since the epoch, a datetime, or "10m" before
        now. See also `log_lines`. Raises Unsupported where its log is not kept.
        """
        lines = self.reading(stdout, stderr, since, until, tail, follow)
        found = steps.items(pieces(lines, timestamps))
        return found if follow else b"".join(found)

    @told
    def log_lines(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        since: Moment | None = None,
        until: Moment | None = None,
        tail: int | Literal["all"] = "all",
        follow: bool = False,
    ) -> Iterator[shown.LogLine]:
        """As `logs`, line by line, each with its time and stream.

        errors = [line for line in box.log_lines() if line.stream == "stderr"]
        """
        return steps.items(self.reading(stdout, stderr, since, until, tail, follow))

    def reading(self, *asked: Any) -> steps.Stream[shown.LogLine]:
        """`log_lines` in steps: see logs.read for its arguments."""
        from estiva.sdk.objects import logs

        return logs.read(self.engine, self.id, *asked)

    @told
    def stats(self) -> shown.Stats:
        """What it uses now: memory, cpu, pids, io and network, in bytes and nanoseconds; see
        engine/containers/stats.py.

        stats["memory"]["working_set"] is what counts against the limit, ["usage"] has the page cache with it.
        """
        from estiva.engine.containers import stats

        return shown.stats_of(None, stats.stats(self.engine, self.id))

    def stats_stream(self, interval: float = 1.0) -> Iterator[shown.Stats]:
        """As `stats`, every `interval` seconds while it runs, with the use of the cpu between two."""
        return steps.items(self.measuring(interval))

    def measuring(self, interval: Any) -> steps.Stream[shown.Stats]:
        """`stats_stream` in steps."""
        seconds = values.seconds(interval) or 0.0
        from estiva.engine.containers import stats
        from estiva.errors import Conflict, NotFound

        before = None
        while True:
            try:
                now = stats.stats(self.engine, self.id)
            except (Conflict, NotFound):
                return
            yield shown.stats_of(before, now)
            before = now
            yield steps.Wait({}, seconds)

    @told
    def top(self, ps_args: str | Sequence[str] = "") -> shown.Processes:
        """Its processes, as ps on the host shows them."""
        titles, rows = inspection.top(self.engine, self.id, values.words("ps_args", ps_args))
        return shown.Processes(tuple(titles), tuple(map(tuple, rows)))


def signal(value: Any) -> str | None:
    """A signal's name or number, or None."""
    return None if value is None else values.signal(value)


def whole(value: Any) -> int | None:
    """Seconds until the kill: whole ones, as the engine has them."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -1e9 < value < 1e9:
        return -1 if value < 0 else round(value + 0.499999)
    raise values.wrong("timeout", "seconds", value)


def pieces(lines: steps.Stream[shown.LogLine], timestamps: Any) -> steps.Stream[bytes]:
    """The lines of a log as `logs` gives them."""
    wanted = values.flag("timestamps", timestamps)
    for line in lines:
        yield line if isinstance(line, steps.Wait) else line.piece(wanted)


_signal = signal  # by its own name a parameter is meant


def starting(container: Container) -> Generator[None, None, None]:
    """Its `start` as a task (engine/containers/tasks.py)."""
    from estiva.engine.containers import start

    if container.begun is not None and container.begun.lasts:
        return container.begun.again()
    return start.starting(container.engine, container.id)
