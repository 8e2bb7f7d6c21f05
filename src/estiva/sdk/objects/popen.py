"""A command in a container as subprocess.Popen has it: its streams while it runs."""

from __future__ import annotations

import os
import selectors
import signal as signals
import threading
import time
from typing import IO, TYPE_CHECKING, Any
from weakref import WeakSet

from estiva.engine.containers import exec as exec_
from estiva.errors import Conflict, EstivaError, InvalidInput
from estiva.sdk import held, values
from estiva.sdk.objects.streams import Ends, Modes
from estiva.sdk.objects.waiting import StillRunning
from estiva.sdk.pipes import CHUNK, MAX_OUTPUT
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from estiva.engine import Engine
    from estiva.engine.launch.launch import Launched
    from estiva.engine.state.types import ExecPlan

KILLED = 137  # the status of a command whose parent was killed
LONGEST = 3600.0  # seconds of one look

_left: set[Launched] = set()  # commands that nobody holds any more: they go on, as subprocess's do
_open: WeakSet[Popen] = WeakSet()


class Popen:
    """A command in a container: see Container.popen. `pid` is the host's; `returncode` is its status, 128+n
    for a signal, once it has ended; `truncated`, whether `communicate` has dropped output.

    May be used from several threads. In a fork of the program it is nobody's: its streams lead nowhere.
    """

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
        self.args = list(wanted["config"]["process"]["args"])
        self.returncode: int | None = None
        self.truncated = False
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.tty = bool(wanted["config"]["process"]["terminal"])
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._unsent: memoryview | None = None
        how = Modes(
            values.flag("text", text), encoding, errors, values.whole("bufsize", bufsize, -1, 1 << 31)
        )
        if self.tty:
            wanted["detach_keys"] = os.urandom(32).hex()  # there is nobody who types, so nothing to leave by
            if size is not None:
                rows, columns = _size(size)
                wanted["config"]["process"]["consoleSize"] = {"height": rows, "width": columns}
        _sweep()
        self._launched = self._launch(engine, wanted, stdio, how)
        _open.add(self)
        try:
            self.pid = self._launched.started()
        except BaseException:
            self._close_streams()
            self._launched.close()
            raise

    def _launch(self, engine: Engine, wanted: ExecPlan, stdio: tuple[Any, Any, Any], how: Modes) -> Launched:
        ends = Ends()
        try:
            with held.Signals() as signals_:
                signals_.hold()
                theirs = ends.make(stdio, self.tty)
                wanted["stdin"] = theirs[0] >= 0
                launched = exec_.launch(engine, wanted, theirs)
                try:
                    self.stdin, self.stdout, self.stderr = ends.take(how)
                except BaseException:
                    launched.close()
                    raise
            return launched
        except BaseException:
            self._close_streams()
            raise
        finally:
            ends.close()

    # --- as subprocess.Popen has it ----------------------------------------------------------------------

    def poll(self) -> int | None:
        """Its status if it has ended, else None."""
        self._mine()
        with self._lock:
            if self.returncode is None and self._launched.heard(0):
                outcome = self._launched.wait()
                self.returncode = outcome["status"] if outcome["event"] == "exited" else KILLED
        return self.returncode

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
            self._launched.heard(min(left, LONGEST))
        assert self.returncode is not None
        return self.returncode

    @told
    def communicate(
        self, input: Any = None, timeout: float | None = None, *, max_output: int = MAX_OUTPUT
    ) -> tuple[Any, Any]:
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

    def send_signal(self, signal: Any) -> None:
        """Send it a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM; nothing if it has ended."""
        word = values.signal(signal)
        name = word.upper().removeprefix("SIG")
        number = int(word) if word.isdigit() else getattr(signals, f"SIG{name}", None)
        if not isinstance(number, int) or not 0 <= number < signals.NSIG:
            raise InvalidInput(f"invalid signal: {values.shown(word)}")
        if self.poll() is None:
            self._launched.signal(int(number))

    def terminate(self) -> None:
        """Ask it to end, by SIGTERM."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """Kill it with all that it has started."""
        self.send_signal(signals.SIGKILL)

    def resize(self, rows: int, columns: int) -> None:
        """The size of its terminal."""
        if not self.tty:
            raise Conflict("the command has no terminal", hint="popen(..., tty=True) gives it one")
        rows, columns = _size((rows, columns))
        if self.poll() is None:
            self._launched.resize(rows, columns)

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
        launched = getattr(self, "_launched", None)
        if launched is None or self._owner != getpid():
            return
        if self.returncode is None:
            left.add(launched)
        else:
            launched.close()

    def __repr__(self) -> str:
        return f"<estiva.Popen returncode={self.returncode} args={values.shown(self.args)}>"

    # --- inside ------------------------------------------------------------------------------------------

    def _mine(self) -> None:
        if self._owner != os.getpid():
            raise Conflict("the command was started by another process, of which this one is a fork")

    def _late(self, seconds: float | None) -> StillRunning:
        name = self.args[0] if self.args else ""
        return StillRunning(
            f"the command {values.shown(name)} has not ended after {seconds} s",
            self.args,
            seconds or 0.0,
            bytes(self._kept["stdout"]),
            bytes(self._kept["stderr"]),
        )

    def _close_streams(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # what could not be written any more: the command has ended

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


def _size(given: Any) -> tuple[int, int]:
    try:
        rows, columns = given
    except (TypeError, ValueError):
        raise values.wrong("size", "(rows, columns)", given) from None
    return values.whole("rows", rows, 0, 1 << 16), values.whole("columns", columns, 0, 1 << 16)


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
    """The pipes are the parent's: a fork that kept them would keep the command from seeing their end. Their
    numbers stay taken, as the files that have them will close them."""
    _left.clear()
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for popen in list(_open):
        for stream in (popen.stdin, popen.stdout, popen.stderr):
            try:
                if stream is not None:
                    os.dup2(nowhere, stream.fileno(), inheritable=False)
            except (OSError, ValueError):
                pass  # it is closed
    os.close(nowhere)


os.register_at_fork(after_in_child=_in_a_fork)
