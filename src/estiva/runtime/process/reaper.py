"""--init: pid 1 stays ours; it forks the command, reaps orphans, forwards signals and ends as it does."""

from __future__ import annotations

import _signal
import os

from estiva.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from estiva.runtime.sync import Channel

    class Agent(Protocol):
        """What executes commands for a caller outside: launch/agent.py."""

        fd: int
        capabilities: int

        def begin(self) -> None: ...

        def signal(self, wanted: set[int]) -> int: ...

        def stirred(self) -> None: ...

        def heard(self) -> None: ...

        def ended(self, pid: int, status: int) -> None: ...


_KILL = 1 << 5  # CAP_KILL: the command may run as another user
# Raised by the kernel at the process itself, or not to be caught: these are not passed on.
_OWN = frozenset((4, 5, 6, 7, 8, 9, 11, 17, 19, 21, 22, 31))
_ENDING = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)


def run(
    command: Callable[[], None] | None,
    channel: Channel,
    *,
    terminal: bool,
    pid_namespace: bool,
    agent: Agent | None = None,
) -> None:
    """Fork, let the child run `command` (which executes or reports), and stay behind. Never returns.

    Without a command there is nothing to fork: it reaps until a signal that ends other programs comes. An
    `agent` waits for signals itself, and is told of SIGIO, of SIGCHLD, and of who has ended.

    All signals must be blocked on entry, and stay so here: they are taken one by one with sigwaitinfo(2).
    """
    if not pid_namespace:
        process.set_child_subreaper()
    # The command line and environment of the host are nothing for the container.
    process.set_title("estiva-init")
    process.set_name("estiva-init")
    pid = os.fork() if command is not None else -1
    if command is not None and pid == 0:
        if terminal:
            # The command gets a process group of its own in the foreground, as a shell would give it;
            # SIGTTOU is blocked with all others.
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpgrp())
        command()
        os._exit(127)
    # With the command's end of it gone by execve, the parent sees end of file only if ours is closed too.
    process.close_all_but([] if agent is None else [agent.fd], 0)
    channel.fd = -1
    kept = (_KILL if agent is None else agent.capabilities) & process.capget()[1]
    process.capset(kept, kept, 0)
    process.set_dumpable(False)
    if agent is not None:
        agent.begin()
    os._exit(_watch(pid, agent))


def _watch(pid: int, agent: Agent | None = None) -> int:
    """Reap and forward until `pid` is gone; the exit status to end with (128+n for signal n)."""
    every = set(_signal.valid_signals()) - {_signal.SIGKILL, _signal.SIGSTOP}
    while True:
        # sigwaitinfo is retried by Python on EINTR; a stop and continue of ourselves is none of its signals.
        number = _signal.sigwaitinfo(every).si_signo if agent is None else agent.signal(every)
        if agent is not None and number == _signal.SIGIO:
            agent.heard()
        elif number == _signal.SIGCHLD:
            status = reap(pid, None if agent is None else agent.ended)
            if status is not None:
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            if agent is not None:
                agent.stirred()
        elif number not in _OWN:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def reap(pid: int, ended: Callable[[int, int], None] | None = None) -> int | None:
    """Take every zombie (a subreaper gets others' too); the wait status of `pid` once it is among them. All
    are told to `ended`.

    One SIGCHLD may stand for many.
    """
    found = None
    while True:
        try:
            gone, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if gone == 0:
            return found
        if ended is not None:
            ended(gone, status)
        if gone == pid:
            found = status
