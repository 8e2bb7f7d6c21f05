"""A command in a container that runs: what threads (popen.py) and asyncio (sdk/aio/popen.py) have of it."""

from __future__ import annotations

import os
import signal as signals
import threading
from typing import IO, TYPE_CHECKING, Any
from weakref import WeakSet

from estiva import held
from estiva.engine.containers import exec as exec_
from estiva.errors import Conflict, InvalidInput
from estiva.sdk import values
from estiva.sdk.objects.streams import Ends, Modes

if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.launch.launch import Launched
    from estiva.engine.state.types import ExecPlan

KILLED = 137  # the status of a command whose parent was killed

_open: WeakSet[Command] = WeakSet()


class Command:
    """One that has been sent for, with our ends of its streams; `started` comes next."""

    def __init__(
        self,
        engine: Engine,
        wanted: ExecPlan,
        stdio: tuple[Any, Any, Any],
        size: tuple[int, int] | None,
        how: Modes,
    ) -> None:
        self.args = list(wanted["config"]["process"]["args"])
        self.returncode: int | None = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.tty = bool(wanted["config"]["process"]["terminal"])
        self.pid = 0
        self._owner = os.getpid()
        self._lock = threading.Lock()
        if self.tty:
            wanted["detach_keys"] = os.urandom(32).hex()  # there is nobody who types, so nothing to leave by
            if size is not None:
                rows, columns = size_of(size)
                wanted["config"]["process"]["consoleSize"] = {"height": rows, "width": columns}
        self.launched = self._launch(engine, wanted, stdio, how)
        _open.add(self)

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

    @property
    def channel(self) -> int:
        """The fd that becomes readable when it has started, and when it has ended."""
        return self.launched.channel.fileno()

    @property
    def mine(self) -> bool:
        """Whether it is not that of a process of which this one is a fork."""
        return self._owner == os.getpid()

    def started(self) -> None:
        """Wait until it runs. Raises what kept it from that."""
        self.pid = self.launched.started()

    def abandon(self) -> None:
        """Let go of it: it is killed with all that it has started."""
        self._close_streams()
        self.close()

    def close(self) -> None:
        """The channel: of one that runs, its end, whose status nobody is told then."""
        self.launched.close()
        with self._lock:
            if self.returncode is None:
                self.returncode = KILLED

    def poll(self) -> int | None:
        """Its status if it has ended, else None."""
        self._mine()
        with self._lock:
            if self.returncode is None and self.launched.heard(0):
                outcome = self.launched.wait()
                self.returncode = outcome["status"] if outcome["event"] == "exited" else KILLED
        return self.returncode

    def send_signal(self, signal: Any) -> None:
        """Send it a signal: 15, "TERM", "SIGTERM" or signal.SIGTERM; nothing if it has ended."""
        number = signal_of(signal)
        if self.poll() is None:
            self.launched.signal(number)

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
        rows, columns = size_of((rows, columns))
        if self.poll() is None:
            self.launched.resize(rows, columns)

    def _mine(self) -> None:
        if not self.mine:
            raise Conflict("the command was started by another process, of which this one is a fork")

    def _close_streams(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # what could not be written any more: the command has ended


def signal_of(given: Any) -> int:
    """The number of a signal. Raises InvalidInput."""
    word = values.signal(given)
    name = word.upper().removeprefix("SIG")
    number = int(word) if word.isdigit() else getattr(signals, f"SIG{name}", None)
    if not isinstance(number, int) or not 0 <= number < signals.NSIG:
        raise InvalidInput(f"invalid signal: {values.shown(word)}")
    return int(number)


def size_of(given: Any) -> tuple[int, int]:
    """(rows, columns) of a terminal. Raises InvalidInput."""
    try:
        rows, columns = given
    except (TypeError, ValueError):
        raise values.wrong("size", "(rows, columns)", given) from None
    return values.whole("rows", rows, 0, 1 << 16), values.whole("columns", columns, 0, 1 << 16)


def _in_a_fork() -> None:
    """The pipes are the parent's: a fork that kept them would keep the command from seeing their end. Their
    numbers stay taken, as the files that have them will close them."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for command in list(_open):
        for stream in (command.stdin, command.stdout, command.stderr):
            try:
                if stream is not None:
                    os.dup2(nowhere, stream.fileno(), inheritable=False)
            except (OSError, ValueError):
                pass  # it is closed
    os.close(nowhere)


os.register_at_fork(after_in_child=_in_a_fork)
