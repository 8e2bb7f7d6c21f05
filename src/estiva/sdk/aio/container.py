"""A container, in asyncio: see sdk/objects/container.py, whose methods these are."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from estiva.engine.containers import control
from estiva.engine.containers import exec as exec_
from estiva.engine.launch.launch import Refused
from estiva.errors import NotFound
from estiva.sdk import running, steps, values
from estiva.sdk.aio.attached import Attaching
from estiva.sdk.aio.bridge import Around, Field, Looked, copied, later
from estiva.sdk.aio.entered import Fork
from estiva.sdk.aio.files import Files
from estiva.sdk.aio.loop import Firm, Stream, call, drive, ready
from estiva.sdk.aio.popen import LIMIT, Starting, killed
from estiva.sdk.aio.python import Python
from estiva.sdk.aio.snapshots import Snapshot
from estiva.sdk.objects import container as plain
from estiva.sdk.objects import shown, waiting
from estiva.sdk.objects.contents import Contents
from estiva.sdk.pipes import MAX_OUTPUT
from estiva.sdk.told import told_later

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Literal, overload

    from estiva.engine.launch.launch import Launched
    from estiva.sdk.objects.container import Moment, Signal
    from estiva.sdk.pipes import Pipes, Sent
    from estiva.sdk.result import Result

    Word = str | os.PathLike[str]
    Command = str | Sequence[Word]
    Data = bytes | bytearray | memoryview | str
    Paths = Word | Sequence[Word]
    Environment = Mapping[str, str | None] | Sequence[str]

Plain = plain.Container


class Container(Around[Plain]):
    """A container. What it is now is looked up each time, and so awaited.

        async with estiva.aio.container("alpine") as box:
            result = await box.exec("uname -r")
            print(result.output, await box.status, await box.ip)

    As a block of its own, `async with await engine.containers.create(...) as box`, one that this program has
    made is removed at the end. All raise EstivaError. Waiting takes no thread, however many there are.
    """

    id = Field[str]("id")
    short_id = Field[str]("short_id")
    name = Looked[str]("name", Plain)
    status = Looked[str]("status", Plain)
    running = Looked[bool]("running", Plain)
    image = Looked[str]("image", Plain)
    labels = Looked[dict[str, str]]("labels", Plain)
    ports = Looked[tuple[shown.Port, ...]]("ports", Plain)
    ip = Looked[str]("ip", Plain)
    ips = Looked[dict[str, str]]("ips", Plain)
    health = Looked[shown.Health | None]("health", Plain)
    exit = Looked[shown.Exit | None]("exit", Plain)

    inspect = later(Plain.inspect)
    reload = later(Plain.reload)
    rename = later(Plain.rename)
    update = later(Plain.update)
    stats = later(Plain.stats)
    top = later(Plain.top)
    why = later(Plain.why)
    doctor = later(Plain.doctor)
    diff = copied(Contents.diff)
    put = copied(Contents.put)
    get = copied(Contents.get)
    put_archive = copied(Contents.put_archive)
    get_archive = copied(Contents.get_archive)
    export = copied(Contents.export)
    commit = copied(Contents.commit)
    anatomy = later(Plain.anatomy)
    _python: Python | None = None
    snapshot = copied(Plain.snapshot, Snapshot)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._plain.own:
            try:
                with Firm() as firm:
                    await self._remove(True, True, firm)
            except NotFound:
                pass

    @property
    def files(self) -> Files:
        """Its files: read, write, list, stat, remove, walk, upload, download; also while it does not run."""
        return Files(self._plain.files)

    @property
    def python(self) -> Python:
        """A Python interpreter in it, started with the first run, of which each run is a fork.

        print((await box.python.run("import sys; sys.version", timeout=5)).value)
        """
        if self._python is None:
            self._python = Python(self._plain.python)
        return self._python

    def fork(self, *, memory: bool = False) -> AbstractAsyncContextManager[Container]:
        """A new box that begins with the files that this one has now: see estiva.Container.fork.

        async with box.fork() as other: await other.exec("make test")
        """
        return Fork(self._plain, Container, memory=memory)

    # --- its life ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it, and return once its command runs. Fine if it runs."""
        await self._do(plain.starting(self._plain))

    async def stop(self, timeout: float | None = None, *, signal: Signal | None = None) -> None:
        """Ask it to end, and kill it after `timeout` seconds (negative: never; None: its own, or 10). Fine if
        it does not run."""
        seconds, word = plain.whole(timeout), plain.signal(signal)
        await self._do(control.stopping(self._plain.engine, self.id, timeout=seconds, signal=word))

    async def restart(self, timeout: float | None = None, *, signal: Signal | None = None) -> None:
        """Stop it, then start it."""
        seconds, word = plain.whole(timeout), plain.signal(signal)
        starting = plain.starting(self._plain)
        work = control.restarting(
            self._plain.engine, self.id, timeout=seconds, signal=word, starting=starting
        )
        await self._do(work)

    async def kill(self, signal: Signal = "KILL") -> None:
        """Send its main process a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM."""
        await self._do(control.killing(self._plain.engine, self.id, values.signal(signal)))

    async def pause(self) -> None:
        """Freeze all its processes."""
        await self._do(control.pausing(self._plain.engine, self.id))

    async def unpause(self) -> None:
        """Let them go on."""
        await self._do(control.unpausing(self._plain.engine, self.id))

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it, with `force` also one that runs, with `volumes` also its volumes that have no name."""
        await self._remove(values.flag("force", force), values.flag("volumes", volumes))

    async def _remove(self, force: bool, volumes: bool, firm: Firm | None = None) -> None:
        await self._do(control.removing(self._plain.engine, self.id, force=force, volumes=volumes), firm)
        self._plain.gone = True

    async def wait(self, timeout: float | None = None, condition: str = "not-running") -> shown.Exit:
        """Wait until it has ended: how. Or for another `condition`: see estiva.Container.wait. After
        `timeout` seconds StillRunning is raised, and nothing else happens."""
        what, seconds = values.text("condition", condition, "not-running"), values.seconds(timeout)
        return await drive(waiting.waiting(self._plain.engine, self.id, what, seconds), apart=True)

    async def _do(self, task: Any, firm: Firm | None = None) -> None:
        await drive(steps.paced(task), apart=True, firm=firm)

    # --- commands ---------------------------------------------------------------------------------------

    @told_later
    async def exec(
        self,
        command: Command,
        *,
        input: Data | None = None,
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: Callable[[str, bytes], object] | None = None,
        env: Environment | None = None,
        env_file: Paths = (),
        user: str | int = "",
        workdir: Word = "",
        privileged: bool = False,
    ) -> Result:
        """Run one more command in it: its status and output.

            print((await box.exec(["sh", "-c", "echo $A"], env={"A": "1"})).output)

        At its timeout, when the task is cancelled, or the program ends, the command is killed with all that
        it has started.
        """
        seconds = values.seconds(timeout)
        asked = {"env": env, "env_file": env_file, "user": user, "workdir": workdir, "privileged": privileged}
        ways = self._plain.ways(command, asked, stdin=input is not None)
        while True:
            try:
                return await _executed(ways, running.piped(input, max_output, on_output), seconds)
            except Refused:
                continue

    async def exec_detached(
        self,
        command: Command,
        *,
        env: Environment | None = None,
        env_file: Paths = (),
        user: str | int = "",
        workdir: Word = "",
        privileged: bool = False,
        tty: bool = False,
    ) -> None:
        """Start one more command in it and leave it alone: see estiva.Container.exec_detached."""

        def send() -> Launched:
            wanted = running.plan(
                self._plain.engine,
                self.id,
                command,
                env=env,
                env_file=env_file,
                user=user,
                workdir=workdir,
                privileged=privileged,
                tty=tty,
                bound=False,
            )
            return exec_.launch(self._plain.engine, wanted, (-1, -1, -1))

        launched = await call(send, lambda launched: launched.close())
        try:
            await ready(launched.channel.fileno())
            launched.started()
        finally:
            launched.close()

    def attach(self) -> Attaching:
        """Its main process, in the shape of asyncio.subprocess.Process: what it writes from now on, and its
        stdin if it has one.

        async with box.attach() as main: print(await main.stdout.readline())
        """
        return Attaching(self._plain.engine, self.id)

    def popen(
        self,
        command: Command,
        *,
        stdin: Any = -1,
        stdout: Any = -1,
        stderr: Any = -1,
        tty: bool = False,
        size: tuple[int, int] | None = None,
        env: Environment | None = None,
        env_file: Paths = (),
        user: str | int = "",
        workdir: Word = "",
        privileged: bool = False,
        limit: int = LIMIT,
    ) -> Starting:
        """Start one more command in it, with its streams as asyncio.subprocess has them.

            async with box.popen("cat") as cat:
                print(await cat.communicate(b"through"))

        Or `cat = await box.popen("cat")`, to be waited for by the caller. Streams: see
        estiva.Container.popen. `limit` is of asyncio's StreamReader.
        """
        options = {
            "stdin": stdin, "stdout": stdout, "stderr": stderr, "tty": tty, "size": size, "env": env,
            "env_file": env_file, "user": user, "workdir": workdir, "privileged": privileged, "limit": limit,
        }  # fmt: skip
        return Starting(self._plain.engine, self.id, command, options)

    # --- what it writes and uses ------------------------------------------------------------------------

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
        ) -> Coroutine[Any, Any, bytes]: ...

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
        ) -> Stream[bytes]: ...

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
    ) -> Coroutine[Any, Any, bytes] | Stream[bytes]:
        """What it has written: `await box.logs()`; with `follow` an iterator, until its run ends.

        async for piece in box.logs(follow=True, tail=10): ...
        """
        read = partial(self._plain.reading, stdout, stderr, since, until, tail, follow)
        pieces: Stream[bytes] = Stream(lambda: plain.pieces(read(), timestamps))
        return pieces if values.flag("follow", follow) else _joined(pieces)

    def log_lines(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        since: Moment | None = None,
        until: Moment | None = None,
        tail: int | Literal["all"] = "all",
        follow: bool = False,
    ) -> Stream[shown.LogLine]:
        """As `logs`, line by line, each with its time and stream: `async for line in box.log_lines()`."""
        return Stream(partial(self._plain.reading, stdout, stderr, since, until, tail, follow))

    def stats_stream(self, interval: float = 1.0) -> Stream[shown.Stats]:
        """As `stats`, every `interval` seconds while it runs: `async for used in box.stats_stream()`."""
        return Stream(partial(self._plain.measuring, interval))


async def _executed(ways: Iterator[running.Way], pipes: Pipes, seconds: float | None) -> Result:
    """Run a command in the next of the ways: see sdk/running.py. Raises Refused."""
    with pipes:
        sent: list[Sent] = []
        try:
            await call(lambda: sent.append(next(ways)(pipes.theirs)))
            pipes.close_theirs()
            outcome = await drive(running.executing(sent[0], pipes, seconds))
        except BaseException as error:
            mine = pipes.mine
            pipes.close()
            if sent and mine and not isinstance(error, GeneratorExit):
                await killed(sent[0])
            raise
        finally:
            for each in sent:
                each.close()  # what runs still is killed
        return pipes.result(outcome, seconds)


async def _joined(pieces: Stream[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])
