"""The main process of a container that runs, as subprocess.Popen has a process: `Container.attach`.

All that goes between is packets on one socket (engine/monitor/audience.py), so the streams share it: who
reads one of them keeps what comes for the other.
"""

from __future__ import annotations

import io
import os
import select
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from estiva.engine.containers import attach as attaching
from estiva.engine.launch import forks
from estiva.errors import Conflict, InvalidInput
from estiva.sdk import values
from estiva.sdk.objects.command import KILLED, signal_of, size_of
from estiva.sdk.objects.waiting import StillRunning
from estiva.sdk.pipes import MAX_OUTPUT
from estiva.sdk.told import told

if TYPE_CHECKING:
    from typing import Self

    from estiva.engine import Engine

LONGEST = 3600.0  # seconds of one look
AHEAD = 1 << 20  # bytes of the stream that is not read, from which on they are dropped


class Attached:
    """A container's main process: `stdin` (None where it has none), `stdout` and `stderr` from now on, not
    what it had written before: that is in its log.

        with box.attach() as main:
            main.stdin.write(b"line\\n")
            print(main.stdout.readline())

    To close it, or to leave the block, is to go away: the container goes on. `returncode` is its status once
    it has ended. Of a stream that nobody reads, 1 MiB is kept.
    """

    def __init__(self, engine: Engine, ref: str) -> None:
        self._way = attaching.attach(engine, ref)
        forks.channels.add(self._way)
        config = self._way.record["Config"]
        self.tty = bool(config.get("Tty"))
        self.pid = self._way.record["State"]["Pid"]
        self.returncode: int | None = None
        self.truncated = False
        self._owner = os.getpid()
        self._closed = False
        self._lock = threading.RLock()
        self._waiting = {1: bytearray(), 2: bytearray()}
        self._most = AHEAD
        self.stdin = _Input(self) if config.get("OpenStdin") else None
        self.stdout: IO[bytes] = io.BufferedReader(_Output(self, 1))
        self.stderr: IO[bytes] | None = None if self.tty else io.BufferedReader(_Output(self, 2))

    def poll(self) -> int | None:
        """Its status if it has ended, else None."""
        while self._take(0):
            pass
        return self.returncode

    @told
    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end: its status. Raises StillRunning after `timeout` seconds."""
        seconds = values.seconds(timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.returncode is None:
            left = LONGEST if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise StillRunning(
                    f"container {self._way.record['Id'][:12]} still runs after {timeout} s", "", seconds or 0
                )
            self._take(min(left, LONGEST))
        return self.returncode

    @told
    def communicate(
        self, input: Any = None, timeout: float | None = None, *, max_output: int = MAX_OUTPUT
    ) -> tuple[bytes, bytes]:
        """Send `input`, then the end of stdin, read to the end of the container: (stdout, stderr) from now
        on. Of each stream `max_output` bytes are kept."""
        data = values.data(input)
        if data is not None and self.stdin is None:
            raise InvalidInput("input needs stdin to be open", hint="interactive=True of the container")
        self._most = values.whole("max_output", max_output)
        if self.stdin is not None:
            self._way.type(bytes(data or b""))
            self.stdin.close()
        self.wait(timeout)
        return self.stdout.read(), b"" if self.stderr is None else self.stderr.read()

    def send_signal(self, signal: Any) -> None:
        """Send it a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM; nothing if it has ended."""
        number = signal_of(signal)
        if self.poll() is None:
            self._way.order({"do": "signal", "signal": number})

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
        if self.poll() is None:
            self._way.order({"do": "resize", "rows": rows, "columns": columns})

    def close(self) -> None:
        """Go away; the container goes on."""
        self._closed = True
        self._way.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<estiva.Attached {self._way.record['Id'][:12]} returncode={self.returncode}>"

    # --- inside ------------------------------------------------------------------------------------------

    def _take(self, seconds: float) -> bool:
        """Take what has come, and send what waits for room, for so many seconds at most. Whether anything
        was done."""
        if self._owner != os.getpid() or (self._closed and self.returncode is None):
            raise Conflict("this process is not attached to the container, or not any more")
        with self._lock:
            if self.returncode is not None:
                return False
            poll = select.poll()
            channel = self._way.channel.fileno()
            poll.register(channel, select.POLLIN | (select.POLLOUT if self._way.waiting else 0))
            ready = poll.poll(max(0.0, seconds) * 1000)
            for _, events in ready:
                if events & select.POLLOUT:
                    self._way.flush()
                if events & ~select.POLLOUT:
                    self._hear(self._way.receive())
            return bool(ready)

    def _hear(self, found: Any) -> None:
        if isinstance(found, tuple):
            number, data = found
            room = max(0, self._most - len(self._waiting[number]))
            self._waiting[number] += data[:room]
            self.truncated = self.truncated or len(data) > room
        elif found["event"] == "exited":
            self.returncode = found["status"]
        elif found["event"] == "lost":
            self.returncode = KILLED

    def read_some(self, number: int, most: int) -> bytes:
        """Of stdout (1) or stderr (2); b"" at its end."""
        while not self._waiting[number] and self.returncode is None:
            self._take(LONGEST)
        with self._lock:
            kept = self._waiting[number]
            data = bytes(kept[:most])
            del kept[:most]
        return data

    def type(self, data: bytes) -> None:
        """Bytes for its stdin: returns once they are on their way."""
        if self.poll() is not None:
            raise BrokenPipeError("the container has ended")
        with self._lock:
            self._way.type(data)
        while self._way.waiting and self.returncode is None:
            self._take(LONGEST)

    def end_of_input(self) -> None:
        """There is no more."""
        if not self._closed and self._owner == os.getpid():
            self._way.order({"do": "eof"})


class _Output(io.RawIOBase):
    def __init__(self, attached: Attached, number: int) -> None:
        self.attached = attached
        self.number = number

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.attached.read_some(self.number, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Input(io.RawIOBase):
    """Not buffered: what is written is sent."""

    def __init__(self, attached: Attached) -> None:
        self.attached = attached

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        plain = bytes(data)
        self.attached.type(plain)
        return len(plain)

    def close(self) -> None:
        if not self.closed:
            self.attached.end_of_input()
        super().close()
