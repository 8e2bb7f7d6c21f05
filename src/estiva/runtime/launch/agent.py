"""An idle init that executes commands: its caller need not join anything, as it is in the container already.

    caller -> agent    {"args", "env", "cwd", "user"} with five fds: the command's stdin, stdout and stderr,
                       the channel of this command, and the cgroup that it is to be in
    command's channel  ERROR and why it could not be executed; or EXITED and its wait status

    caller -> agent    NEXT with two fds: the channel of the next command, and the cgroup that it is to be in
    next's channel     the request, with three fds; then as a command's channel

The agent is a fork of the container's monitor that stays what it was: our interpreter. So it is guarded as an
init that waits is, and no agent is made for a container that may trace others (`may_serve`): it is not
dumpable, its memory, fds and executable are out of reach of the container; it has no capabilities but those
that it needs to give commands their credentials; it imports nothing and opens nothing by a name of the
container's. What comes over its socket is the caller's, and nobody in the container has an end of that.

A command is a fork of it, which goes the way of a command of `--init` (init.py): look_up, settle, launch.
Where the caller has said NEXT, the fork is there before it is asked for (zygote.py), once the last command
has ended; what is written to its channel before stays for it.

At last, before its filter and execve, a fork lets nobody write to its channel any more (shutdown(2)): by this
the agent, which has the channel too, knows it from a command. One that is killed before, or stopped, for
which the agent kills it, is told as ERROR: then the command has not begun, for sure, and another way is gone.
Nobody waits for who is not there: a channel ends with the last who has it.
"""

from __future__ import annotations

import _signal
import _socket
import fcntl
import os
import time

from estiva.linux import namespace as ns
from estiva.linux import process
from estiva.runtime import child, sync
from estiva.runtime.launch import zygote
from estiva.runtime.launch.zygote import FDS, receive
from estiva.runtime.process import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.runtime.launch.plan import Process

EXITED = b"x"
NEXT = b"n"
QUIET = 0.003  # seconds after NEXT: of commands that come faster, a fork ahead of each would be in the way
_SOCKETS = (_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)
# chown of its pipes, kill, the ids, the bounding set, a filter without no_new_privs, limits: capabilities(7)
_NEEDED = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 21 | 1 << 24
_TRACE = "CAP_SYS_PTRACE"


def may_serve(config: dict[str, Any]) -> bool:
    """Whether a container of this OCI config can have an agent: nobody in it may look into another's memory,
    its processes are its own, and its root is ours."""
    wanted = config["process"]
    sets = wanted.get("capabilities") or {}
    kinds = [entry["type"] for entry in config["linux"]["namespaces"] if not entry.get("path")]
    traces = any(_TRACE in (sets.get(name) or ()) for name in sets)
    return not (traces or wanted.get("terminal") or "user" in kinds) and {"pid", "mount", "cgroup"} <= {
        *kinds
    }


class Agent:
    """Made by the monitor, before it clones init; `fd` is its end of the socket."""

    def __init__(self, fd: int, what: Process) -> None:
        self.fd = fd
        self.what = what
        what.contested = True
        what.handlers = os.path.exists(command.HANDLERS)
        wanted = what.capabilities
        every = wanted.permitted | wanted.effective | wanted.inheritable | wanted.ambient | _NEEDED
        self.capabilities = every
        self.running: dict[int, _socket.socket] = {}  # by pid, the channel of a command, or of the next one
        self.last = 0  # the pid of the last one
        self.line: _socket.socket | None = None  # the channel of the next one, for which nobody is there yet
        self.into = -1  # the cgroup that it is to be in
        self.limits = b""
        self.due = 0.0  # when it is to be forked, of time.monotonic; 0: not while the last one runs

    def begin(self) -> None:
        """In init: SIGIO tells of what there is to read. Nothing that comes is to be fd 0, 1 or 2."""
        while os.dup(self.fd) < 2:
            pass
        self.limits = process.getrlimits()
        fcntl.fcntl(self.fd, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
        self.heard()

    def signal(self, wanted: set[int]) -> int:
        """The next signal of those. Meanwhile the next command's process is forked when that is due, however
        many signals come."""
        while self.due:
            left = self.due - time.monotonic()
            came = _signal.sigtimedwait(wanted, left) if left > 0 else None
            if came is not None:
                return int(came.si_signo)
            if left <= 0:
                self._fork_ahead()
        return int(_signal.sigwaitinfo(wanted).si_signo)

    def heard(self) -> None:
        """Serve all requests that are there."""
        requests = _socket.socket(*_SOCKETS, self.fd)
        try:
            while True:
                try:
                    data, fds = receive(requests)
                except OSError:
                    return
                if not data:
                    return  # the caller has gone: the container ends
                if data == NEXT and len(fds) == 2:
                    if self.line is not None:
                        self._fork_ahead()  # it has been asked for already, or is not wanted
                    self.line, self.into = _socket.socket(*_SOCKETS, fds[0]), fds[1]
                    if self.last not in self.running:
                        self.due = time.monotonic() + QUIET
                elif len(fds) == FDS + 2:
                    self._serve(data, fds)
                else:
                    for fd in fds:  # somebody in the container has given us a lower RLIMIT_NOFILE: prlimit(2)
                        os.close(fd)
        finally:
            requests.detach()

    def _serve(self, data: bytes, fds: tuple[int, ...]) -> None:
        """Who asks in this way has let go of what was made ahead, which ends by that."""
        self._drop()
        channel = _socket.socket(*_SOCKETS, fds[FDS])
        self._fork(channel, fds[FDS + 1], lambda told: zygote.become(self.what, data, fds, told))
        for fd in (*fds[:FDS], fds[FDS + 1]):
            os.close(fd)

    def _fork(self, channel: _socket.socket, into: int, body: Callable[[zygote.Channel], None]) -> None:
        """A fork in a cgroup that does `body`. Where there can be none, that is told."""
        told = zygote.Channel(channel, self.limits)
        try:
            self.last, _ = ns.clone3(0, cgroup_fd=into, pidfd=False)
        except OSError as error:
            self.last = 0
            told.report(error)
            channel.close()
            return
        if self.last == 0:
            child.run(told, lambda: body(told))
        self.running[self.last] = channel

    def _fork_ahead(self) -> None:
        """Fork the next command's process."""
        line, self.line = self.line, None
        assert line is not None
        if not _begun(line):
            self._fork(line, self.into, lambda told: zygote.wait(self.what, line, told))
            os.kill(os.getpid(), _signal.SIGCHLD)  # going the way of an end makes its pages ours again
        self._drop()

    def _drop(self) -> None:
        """Nobody is to be forked for the next command any more."""
        if self.line is not None:
            self.line.close()
            self.line = None
        if self.into >= 0:
            os.close(self.into)
            self.into = -1
        self.due = 0.0

    def stirred(self) -> None:
        """A child has ended or stopped. Who asks would wait for one that is no command yet and was stopped;
        a command may be stopped as any process."""
        for pid, channel in self.running.items():
            try:
                stopped = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
            except ChildProcessError:
                continue  # it has ended
            if stopped and not _begun(channel):
                os.kill(pid, _signal.SIGKILL)

    def ended(self, pid: int, status: int) -> None:
        """A child of init, ours or an orphan, has ended."""
        channel = self.running.pop(pid, None)
        if channel is None:
            return
        try:
            channel.send(EXITED + b"%d" % status if _begun(channel) else sync.ERROR)
        except OSError:
            pass  # nobody asks any more
        channel.close()
        if pid == self.last and self.line is not None:
            self.due = time.monotonic() + QUIET


def _begun(channel: _socket.socket) -> bool:
    """Whether nobody listens to it any more: the process of that channel is a command by now, or its caller
    has gone."""
    try:
        return not channel.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
