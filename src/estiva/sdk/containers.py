"""Containers from a Python program: `run`, `container`.

No daemon: the first container starts a spawner process (engine/launch/spawner.py), the later ones are forks
of it. Every function may be called from any thread. Options are keyword arguments with the command line's
names. A container that is begun here ends with the program, however that ends (begun.py).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from estiva.engine import Engine
from estiva.engine.containers import control, preload  # noqa: F401
from estiva.engine.containers import exec as exec_
from estiva.engine.containers import inspect as inspection
from estiva.engine.state import locks
from estiva.errors import Conflict
from estiva.sdk import values
from estiva.sdk.begun import Begun
from estiva.sdk.options import changes_of, host_config_of
from estiva.sdk.pipes import MAX_OUTPUT, Pipes
from estiva.sdk.result import Result
from estiva.sdk.told import told

if TYPE_CHECKING:
    import enum
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from estiva.engine.state.types import Record

    Word = str | os.PathLike[str]
    Data = bytes | bytearray | memoryview | str

_lock = threading.Lock()
_engine: Engine | None = None


def _in_a_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it


os.register_at_fork(after_in_child=_in_a_fork)


def default_engine() -> Engine:
    """The engine over ESTIVA_ROOT and ESTIVA_RUN_ROOT, made once."""
    global _engine
    with _lock:
        if _engine is None:
            _engine = Engine()
        return _engine


@told
def run(
    image: str,
    command: Sequence[Word] = (),
    *,
    input: Data | None = None,
    timeout: float | None = None,
    max_output: int = MAX_OUTPUT,
    engine: Engine | None = None,
    **options: Any,
) -> Result:
    """Run a command in a new container and remove it: its status and output.

    After `timeout` seconds the container is killed and CommandTimeout raised, which has the output so far. Of
    stdout and of stderr `max_output` bytes each are kept, the rest is read and dropped. Options: see
    `container`. Raises EstivaError.
    """
    timeout = values.seconds(timeout)
    pipes = Pipes(values.data(input), values.whole("max_output", max_output))
    config, host_config, chosen = settings(image, command or (), options, engine)
    config["OpenStdin"] = input is not None
    host_config["LogConfig"] = {"Type": "none"}  # all that it writes comes here, and it is gone afterwards
    engine = engine or default_engine()
    with pipes, Begun(engine, config, host_config, stdio=pipes.theirs, **chosen) as start:
        try:
            pipes.close_theirs()
            start.started()
            pipes.communicate(timeout, start.launched)
            outcome = start.wait()
        finally:
            pipes.close()  # before the container's end is asked for
        return pipes.result(outcome, timeout)


def settings(
    image: Any, command: Any, options: dict[str, Any], engine: Any
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(Config, HostConfig, options of create.prepare) of what the caller gave. Raises InvalidInput."""
    values.engine(engine)
    options = dict(options)
    chosen = {
        "name": values.text("name", options.pop("name", None)) or None,
        "pull": values.text("pull", options.pop("pull", None), "missing"),
    }
    config: dict[str, Any] = {
        "Image": values.text("image", image),
        "Cmd": values.words("the command", command),
    }
    if not config["Image"]:
        raise values.wrong("image", "a name or id", image)
    return config, host_config_of(options, config), chosen


@told
def container(
    image: str,
    command: Sequence[Word] | None = None,
    *,
    engine: Engine | None = None,
    **options: Any,
) -> AbstractContextManager[Container]:
    """A container for the length of a with-block; it is killed and removed at its end, or with the program.

    Without `command` its main process is Estiva's own init, which only waits, so that any image serves.
    Options: memory, memory_swap, memory_reservation, shm_size ("256m" or bytes), cpus, pids_limit and the
    other limits of sdk/options.py, devices [node or CDI name], ulimits {"nofile": (1024, 2048)}, network,
    ports {80: 8080}, env {}, volumes {host or volume name: place}, tmpfs [place], user, workdir, hostname,
    entrypoint, read_only, privileged, cap_add [], cap_drop [], security_opt [], init, labels {}, name, pull.
    Raises EstivaError.
    """
    idle = command is None
    config, host_config, chosen = settings(image, ["estiva-idle"] if idle else command, options, engine)
    if idle:
        config["Entrypoint"] = []
        host_config["Init"] = True
    return Block(engine, config, host_config, idle, chosen)


class Block:
    """What `container` gives: see there."""

    def __init__(
        self,
        engine: Engine | None,
        config: dict[str, Any],
        host_config: dict[str, Any],
        idle: bool,
        chosen: dict[str, Any],
    ) -> None:
        self.engine = engine or default_engine()
        self._begun = Begun(self.engine, config, host_config, idle=idle, lingers=True, **chosen)
        self._box: Container | None = None
        self._entered = threading.Lock()  # held while it is

    @told
    def __enter__(self) -> Container:
        if not self._entered.acquire(blocking=False):
            raise Conflict(
                "this estiva.container has been entered already", hint="make one for each with-block"
            )
        try:
            start = self._begun.__enter__()
            start.started()
            self._box = Container(self.engine, start.id)
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


class Container:
    """A running container, as `estiva.container` gives it."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self.engine = engine
        self.id = container_id
        self._gone = False  # though its files may still be on their way

    @told
    def exec(
        self,
        command: Sequence[Word],
        *,
        input: Data | None = None,
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        env: Mapping[str, str | None] | Sequence[str] | None = None,
        user: str | int = "",
        workdir: Word = "",
        privileged: bool = False,
    ) -> Result:
        """Run one more command in it: its status and output; `timeout` and `max_output` as of `run`.

        At the timeout, or when the program ends, the command is killed with all that it has started. Raises
        EstivaError.
        """
        timeout = values.seconds(timeout)
        pipes = Pipes(values.data(input), values.whole("max_output", max_output))
        wanted = exec_.plan(
            self.engine,
            self.id,
            values.words("the command", command),
            env=values.environment(env),
            user=values.user(user),
            workdir=values.path("workdir", workdir) if workdir not in ("", None) else "",
            stdin=input is not None,
            privileged=values.flag("privileged", privileged),
            bound=True,
        )
        with pipes:
            launched = exec_.launch(self.engine, wanted, pipes.theirs)
            try:
                pipes.close_theirs()
                launched.started()
                pipes.communicate(timeout, launched)
                outcome = launched.wait()
            finally:
                launched.close()  # what runs still is killed
        return pipes.result(outcome, timeout)

    @told
    def put(self, source: Word | bytes | bytearray | memoryview, path: Word, *, mode: int = 0o644) -> None:
        """Put bytes, or a file or folder of the host, at `path` in the container; parents are made.

        A folder goes into one that is there, and replaces the files of the same names, as `docker cp
        FOLDER/.` does. `mode` is that of a file of bytes. Raises EstivaError.
        """
        from estiva.engine.containers.cp import program

        plain = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else None
        where = values.path("path", path)
        mode = values.whole("mode", mode, 0, 0o10000)
        program.put(
            self.engine, self.id, values.path("source", source) if plain is None else plain, where, mode
        )

    @told
    def get(self, path: Word, target: Word | None = None) -> bytes:
        """The bytes of a file in the container; with `target`, a file or folder is copied there instead, a
        folder into one that is there. Raises EstivaError.
        """
        from estiva.engine.containers.cp import program

        there = None if target is None else values.path("target", target)
        return program.get(self.engine, self.id, values.path("path", path), there)

    @told
    def commit(
        self,
        reference: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] | None = None,
        pause: bool = True,
    ) -> str:
        """A new image out of what the container is now; its id. `changes` are Dockerfile instructions. Raises
        EstivaError.
        """
        from estiva.engine.containers import changes as committing

        return committing.commit(
            self.engine,
            self.id,
            values.text("reference", reference) or None,
            author=values.text("author", author),
            message=values.text("message", message),
            changes=values.listed("changes", changes),
            pause=values.flag("pause", pause),
        )

    @told
    def inspect(self) -> Record:
        """All that is known of it, in Docker's shape."""
        return inspection.inspect(self.engine, self.id)

    @told
    def stats(self) -> dict[str, Any]:
        """What it uses now: memory, cpu, pids, io and network, in bytes and nanoseconds; see
        engine/containers/stats.py.

        memory["working_set"] is what counts against the limit, memory["usage"] has the page cache with it.
        """
        from estiva.engine.containers import stats

        return stats.stats(self.engine, self.id)

    @told
    def update(self, **options: Any) -> list[str]:
        """Change its limits while it runs; warnings. Options: memory, memory_swap, memory_reservation, cpus,
        cpu_period, cpu_quota, cpu_shares, cpuset_cpus, cpuset_mems, pids_limit, blkio_weight.

        When one is refused, none is changed. Raises EstivaError.
        """
        from estiva.engine.containers import update

        return update.update(self.engine, self.id, changes_of(options))

    @told
    def pause(self) -> None:
        """Freeze all its processes."""
        control.pause(self.engine, self.id)

    @told
    def unpause(self) -> None:
        control.unpause(self.engine, self.id)

    @told
    def kill(self, signal: str | int | enum.IntEnum = "KILL") -> None:
        """Send its main process a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM. Raises EstivaError."""
        control.kill(self.engine, self.id, values.signal(signal))

    @property
    @told
    def running(self) -> bool:
        return not self._gone and locks.held(self.engine.paths, self.id)
