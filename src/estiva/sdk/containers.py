"""Containers from a Python program: `run`, `container`, `build`, `pull`, `push`.

No daemon: the first container starts a spawner process (engine/launch/spawner.py), the later ones are forks
of it.
Every function may be called from any thread. Options are keyword arguments with the command line's names.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any

from estiva.engine import Engine
from estiva.engine.containers import control, create
from estiva.engine.containers import exec as exec_
from estiva.engine.containers import inspect as inspection
from estiva.engine.state import locks
from estiva.errors import EngineError, InvalidInput, NotFound
from estiva.sdk.options import changes_of, host_config_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from estiva.engine.launch.launch import Launched
    from estiva.engine.state.types import Outcome, Record

LONGEST = 86_400_000.0  # milliseconds that poll(2) is asked to wait at once; it takes an int
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


class Result:
    """How a command ended: `status` (128+n for a signal), `stdout` and `stderr` as bytes, `oom` if it was
    killed for its memory limit."""

    __slots__ = ("oom", "status", "stderr", "stdout")

    def __init__(self, status: int, stdout: bytes, stderr: bytes, oom: bool = False) -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.oom = oom

    @property
    def output(self) -> str:
        """stdout as text."""
        return self.stdout.decode(errors="replace")

    def check(self) -> Result:
        """This result. Raises EngineError unless the status is 0."""
        if self.status:
            last = self.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise EngineError(f"the command ended with status {self.status}" + (f": {last}" if last else ""))
        return self

    def __repr__(self) -> str:
        return f"Result(status={self.status}, stdout={self.stdout!r}, stderr={self.stderr!r})"


def run(
    image: str,
    command: Sequence[str] = (),
    *,
    input: bytes | str | None = None,
    timeout: float | None = None,
    engine: Engine | None = None,
    **options: Any,
) -> Result:
    """Run a command in a new container and remove it: its status and output.

    `timeout` in seconds: the container is killed then and TimeoutError raised. Options: see `container`.
    Raises EstivaError.
    """
    timeout = bound(timeout)
    engine = engine or default_engine()
    config, host_config, name, pull = settings(image, command, options)
    config["OpenStdin"] = input is not None
    host_config["AutoRemove"] = True
    with create.prepare(engine, config, host_config, name=name, pull=pull) as start, Pipes(input) as pipes:
        start.go(pipes.theirs)
        try:
            pipes.close_theirs()
            start.started()
            stdout, stderr = pipes.communicate(timeout, start.launched)
            outcome = start.wait()
        except BaseException:  # Ctrl-C too: nobody is left to hear of it
            start.signal(9)
            raise
    return finished(outcome, stdout, stderr, pipes.timed_out, timeout)


def finished(
    outcome: Outcome, stdout: bytes, stderr: bytes, timed_out: bool, timeout: float | None
) -> Result:
    if timed_out:
        raise TimeoutError(f"the command was killed after {timeout} s")
    if outcome["event"] != "exited":
        raise EngineError("the container's monitor was killed", hint="`estiva system check` cleans up")
    return Result(outcome["status"], stdout, stderr, bool(outcome.get("oom")))


def bound(timeout: object) -> float | None:
    """A timeout in seconds; None for none. Raises InvalidInput."""
    if timeout is None or timeout == float("inf"):
        return None
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout >= 0:
        return float(timeout)
    raise InvalidInput(f"timeout must be seconds, not {timeout!r:.60}", hint="a number, or None for no limit")


def settings(
    image: str, command: Sequence[str], options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], str | None, str]:
    """(Config, HostConfig, name, pull) of keyword options. Raises InvalidInput for an unknown one."""
    if isinstance(command, str):
        raise InvalidInput(
            "the command must be a list of words", hint='["sh", "-c", "..."] runs a shell line'
        )
    options = dict(options)
    name, pull = options.pop("name", None), options.pop("pull", "missing")
    config: dict[str, Any] = {"Image": image, "Cmd": [os.fspath(word) for word in command]}
    return config, host_config_of(options, config), name, pull


@contextlib.contextmanager
def container(
    image: str,
    command: Sequence[str] | None = None,
    *,
    engine: Engine | None = None,
    **options: Any,
) -> Iterator[Container]:
    """A container for the length of a with-block; it is killed and removed at its end.

    Without `command` its main process is Estiva's own init, which only waits, so that any image serves.
    Options: memory, memory_swap, memory_reservation, shm_size ("256m" or bytes), cpus, pids_limit and the
    other limits of sdk/options.py, devices [node or CDI name], ulimits {"nofile": (1024, 2048)}, network,
    ports {80: 8080}, env {}, volumes {host or volume name: place}, tmpfs [place], user, workdir, hostname,
    entrypoint, read_only, privileged, cap_add [], cap_drop [], security_opt [], init, labels {}, name, pull.
    Raises EstivaError.
    """
    engine = engine or default_engine()
    config, host_config, name, pull = settings(image, command or ["estiva-idle"], options)
    if command is None:
        config["Entrypoint"] = []
        host_config["Init"] = True
    start = create.prepare(engine, config, host_config, name=name, pull=pull)
    try:
        start.go(idle=command is None)
        start.started()
        yield Container(engine, start.id)
    finally:
        start.close()
        with contextlib.suppress(NotFound):
            control.remove(engine, start.id, force=True, volumes=True)


class Container:
    """A running container, as `estiva.container` gives it."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self.engine = engine
        self.id = container_id

    def exec(
        self,
        command: Sequence[str],
        *,
        input: bytes | str | None = None,
        timeout: float | None = None,
        env: dict[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        privileged: bool = False,
    ) -> Result:
        """Run one more command in it: its status and output. Raises EstivaError, TimeoutError."""
        if isinstance(command, str):
            raise InvalidInput("the command must be a list of words", hint='["sh", "-c", "..."]')
        timeout = bound(timeout)
        wanted = exec_.plan(
            self.engine,
            self.id,
            list(command),
            env=[f"{key}={value}" for key, value in (env or {}).items()],
            user=user,
            workdir=workdir,
            stdin=input is not None,
            privileged=privileged,
        )
        with Pipes(input) as pipes:
            launched = exec_.launch(self.engine, wanted, pipes.theirs)
            try:
                pipes.close_theirs()
                launched.started()
                stdout, stderr = pipes.communicate(timeout, launched)
                outcome = launched.wait()
            except BaseException:
                launched.signal(9)
                raise
            finally:
                launched.close()
        return finished(outcome, stdout, stderr, pipes.timed_out, timeout)

    def put(self, source: str | os.PathLike[str] | bytes, path: str, *, mode: int = 0o644) -> None:
        """Put bytes, or a file or folder of the host, at `path` in the container; parents are made."""
        from estiva.engine.containers import cp

        cp.put(self.engine, self.id, source, path, mode)

    def get(self, path: str, target: str | os.PathLike[str] | None = None) -> bytes:
        """The bytes of a file in the container; with `target`, a file or folder is copied there instead."""
        from estiva.engine.containers import cp

        return cp.get(self.engine, self.id, path, target)

    def commit(self, reference: str | None = None, **options: Any) -> str:
        """A new image out of what the container is now; its id. Options: author, message, changes."""
        from estiva.engine.containers import changes

        return changes.commit(self.engine, self.id, reference, **options)

    def inspect(self) -> Record:
        """All that is known of it, in Docker's shape."""
        return inspection.inspect(self.engine, self.id)

    def stats(self) -> dict[str, Any]:
        """What it uses now: memory, cpu, pids, io and network, in bytes and nanoseconds; see
        engine/containers/stats.py.

        memory["working_set"] is what counts against the limit, memory["usage"] has the page cache with it.
        """
        from estiva.engine.containers import stats

        return stats.stats(self.engine, self.id)

    def update(self, **options: Any) -> list[str]:
        """Change its limits while it runs; warnings. Options: memory, memory_swap, memory_reservation, cpus,
        cpu_period, cpu_quota, cpu_shares, cpuset_cpus, cpuset_mems, pids_limit, blkio_weight.

        When one is refused, none is changed. Raises EstivaError.
        """
        from estiva.engine.containers import update

        return update.update(self.engine, self.id, changes_of(options))

    def pause(self) -> None:
        """Freeze all its processes."""
        control.pause(self.engine, self.id)

    def unpause(self) -> None:
        control.unpause(self.engine, self.id)

    def kill(self, signal: str = "KILL") -> None:
        control.kill(self.engine, self.id, signal)

    @property
    def running(self) -> bool:
        return locks.held(self.engine.paths, self.id)


class Pipes:
    """Three pipes to a container and the copying between them and bytes in memory."""

    def __init__(self, input: bytes | str | None) -> None:
        try:
            data = input.encode() if isinstance(input, str) else input
            self.data = None if data is None else memoryview(data).cast("B")
        except TypeError:
            raise InvalidInput(f"input must be bytes or text, not {type(input).__name__}") from None
        self.timed_out = False
        self.ours: list[int] = []
        self.open: list[int] = []

    def __enter__(self) -> Pipes:
        stdin, feed = os.pipe() if self.data is not None else (-1, -1)
        out_r, out_w = os.pipe()
        err_r, err_w = os.pipe()
        self.feed, self.out, self.err = feed, out_r, err_r
        self.theirs = (stdin, out_w, err_w)
        self.open = [fd for fd in (stdin, feed, out_r, out_w, err_r, err_w) if fd >= 0]
        return self

    def __exit__(self, *exception: object) -> None:
        for fd in self.open:
            os.close(fd)

    def close(self, fd: int) -> None:
        self.open.remove(fd)
        os.close(fd)

    def close_theirs(self) -> None:
        for fd in self.theirs:
            if fd >= 0:
                self.close(fd)

    def communicate(self, timeout: float | None, launched: Launched) -> tuple[bytes, bytes]:
        """(stdout, stderr) whole, when the command has ended or says no more. After `timeout` seconds it is
        killed, and what came is returned.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = launched.channel.fileno()
        chunks: dict[int, list[bytes]] = {self.out: [], self.err: []}
        waiting = self.data if self.data is not None else memoryview(b"")
        poll = select.poll()
        for fd in chunks:
            poll.register(fd, select.POLLIN)
        if self.feed >= 0:
            os.set_blocking(self.feed, False)
            poll.register(self.feed, select.POLLOUT)
        left = 2
        while left or deadline is not None:
            if not left:  # it may have closed its output and go on: until the monitor says that it has ended
                poll.register(ended, select.POLLIN)
            wait = None if deadline is None else min(max(0.0, deadline - time.monotonic()) * 1000, LONGEST)
            ready = poll.poll(wait)
            if not left and ended in dict(ready):
                break
            if not ready and deadline is not None and time.monotonic() >= deadline:
                self.timed_out, deadline = True, None
                launched.signal(9)
            for fd, _ in ready:
                if fd == self.feed:
                    try:
                        waiting = waiting[os.write(fd, waiting[: 1 << 16]) :] if waiting else waiting
                    except BrokenPipeError:
                        waiting = memoryview(b"")
                    if not waiting:
                        poll.unregister(fd)
                        self.close(fd)
                    continue
                data = os.read(fd, 1 << 16)
                if data:
                    chunks[fd].append(data)
                else:
                    poll.unregister(fd)
                    left -= 1
        return b"".join(chunks[self.out]), b"".join(chunks[self.err])


def build(
    context: str | None = ".", *, tag: str | Sequence[str] = (), engine: Engine | None = None, **options: Any
) -> str:
    """Build an image from the Dockerfile of a folder; its id. Options: those of builder.request.Request."""
    from estiva.engine import builds

    tags = [tag] if isinstance(tag, str) else list(tag)
    return builds.build(engine or default_engine(), context=context, tags=tags, **options)


def pull(reference: str, *, platform: str | None = None, engine: Engine | None = None) -> str:
    """Fetch an image from its registry; its id. Raises NotFound also where it has none for the platform."""
    from estiva.engine.images import platforms, registry

    image = registry.pull(engine or default_engine(), reference, platform=platform)
    other = platforms.mismatch(image, reference, platform) if platform else ""
    if other:
        raise NotFound(other)
    return image.id


def push(reference: str, *, engine: Engine | None = None) -> str:
    """Send an image to its registry; the digest under which it is there now."""
    from estiva.engine.images import registry

    return registry.push(engine or default_engine(), reference)
