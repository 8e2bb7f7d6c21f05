"""The standard streams of a command, and the copying between them and bytes in memory."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from estiva import held
from estiva.engine.launch import forks
from estiva.engine.monitor.protocol import decode_error
from estiva.errors import EngineError
from estiva.sdk import steps
from estiva.sdk.result import CommandTimeout, Result
from estiva.sdk.steps import Wait

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from estiva.engine.state.types import Outcome
    from estiva.sdk.steps import Task

    class Numbered(Protocol):
        def fileno(self) -> int: ...

    class Sent(Protocol):
        """A command that was sent for, and who tells of it: a Launched, or an agent's Command."""

        @property
        def channel(self) -> Numbered: ...

        def started(self) -> int: ...
        def signal(self, number: int) -> None: ...
        def wait(self) -> Outcome: ...
        def close(self) -> None: ...


CHUNK = 1 << 16
MAX_OUTPUT = 64 << 20  # bytes of each stream that are kept


class Pipes:
    """Three pipes to a command, as a with-block. `data` goes to its stdin, if not None. Of its stdout and of
    its stderr `most` bytes are kept; the rest is read and dropped. `heard` gets "stdout" or "stderr" and what
    comes, as it comes. Raises OSError.
    """

    def __init__(
        self,
        data: memoryview | None,
        most: int = MAX_OUTPUT,
        heard: Callable[[str, bytes], object] | None = None,
    ) -> None:
        self.data = data
        self.most = most
        self.heard = heard
        self.timed_out = False
        self.truncated = False
        self.owner = os.getpid()
        self.open: list[int] = []
        self.feed, self.theirs = -1, (-1, -1, -1)
        self.kept: dict[int, bytearray] = {}

    def __enter__(self) -> Pipes:
        try:
            with held.Signals() as signals:
                signals.hold()
                stdin, self.feed = self._pipe() if self.data is not None else (-1, -1)
                (out, out_w), (err, err_w) = self._pipe(), self._pipe()
                self.theirs = (stdin, out_w, err_w)
                self.kept = {out: bytearray(), err: bytearray()}
            return self
        except BaseException:
            self.close()
            raise

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self.open += ends
        forks.fds.update(ends)
        return ends

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all ends. A monitor that waits for us to read would not hear what is said to it."""
        if not self.mine:
            self.open.clear()  # they have been closed
        try:
            while self.open:
                self._close(self.open[-1])
        finally:
            while self.open:  # Ctrl-C in the middle of it
                self._close(self.open[-1])

    @property
    def mine(self) -> bool:
        """Whether this process is not a fork of that which made them."""
        return self.owner == os.getpid()

    def _close(self, fd: int) -> None:
        self.open.remove(fd)
        forks.fds.discard(fd)
        os.close(fd)

    def close_theirs(self) -> None:
        for fd in self.theirs:
            if fd in self.open:
                self._close(fd)

    def communicate(self, timeout: float | None, launched: Sent) -> None:
        """Do `exchange` to its end."""
        try:
            steps.run(self.exchange(timeout, launched))
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Let go of what has been kept: it may be the memory that is missing, and the end takes some."""
        for kept in self.kept.values():
            kept.clear()

    def exchange(self, timeout: float | None, launched: Sent) -> Task[None]:
        """Until the monitor says that the command has ended. After `timeout` seconds it is killed.

        The end of the pipes would not tell: a fork of this program may have their other ends.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        channel = launched.channel.fileno()
        wanted = dict.fromkeys((*self.kept, channel), select.POLLIN)
        waiting = self.data if self.data is not None else memoryview(b"")
        if self.feed >= 0:
            os.set_blocking(self.feed, False)
            wanted[self.feed] = select.POLLOUT
        while True:
            ready = yield Wait(wanted, None if deadline is None else deadline - time.monotonic())
            if deadline is not None and time.monotonic() >= deadline and channel not in ready:
                self.timed_out, deadline = True, None
                launched.signal(9)
            if self.feed in ready:
                waiting = self._write(waiting)
                if not waiting:
                    del wanted[self.feed]
                    self._close(self.feed)
                    self.feed = -1
            for fd in self.kept:
                if fd in ready and not self._read(fd):
                    del wanted[fd]
            if channel in ready:
                break
        for fd in self.kept:  # what it has written is there already
            os.set_blocking(fd, False)
            try:
                while self._read(fd):
                    pass
            except BlockingIOError:
                pass

    def _write(self, waiting: memoryview) -> memoryview:
        try:
            return waiting[os.write(self.feed, waiting[:CHUNK]) :] if waiting else waiting
        except BlockingIOError:
            return waiting
        except BrokenPipeError:
            return memoryview(b"")

    def _read(self, fd: int) -> bool:
        data = os.read(fd, CHUNK)
        kept = self.kept[fd]
        if data and self.heard is not None:
            self.heard("stderr" if fd == list(self.kept)[-1] else "stdout", data)
        room = self.most - len(kept)
        kept += data if len(data) <= room else data[:room]
        self.truncated = self.truncated or len(data) > room
        return bool(data)

    def result(self, outcome: Outcome, timeout: float | None) -> Result:
        """How it ended. Raises CommandTimeout, EngineError when the monitor was killed."""
        stdout, stderr = map(bytes, self.kept.values())
        if self.timed_out:
            raise CommandTimeout(f"the command was killed after {timeout} s", stdout, stderr, self.truncated)
        if outcome["event"] == "error":
            raise decode_error(outcome)
        if outcome["event"] != "exited":
            raise EngineError("the container's monitor was killed", hint="`estiva system check` cleans up")
        oom = bool(outcome.get("oom"))
        return Result(outcome["status"], stdout, stderr, oom, self.truncated, outcome.get("exit"))
