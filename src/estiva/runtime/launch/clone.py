"""clone3 with the namespaces of a container, and the parent's hold on the child: `Init`.

The numbers are those of sync.py.
"""

from __future__ import annotations

import _signal
import os

from estiva.errors import EngineError
from estiva.linux import namespace as ns
from estiva.linux import process as proc
from estiva.linux import procinfo
from estiva.runtime import child, sync
from estiva.runtime.launch.plan import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.launch.hooks import Hooks


class Init:
    """A started child. `pid` and `pidfd` at once, `console` (the pty's master, or -1) after `ready`.

    The object owns its fds until `close`. The process is the caller's child: `wait` reaps it.
    """

    def __init__(self, pid: int, pidfd: int, channel: sync.Channel) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.console = -1
        self.hooks: Hooks | None = None  # those of create that are run on this side
        self._channel = channel
        self._status: int | None = None
        self._told = False
        self._started = False

    @classmethod
    def adopt(cls, pid: int, pidfd: int, console: int) -> Init:
        """A child that was started before this process executed another program."""
        init = cls(pid, pidfd, sync.Channel(-1))
        init.console = console
        init._started = True
        return init

    def mapped(self) -> None:
        """Its id maps are written: it may go on. `ready` tells of one that is gone."""
        try:
            self._channel.send(sync.MAPPED)  # (1)
        except BrokenPipeError:
            pass

    def ready(self) -> None:
        """Wait until the root filesystem stands and the credentials are taken. Raises the child's error."""
        while True:
            kind, payload, fd = self._channel.receive()
            if kind == sync.CONSOLE:  # (2)
                self.console = fd
            elif kind == sync.READY:  # (3)
                return
            elif kind == sync.HOOKS:
                self._run_hooks()
            else:
                self._fail(kind, payload, fd)

    def order(self, data: bytes, fds: tuple[int, ...]) -> None:
        """Of one that waits (standby.py), after `ready`: what it is to be; it gets ready once more."""
        try:
            self._channel.order(data, fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has died: `ready` tells

    def _run_hooks(self) -> None:
        """What the runtime's side has to run while init waits. Raises EngineError; the caller then closes."""
        assert self.hooks is not None
        for kind in ("prestart", "createRuntime"):
            self.hooks.run(kind, self.pid, "created")
        self._channel.send(sync.HOOKS)

    def leave(self) -> None:
        """After `ready`, of one with a `listener`: it waits there for whoever starts it, without us."""
        self._channel.send(sync.LEAVE)
        self._started = True
        self._channel.close()

    def go(self) -> None:
        """Let it go on to its command when it is ready, before `ready` has said so: of one without hooks, for
        whose start nothing is left to do. `start` has to be called all the same."""
        if self._told:
            return
        self._told = True
        try:
            self._channel.send(sync.GO)  # (4)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died while it waited: there may still be a message that says why

    def start(self) -> None:
        """Let it execute the command; returns once execve has happened.

        Raises CommandNotFound (exit status 127), CommandNotExecutable (126), or EngineError.
        """
        self.go()
        kind, payload, fd = self._channel.receive()
        if kind:
            self._fail(kind, payload, fd)
        self._started = True  # (5)
        self._channel.close()

    def _fail(self, kind: bytes, payload: bytes, root: int) -> None:
        """The child could not go on: reap it and raise why."""
        if root >= 0:
            from estiva.runtime.launch import whynot

            error = whynot.error(payload, root, self.pid)
            self._channel.release()
            self.wait()
            raise error
        status = self.wait()
        if kind == sync.ERROR:
            raise sync.decode(payload)
        if os.WIFSIGNALED(status):
            raise EngineError(
                f"the container's init was killed by signal {os.WTERMSIG(status)} while starting"
            )
        raise EngineError("the container's init ended while starting, without a word")

    def wait(self) -> int:
        """The wait status (os.waitpid, os.waitstatus_to_exitcode); may be called again."""
        if self._status is None:
            try:
                self._status = os.waitpid(self.pid, 0)[1]
            except ChildProcessError:  # reaped by a program that this process was meanwhile
                self._status = proc.pidfd_exit_status(self.pidfd)
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal by pidfd, so that a recycled pid is never hit. Raises ProcessLookupError."""
        procinfo.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Close all fds. One that was never started ends: it sees end of file; it is reaped."""
        self._channel.close()
        if not self._started and self._status is None:
            try:
                self.signal(_signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.wait()
        for fd in (self.pidfd, self.console):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.console = -1


def clone(
    flags: int,
    joins: list[tuple[str, int, int]],
    process: Process,
    cgroup: Cgroup | None,
    body: Callable[[sync.Channel], None],
) -> Init:
    """clone3 a child that runs `body`, inside the namespaces of `joins`: (kind, fd, setns flags).

    They are joined by the caller for the moment of the clone and left again: a pid namespace can only be
    given to children. All signals are blocked meanwhile, so that no handler of the caller's runs in the
    child, and the child is not dumpable from its first instant on, for those who already are in its pid
    namespace (K4).
    """
    mine, theirs = sync.pair(3 + process.preserve_fds)
    own: list[tuple[int, int]] = []
    cgroup_fd = cgroup.enter_fd() if cgroup is not None else -1
    hide = not flags & ns.CLONE_NEWUSER and proc.dumpable() == 1
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, child.ALL_SIGNALS)
    try:
        try:
            for kind, fd, which in joins:
                flag, name = ns.NAMESPACES[kind]
                back = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
                own.append((back, flag))
                ns.setns(fd, which or flag, kind)
            if hide:
                proc.set_dumpable(False)
            pid, pidfd = ns.clone3(flags, cgroup_fd=cgroup_fd)
            if pid == 0:
                child.run(theirs, lambda: body(theirs))
        finally:
            # Only the parent comes here: the child never returns.
            if hide:
                proc.set_dumpable(True)
            for back, flag in own:
                ns.setns(back, flag)
                os.close(back)
    except BaseException:
        mine.close()
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        theirs.close()
        if cgroup_fd >= 0:
            os.close(cgroup_fd)
    return Init(pid, pidfd, mine)
