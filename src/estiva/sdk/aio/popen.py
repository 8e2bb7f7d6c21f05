"""A command in a container as asyncio.subprocess.Process has it: its streams while it runs."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from estiva.engine.launch.launch import Launched
from estiva.errors import InvalidInput
from estiva.sdk import running, values
from estiva.sdk.aio.loop import PATIENCE, Firm, call, ready
from estiva.sdk.objects.command import Command
from estiva.sdk.objects.streams import Modes
from estiva.sdk.pipes import CHUNK, MAX_OUTPUT
from estiva.sdk.told import told_later

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Self

    from estiva.engine import Engine
    from estiva.sdk.pipes import Sent

LIMIT = 1 << 16  # bytes of a line, as asyncio's


class Starting:
    """What `popen` gives: to be awaited, or for an `async with`, whose end it does not outlive."""

    def __init__(self, engine: Engine, ref: str, command: Any, options: dict[str, Any]) -> None:
        self._asked = (engine, ref, command, options)
        self._popen: Popen | None = None

    def __await__(self) -> Generator[Any, None, Popen]:
        return self._start().__await__()

    async def __aenter__(self) -> Popen:
        self._popen = await self._start()
        return self._popen

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        popen, self._popen = self._popen, None
        if popen is not None:
            await popen.__aexit__(kind, *exception)

    @told_later
    async def _start(self) -> Popen:
        engine, ref, command, given = self._asked
        limit = values.whole("limit", given.pop("limit"), 1)
        stdio = tuple(given.pop(name) for name in ("stdin", "stdout", "stderr"))
        size = given.pop("size")

        def send() -> Command:
            wanted = running.plan(engine, ref, command, **given)
            return Command(engine, wanted, (stdio[0], stdio[1], stdio[2]), size, Modes(False, None, None, 0))

        sent: list[Command] = []
        try:
            await call(lambda: sent.append(send()))
            began = sent[0]
            await ready(began.channel)
            began.started()
            popen = Popen(began)
            await popen._open(limit)
            return popen
        except BaseException as error:
            for each in sent:
                if each.mine and not isinstance(error, GeneratorExit):
                    await killed(each.launched)
                each.abandon()
            raise


async def killed(launched: Sent) -> None:
    """Have a command killed with all that it has started, and wait for its end."""
    if launched.channel.fileno() < 0:
        return  # it has ended
    with Firm() as firm:
        if not isinstance(launched, Launched):
            await call(launched.close, firm=firm)
            return
        launched.signal(9)
        while await ready(launched.channel.fileno(), PATIENCE, firm):
            if launched.receive()["event"] in ("exited", "lost", "error"):
                return


class Popen:
    """A command in a container: see Container.popen. `pid` is the host's; `returncode` is its status, 128+n
    for a signal, once it has ended; `truncated`, whether `communicate` has dropped output.

        async with box.popen(["sh"]) as shell:
            shell.stdin.write(b"echo hi\\n"); shell.stdin.close()
            print(await shell.stdout.read(), await shell.wait())

    At the end of an `async with` it is waited for; after an exception, a cancellation among them, it is
    killed with all that it has started.
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.args = command.args
        self.tty = command.tty
        self.pid = command.pid
        self.truncated = False
        self.stdin: StreamWriter | None = None
        self.stdout: StreamReader | None = None
        self.stderr: StreamReader | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._loop.add_reader(command.channel, self._end)

    async def _open(self, limit: int) -> None:
        plain = self._command
        if plain.stdin is not None:
            protocol = StreamReaderProtocol(StreamReader())  # for StreamWriter.wait_closed
            transport, _ = await self._loop.connect_write_pipe(lambda: protocol, plain.stdin)
            self._transports.append(transport)
            self.stdin = StreamWriter(transport, protocol, None, self._loop)
        self.stdout = await self._reader(plain.stdout, limit)
        self.stderr = await self._reader(plain.stderr, limit)

    async def _reader(self, file: IO[Any] | None, limit: int) -> StreamReader | None:
        if file is None:
            return None
        reader = StreamReader(limit)
        transport, _ = await self._loop.connect_read_pipe(partial(StreamReaderProtocol, reader), file)
        self._transports.append(transport)
        return reader

    def _end(self) -> None:
        """The monitor has told of its end."""
        if self._command.poll() is not None:
            self._loop.remove_reader(self._command.channel)
            self._command.close()
            self._ended.set_result(None)

    @property
    def returncode(self) -> int | None:
        """Its status once it has ended, else None."""
        return self._command.returncode

    async def wait(self) -> int:
        """Wait for its end: its status."""
        await asyncio.wait([self._ended])
        assert self.returncode is not None
        return self.returncode

    @told_later
    async def communicate(
        self, input: Any = None, *, max_output: int = MAX_OUTPUT
    ) -> tuple[bytes | None, bytes | None]:
        """Send `input`, read to the end, wait: (stdout, stderr), None for what is no pipe. Of each stream
        `max_output` bytes are kept, the rest is read and dropped."""
        most = values.whole("max_output", max_output)
        if input is not None and self.stdin is None:
            raise InvalidInput("input needs stdin to be a pipe")
        found = await asyncio.gather(
            self._read(self.stdout, most), self._read(self.stderr, most), self._feed(values.data(input))
        )
        await self.wait()
        return found[0], found[1]

    async def _feed(self, data: memoryview | None) -> None:
        if self.stdin is None:
            return
        try:
            while data:
                self.stdin.write(bytes(data[:CHUNK]))
                data = data[CHUNK:]
                await self.stdin.drain()
            self.stdin.close()
            await self.stdin.wait_closed()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it reads no more

    async def _read(self, reader: StreamReader | None, most: int) -> bytes | None:
        if reader is None:
            return None
        kept = bytearray()
        while data := await reader.read(CHUNK):
            room = max(0, most - len(kept))
            kept += data[:room]
            self.truncated = self.truncated or len(data) > room
        return bytes(kept)

    def send_signal(self, signal: Any) -> None:
        """Send it a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM; nothing if it has ended."""
        self._command.send_signal(signal)

    def terminate(self) -> None:
        """Ask it to end, by SIGTERM."""
        self._command.terminate()

    def kill(self) -> None:
        """Kill it with all that it has started."""
        self._command.kill()

    def resize(self, rows: int, columns: int) -> None:
        """The size of its terminal."""
        self._command.resize(rows, columns)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if not self._command.mine:
            return
        if kind is GeneratorExit or self._loop.is_closed():
            self._command.abandon()
            return
        if kind is not None:
            self.kill()
        if self.stdin is not None:
            self.stdin.close()
        with Firm() as firm:
            if kind is None:
                try:
                    await self.wait()
                except asyncio.CancelledError as error:
                    firm.cancelled = error
                    self.kill()
            await firm.wait(self._ended)
        for transport in self._transports:
            transport.close()

    def __repr__(self) -> str:
        return f"<estiva.aio.Popen returncode={self.returncode} args={values.shown(self.args)}>"
