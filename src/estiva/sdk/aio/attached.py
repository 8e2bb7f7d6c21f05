"""A container's main process, in asyncio: see sdk/objects/attached.py."""

from __future__ import annotations

import asyncio
import os
from asyncio import ReadTransport, StreamReader
from typing import TYPE_CHECKING, Any

from estiva.engine.containers import attach as attaching
from estiva.engine.launch import forks
from estiva.errors import Conflict, EstivaError, InvalidInput
from estiva.sdk import values
from estiva.sdk.aio.loop import call
from estiva.sdk.objects.command import KILLED, signal_of, size_of
from estiva.sdk.pipes import CHUNK, MAX_OUTPUT
from estiva.sdk.told import told_later

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Self

    from estiva.engine import Engine


class Attaching:
    """What `attach` gives: to be awaited, or for an `async with`, at whose end it is left."""

    def __init__(self, engine: Engine, ref: str) -> None:
        self._asked = (engine, ref)
        self._attached: Attached | None = None

    def __await__(self) -> Generator[Any, None, Attached]:
        return self._attach().__await__()

    async def __aenter__(self) -> Attached:
        self._attached = await self._attach()
        return self._attached

    async def __aexit__(self, *exception: object) -> None:
        if self._attached is not None:
            self._attached.close()

    @told_later
    async def _attach(self) -> Attached:
        return Attached(await call(lambda: attaching.attach(*self._asked), lambda way: way.close()))


class Attached:
    """A container's main process: `stdin` (None where it has none), `stdout` and `stderr` as those of
    asyncio.subprocess, from now on. To close it, or to leave the block, is to go away: the container goes on.
    What is not read keeps the container waiting, and after 10 seconds it is left.
    """

    def __init__(self, way: attaching.Attached) -> None:
        self._way = way
        forks.channels.add(way)
        self._loop = asyncio.get_running_loop()
        self._owner = os.getpid()
        self._fd = way.channel.fileno()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._paused: set[StreamReader] = set()
        self._room = asyncio.Event()
        config = way.record["Config"]
        self.tty = bool(config.get("Tty"))
        self.pid = way.record["State"]["Pid"]
        self.truncated = False
        self.stdin = Input(self) if config.get("OpenStdin") else None
        self.stdout = self._reader()
        self.stderr = None if self.tty else self._reader()
        self._loop.add_reader(self._fd, self._hear)

    def _reader(self) -> StreamReader:
        reader = StreamReader()
        reader.set_transport(_Transport(self, reader))
        return reader

    @property
    def returncode(self) -> int | None:
        """Its status once it has ended, else None."""
        return self._ended.result() if self._ended.done() and not self._ended.exception() else None

    @told_later
    async def wait(self) -> int:
        """Wait for its end: its status."""
        await asyncio.wait([self._ended])
        return self._ended.result()

    @told_later
    async def communicate(self, input: Any = None, *, max_output: int = MAX_OUTPUT) -> tuple[bytes, bytes]:
        """Send `input`, then the end of stdin, read to the end of the container: (stdout, stderr) from now
        on. Of each stream `max_output` bytes are kept."""
        data, most = values.data(input), values.whole("max_output", max_output)
        if data is not None and self.stdin is None:
            raise InvalidInput("input needs stdin to be open", hint="interactive=True of the container")
        found = await asyncio.gather(
            self._read(self.stdout, most), self._read(self.stderr, most), self._feed(data)
        )
        await self.wait()
        return found[0], found[1]

    async def _feed(self, data: memoryview | None) -> None:
        if self.stdin is not None:
            self.stdin.write(bytes(data or b""))
            await self.stdin.drain()
            self.stdin.close()

    async def _read(self, reader: StreamReader | None, most: int) -> bytes:
        kept = bytearray()
        while reader is not None and (data := await reader.read(CHUNK)):
            room = max(0, most - len(kept))
            kept += data[:room]
            self.truncated = self.truncated or len(data) > room
        return bytes(kept)

    def send_signal(self, signal: Any) -> None:
        """Send it a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM; nothing if it has ended."""
        number = signal_of(signal)
        self._order({"do": "signal", "signal": number})

    def terminate(self) -> None:
        """Ask it to end, by SIGTERM."""
        self.send_signal("TERM")

    def kill(self) -> None:
        """Kill the container."""
        self.send_signal("KILL")

    def resize(self, rows: int, columns: int) -> None:
        """The size of its terminal."""
        if not self.tty:
            raise Conflict("the container has no terminal", hint="tty=True gives it one")
        rows, columns = size_of((rows, columns))
        self._order({"do": "resize", "rows": rows, "columns": columns})

    def close(self) -> None:
        """Go away; the container goes on."""
        if self._owner == os.getpid() and self._way.channel.fileno() >= 0:
            self._end(Conflict("the container has been left"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<estiva.aio.Attached {self._way.record['Id'][:12]} returncode={self.returncode}>"

    # --- inside ------------------------------------------------------------------------------------------

    def _order(self, message: Any) -> None:
        if not self._ended.done():
            self._way.order(message)
            self._send()

    def _send(self) -> None:
        """Now, and when there is room again."""
        self._way.flush()
        if self._way.waiting:
            self._room.clear()
            self._loop.add_writer(self._fd, self._send)
        else:
            self._loop.remove_writer(self._fd)
            self._room.set()

    def _hear(self) -> None:
        try:
            found = self._way.receive()
        except BlockingIOError:
            return None
        except EstivaError as error:
            return self._end(error)
        if isinstance(found, tuple):
            number, data = found
            reader = self.stdout if number == 1 else self.stderr
            if reader is not None:
                reader.feed_data(data)
        elif found["event"] in ("exited", "lost"):
            self._end(found["status"] if found["event"] == "exited" else KILLED)
        return None

    def _end(self, how: int | EstivaError) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
        self._way.close()
        self._room.set()
        if not self._ended.done() and not self._loop.is_closed():
            if isinstance(how, int):
                self._ended.set_result(how)
            else:
                self._ended.set_exception(how)
                self._ended.exception()  # it may be that nobody asks
            for reader in (self.stdout, self.stderr):
                if reader is not None:
                    reader.feed_eof()

    def pause(self, reader: StreamReader, on: bool) -> None:
        """While a stream is full nothing is read."""
        (self._paused.add if on else self._paused.discard)(reader)
        if not self._ended.done():
            if self._paused:
                self._loop.remove_reader(self._fd)
            else:
                self._loop.add_reader(self._fd, self._hear)

    def type(self, data: bytes) -> None:
        """Bytes for its stdin."""
        if self._ended.done():
            raise BrokenPipeError("the container has ended")
        self._way.type(data)
        self._send()

    async def drained(self) -> None:
        """All that was typed is on its way."""
        if self._way.waiting:
            await self._room.wait()


class Input:
    """Its stdin, as a StreamWriter has it."""

    def __init__(self, attached: Attached) -> None:
        self._attached = attached
        self._closed = False

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._attached.type(bytes(data))

    async def drain(self) -> None:
        """Wait until what was written is on its way."""
        await self._attached.drained()

    def close(self) -> None:
        """There is no more."""
        if not self._closed:
            self._closed = True
            self._attached._order({"do": "eof"})

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closed


class _Transport(ReadTransport):
    """What a StreamReader has its flow by."""

    def __init__(self, attached: Attached, reader: StreamReader) -> None:
        super().__init__()
        self._attached = attached
        self._reader = reader

    def pause_reading(self) -> None:
        self._attached.pause(self._reader, True)

    def resume_reading(self) -> None:
        self._attached.pause(self._reader, False)
