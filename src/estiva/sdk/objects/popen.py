"""A command in a container as subprocess.Popen has it: its streams while it runs."""

from __future__ import annotations

import os
import selectors
import time
from typing import IO, TYPE_CHECKING, Any, AnyStr, Generic

from estiva.errors import EstivaError, InvalidInput
from estiva.sdk import values
from estiva.sdk.objects.command import Command
from estiva.sdk.objects.streams import Modes
from estiva.sdk.objects.waiting import StillRunning
from estiva.sdk.pipes import CHUNK, MAX_OUTPUT
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from estiva.engine import Engine
    from estiva.engine.launch.launch import Launched
    from estiva.engine.state.types import ExecPlan

LONGEST = 3600.0  # seconds of one look

_left: set[Launched] = set()  # commands that nobody holds any more: they go on, as subprocess's do


class Popen(Command, Generic[AnyStr]):
    """A command in a container: see Container.popen. `pid` is the host's; `returncode` is its status, 128+n
    for a signal, once it has ended; `truncated`, whether `communicate` has dropped output.

    Popen[str] where its streams are text, else Popen[bytes], as subprocess's.
    May be used from several threads. In a fork of the program it is nobody's: its streams lead nowhere.
    """

    stdin: IO[AnyStr] | None
    stdout: IO[AnyStr] | None
    stderr: IO[AnyStr] | None

    def __init__(
        self,
        engine: Engine,
        wanted: ExecPlan,
        stdio: tuple[Any, Any, Any],
        size: tuple[int, int] | None,
        *,
        text: bool,
        encoding: str | None,
        errors: str | None,
        bufsize: int,
    ) -> None:
        how = Modes(
            values.flag("text", text), encoding, errors, values.whole("bufsize", bufsize, -1, 1 << 31)
        )
        self.truncated = False
        self._kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._unsent: memoryview | None = None
        _sweep()
        super().__init__(engine, wanted, stdio, size, how)
        try:
            self.started()
        except BaseException:
            self.abandon()
            raise

    # --- as subprocess.Popen has it ----------------------------------------------------------------------

    @told
    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end: its status. Raises StillRunning, a subprocess.TimeoutExpired, after `timeout`
        seconds."""
        seconds = values.seconds(timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.poll() is None:
            left = LONGEST if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise self._late(seconds)
            self.launched.heard(min(left, LONGEST))
        assert self.returncode is not None
        return self.returncode

    @told
    def communicate(
        self, input: Any = None, timeout: float | None = None, *, max_output: int = MAX_OUTPUT
    ) -> tuple[AnyStr | None, AnyStr | None]:
        """Send `input`, read to the end, wait: (stdout, stderr), None for what is no pipe.

        Of each stream `max_output` bytes are kept, the rest is read and dropped. After `timeout` seconds
        StillRunning is raised, and a later call goes on where this one was.
        """
        self._mine()
        seconds = values.seconds(timeout)
        if self._unsent is None and input is not None:
            if self.stdin is None:
                raise InvalidInput("input needs stdin to be a pipe")
            encoding = getattr(self.stdin, "encoding", None)
            if isinstance(input, str) and encoding is not None:
                input = input.encode(encoding, self.stdin.errors)  # type: ignore[attr-defined]
            self._unsent = values.data(input)
        deadline = None if seconds is None else time.monotonic() + seconds
        if self._exchange(deadline, values.whole("max_output", max_output)):
            raise self._late(seconds)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self._close_streams()
        kept = [self._given(name) for name in ("stdout", "stderr")]
        return kept[0], kept[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Close its streams and wait for its end, as subprocess's; after an exception it is killed."""
        if self._owner != os.getpid():
            return
        if kind is not None:
            self.kill()
        self._close_streams()
        self.wait()

    def __del__(self, left: set[Launched] = _left, getpid: Callable[[], int] = os.getpid) -> None:
        launched = getattr(self, "launched", None)
        if launched is None or self._owner != getpid():
            return
        if self.returncode is None:
            left.add(launched)
        else:
            launched.close()

    def __repr__(self) -> str:
        return f"<estiva.Popen returncode={self.returncode} args={values.shown(self.args)}>"

    # --- inside ------------------------------------------------------------------------------------------

    def _late(self, seconds: float | None) -> StillRunning:
        name = self.args[0] if self.args else ""
        return StillRunning(
            f"the command {values.shown(name)} has not ended after {seconds} s",
            self.args,
            seconds or 0.0,
            bytes(self._kept["stdout"]),
            bytes(self._kept["stderr"]),
        )

    def _exchange(self, deadline: float | None, most: int) -> bool:
        """Feed and read until all streams have ended; True where that is not by the deadline."""
        with selectors.PollSelector() as selector:
            if self.stdin is not None and not self.stdin.closed:
                try:
                    self.stdin.flush()
                except OSError:
                    pass
                if self._unsent:
                    os.set_blocking(self.stdin.fileno(), False)
                    selector.register(self.stdin, selectors.EVENT_WRITE)
                else:
                    self._end_of_input()
            for name, stream in (("stdout", self.stdout), ("stderr", self.stderr)):
                if stream is not None and not stream.closed:
                    selector.register(stream, selectors.EVENT_READ, name)
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return True
                for key, _ in selector.select(None if left is None else min(left, LONGEST)):
                    if not (self._read(key.fd, key.data, most) if key.data else self._feed(key.fd)):
                        selector.unregister(key.fileobj)
                        if not key.data:
                            self._end_of_input()
        return False

    def _end_of_input(self) -> None:
        assert self.stdin is not None
        try:
            self.stdin.close()
        except OSError:
            pass

    def _feed(self, fd: int) -> bool:
        assert self._unsent is not None
        try:
            self._unsent = self._unsent[os.write(fd, self._unsent[:CHUNK]) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            return False
        return bool(self._unsent)

    def _read(self, fd: int, name: str, most: int) -> bool:
        data = os.read(fd, CHUNK)
        room = max(0, most - len(self._kept[name]))
        self._kept[name] += data[:room]
        self.truncated = self.truncated or len(data) > room
        return bool(data)

    def _given(self, name: str) -> Any:
        stream = getattr(self, name)
        if stream is None:
            return None
        data = bytes(self._kept[name])
        encoding = getattr(stream, "encoding", None)
        if encoding is None:
            return data
        return data.decode(encoding, stream.errors).replace("\r\n", "\n").replace("\r", "\n")


def _sweep() -> None:
    """Let go of commands that have ended, of which nobody wants to know."""
    for launched in list(_left):
        try:
            over = launched.heard(0)
        except (OSError, ValueError, EstivaError):
            over = True
        if over:
            _left.discard(launched)
            launched.close()


def _in_a_fork() -> None:
    _left.clear()


os.register_at_fork(after_in_child=_in_a_fork)
