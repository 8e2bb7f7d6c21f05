"""One small process with one thread that forks monitors for a Python program (see engine/launch/launch.py).

It starts with the first container, which costs about 10 ms then; its forks (engine/launch/workers.py) wait
for requests on the socket to it. It ends when the program does, which a pidfd tells, or closes the socket.
What the program had begun then and no monitor has is undone (ledger.py); what a monitor has is the monitor's.
Losing it harms nothing: the next request starts another.
"""

from __future__ import annotations

import _thread
import os
from _socket import AF_UNIX, SOCK_SEQPACKET, socket

from estiva import atfork
from estiva.engine.launch import interpreter
from estiva.engine.launch.ledger import Ledger
from estiva.engine.monitor.protocol import pair, send
from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Request
    from estiva.paths import Paths


class Kept(socket):
    """One that stays open until the process has ended, however long Python takes to end, unless it is closed
    before: so nobody is told of a socket that was left open (-X dev)."""

    def __init__(self, taken: socket) -> None:
        super().__init__(AF_UNIX, SOCK_SEQPACKET, 0, taken.detach())

    def __del__(self) -> None:
        self.detach()


_channel: Kept | None = None
_owner = 0
_lock = _thread.allocate_lock()
ledger = Ledger()
files: tuple[int, int] | None = None  # RLIMIT_NOFILE of containers, where the program has lifted its own


def _before_fork() -> None:
    """Not while another thread starts the spawner: its Popen would wait for the child's copy of a pipe."""
    _lock.acquire()


def _after_fork() -> None:
    _lock.release()


def _in_a_fork() -> None:
    """A child of the program starts anew."""
    global _lock
    _lock = _thread.allocate_lock()
    forget()  # our copy: the parent goes on with its own
    ledger.forget()


atfork.wait(_before_fork, _after_fork, _in_a_fork)


def request(message: Request, fds: list[int]) -> None:
    """Have the spawner fork a process for {"kind", "plan"}. Thread-safe. Raises EngineError."""
    with _lock:
        for attempt in (0, 1):
            try:
                send(connection(), message, fds)
                return
            except (BrokenPipeError, ConnectionError):
                forget()
                if attempt:
                    raise EngineError("the spawner process can't be started") from None


def ask(message: Request, fds: list[int]) -> socket:
    """`request`, with one end of a new channel before `fds`: our end. Raises EngineError, OSError."""
    ours, theirs = pair()
    try:
        request(message, [theirs.fileno(), *fds])
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours


def ready() -> None:
    """Start it now, rather than with the first request. Raises EngineError, OSError."""
    with _lock:
        connection()


def begin(paths: Paths, container_id: str) -> None:
    """Something of a container is about to be made: it is undone if this process ends before a monitor has
    it. Raises EngineError, OSError."""
    with _lock:
        connection()
    ledger.enter(paths, container_id)


def forget() -> None:
    global _channel
    if _channel is not None:
        _channel.close()
        _channel = None


def connection() -> socket:
    """The socket to this process's spawner, started if there is none. A fork of the program gets its own."""
    global _channel, _owner
    if _channel is None or _owner != os.getpid():
        _channel, _owner = Kept(start()), os.getpid()
    return _channel


def start() -> socket:
    """Start the spawner: a fresh interpreter with as little in it as possible, in its own session. Raises
    Unsupported where there is none, OSError."""
    import subprocess

    python = interpreter.find()
    ours, theirs = pair()
    code = (
        f"import os, sys; os.environ.pop('{interpreter.SECOND}', None); sys.path.append(sys.argv[1]); "
        "from estiva.engine.launch import workers; workers.serve(*map(int, sys.argv[2:]))"
    )
    program = os.pidfd_open(os.getpid())
    fds = [theirs.fileno(), program, ledger.open()]
    source = os.path.abspath(__file__).rpartition("/estiva/engine/")[0]
    try:
        child = subprocess.Popen(
            [python, "-I", "-S", "-c", code, source, *map(str, fds)],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=interpreter.environment(),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(program)
    if files is not None:
        import contextlib
        import resource

        with contextlib.suppress(ProcessLookupError):  # it has ended; `request` starts another
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, files)
    child.returncode = 0  # it is not waited for: it ends when our socket closes
    return ours
