"""A detached monitor with nothing to do turns into a waiting shell of 0.3 MB, and back on the next event.

A Python process that only waits keeps 3 to 5 MB for itself as long as the container idles, and nothing else
of this engine lives that long. execve(2) keeps what matters: the pid, so that init stays our child, and the
open fds.

    monitor (python)             shell                           python again
      |  hibernate() -- execve -->      |  trap on SIGCHLD, "ready"
      |                            |  reads from a pipe that stays empty
      |  armer, a grandchild:      |    <- init ends: SIGCHLD
      |  asks for SIGCHLD for      |    <- output: SIGCHLD too (F_SETSIG, fcntl(2))
      |  output and who attaches   |  trap: execve -->               |  resume(): reads the memfd, goes on
      |  (SIGURG: of the resolver) |                                 |

The armer also looks once whether something happened before it had asked: nothing is missed. Only dash is
taken: it is small, and known to run a trap when `read` is interrupted. Before the trap it reaps init, as it
does after every builtin once a SIGCHLD has come; the exit status is had from the pidfd then. Where that can't
be (before Linux 6.15), or without dash, the monitor stays as it is.
"""

from __future__ import annotations

import _signal
import os
import select
import sys
import time
from _signal import SIGCHLD, SIGURG

from estiva import fastjson, programs
from estiva.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Frozen, Plan

# fd 0 is a pipe that stays empty, fd 1 a pipe to the armer; a shell knows fds of one digit only
SCRIPT = """trap 'trap "" ALRM; exec "$@"' CHLD ALRM
trap '{late}trap "" ALRM; exec "$@"' URG
echo ready
exec >/dev/null
while :; do read -r line; done"""
TOGETHER = 4  # monitors that may wake up at the same time
APART = 0.03  # seconds that the others take on the average, one after another
SOURCE = os.path.abspath(__file__).rpartition("/estiva/engine/")[0]
RESUME = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from estiva.engine.monitor import main; main.resume(int(sys.argv[2]))"
)


def hibernate(state: Frozen) -> None:
    """Become the shell; does not return. Returns at once where that can't be, or on any error before."""
    shell = programs.find("dash")
    if not shell or not tells_status():
        return
    kept = state["fds"]
    memory = os.memfd_create("monitor", 0)
    write_all(memory, fastjson.dumps(state).encode())
    empty, feed = os.pipe()
    ready, tell = os.pipe()
    outputs = [source["fd"] for source in state["sources"]]
    outputs += [state["listening"]] if state["listening"] >= 0 else []
    arm(ready, [feed, tell], os.getpid(), state["pidfd"], outputs, channel(state))
    for fd in (*kept, feed):
        os.set_inheritable(fd, True)
    os.dup2(empty, 0)
    os.dup2(tell, 1)
    if "health" in state:  # whose timer goes through execve(2)
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
        _signal.setitimer(_signal.ITIMER_REAL, max(0.001, state["health"][1] - time.monotonic()))
    python = [sys.executable, "-I", "-S", "-c", RESUME, SOURCE, str(memory)]
    try:
        script = SCRIPT.replace("{late}", late(state))
        os.execve(shell, [title(state["plan"]), "-c", script, "sh", *python], environment())
    except OSError:
        os._exit(1)  # an executable shell that can't be executed: the next sweep ends the container


def title(plan: Plan) -> str:
    """What `ps` shows of the shell."""
    return f"estiva: monitor of {plan['name'] or plan['id'][:12]}"


def environment() -> dict[str, str]:
    """What a monitor needs of its environment in another program."""
    return {key: value for key, value in os.environ.items() if key == "PATH" or key.startswith("ESTIVA_")}


def channel(state: Frozen) -> int:
    """The fd of its connection to the resolver, whose end wakes it; -1 for none."""
    return state["names"]["channel"] if "names" in state else -1


def tells_status() -> bool:
    """Whether this kernel tells the exit status of a process that has been reaped."""
    from estiva.linux import process, procinfo

    child = os.fork()
    if child == 0:
        os._exit(7)
    pidfd = procinfo.pidfd_open(child)
    status = os.waitpid(child, 0)[1]
    try:
        return process.pidfd_exit_status(pidfd) == status
    except OSError:
        return False
    finally:
        os.close(pidfd)


def late(state: Frozen) -> str:
    """What the shell does first when the connection to the resolver ends: wait, for a random time that
    grows with the number of containers. Else all would wake up together, and the one that starts the next
    resolver last.
    """
    sleep = programs.find("sleep") if "names" in state else ""
    try:
        count = len(os.listdir(f"{state['plan']['run_root']}/containers")) - TOGETHER
    except OSError:
        count = 0
    if count <= 0 or not sleep:
        return ""
    seconds = APART * count * int.from_bytes(os.urandom(2), "big") / 65536
    return f"{sleep} {seconds:.3f} & wait; kill $!; "  # another signal ends the wait


def arm(ready: int, unwanted: list[int], monitor: int, pidfd: int, outputs: list[int], resolver: int) -> None:
    """Fork the armer: a grandchild, so that its end is no SIGCHLD for the shell."""
    import fcntl

    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(ready)
        return
    try:
        if os.fork():
            os._exit(0)
        for fd in unwanted:
            os.close(fd)
        if not os.read(ready, 16):
            os._exit(1)
        outputs = [*outputs, resolver] if resolver >= 0 else outputs
        for fd in outputs:
            fcntl.fcntl(fd, fcntl.F_SETOWN, monitor)
            fcntl.fcntl(fd, fcntl.F_SETSIG, SIGURG if fd == resolver else SIGCHLD)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()
        for fd in (pidfd, *outputs):
            poll.register(fd, select.POLLIN)
        if poll.poll(0):
            os.kill(monitor, SIGCHLD)
    finally:
        os._exit(0)
