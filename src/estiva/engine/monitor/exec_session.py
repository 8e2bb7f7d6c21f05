"""One exec, from its start to its end: what the parent of the process does."""

from __future__ import annotations

import _signal
import os
import time

from estiva.engine.monitor import events
from estiva.engine.monitor.seccomp import seccomp_filter
from estiva.engine.monitor.streams import Conversation
from estiva.engine.state import gate, names, runstate
from estiva.errors import CommandNotExecutable, CommandNotFound, Conflict, EstivaError
from estiva.linux import procinfo
from estiva.linux import tty as terminals
from estiva.runtime import state
from estiva.runtime.cgroup import factory
from estiva.runtime.launch import exec as runtime_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence

    from estiva.engine.state.types import ExecPlan
    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.launch.clone import Init


LOOK_AGAIN = 0.01  # seconds
DRAIN = 100  # milliseconds for output that is still in the pipes when the process has ended


def become(
    wanted: ExecPlan,
    channel: socket,
    stdio: tuple[int, int, int],
    program: int = -1,
    guests: Sequence[int] = (),
) -> None:
    """In a fork: run the process to its end, tell the caller, end. `program`: a pidfd of the caller's;
    `guests`: sockets of who hears one that is kept from the start.
    """
    from estiva.engine.monitor.protocol import encode_error
    from estiva.linux import process

    try:
        # who waits for the end of what the command line has written does not wait for a detached command
        process.keep_only({channel.fileno(), *stdio, program, *guests})
        session = Session(wanted, stdio, channel, program)
        if "kept" in wanted:
            session.seat(wanted["kept"], guests)
        try:
            session.start()
        except BaseException as error:
            session.leave()
            channel.send(encode_error(error))
            return
        session.streams.say({"event": "started", "pid": session.init.pid})
        status = session.run()
        oom = session.killed_for_memory(status)
        session.streams.say({"event": "exited", "status": status, "oom": oom})
        session.leave()
        session.streams.rest()
    except (OSError, EstivaError):
        pass  # the caller has gone, or the container
    finally:
        os._exit(0)


class Session:
    """One exec: its process and its streams."""

    init: Init

    def __init__(
        self,
        wanted: ExecPlan,
        stdio: tuple[int, int, int],
        channel: socket | None = None,
        program: int = -1,
    ) -> None:
        self.wanted = wanted
        self.started = False
        self.group: Cgroup | None = None  # the container's
        self.own: Cgroup | None = None  # below it, of one that is bound to its caller
        self.ooms = 0  # of the container, before
        self.streams = Conversation(stdio, channel, bound=wanted.get("bound", False), program=program)
        self.streams.heeds = self.streams.bound
        self.streams.limit(wanted.get("limits"))

    def size(self, rows: int, columns: int) -> None:
        """The size that its terminal has from the start."""
        self.wanted["config"]["process"]["consoleSize"] = {"height": rows, "width": columns}

    def resize(self, rows: int, columns: int) -> None:
        """The size of its terminal, while it runs."""
        terminals.set_window_size(self.init.console, rows, columns)

    def start(self) -> None:
        """Start the process. Raises the error that keeps it from running."""
        with gate.Open(self.wanted["run"]):
            live = runstate.read_in(self.wanted["run"])
            if live is not None and live.get("paused"):
                run_root = self.wanted["run"].rpartition("/containers/")[0]
                name = names.linked(run_root, live["name"], live["id"]) or live["id"][:12]
                raise Conflict(f"container {name} is paused", hint=f"`estiva unpause {name}` lets it go on")
            self._start()

    def _start(self) -> None:
        wanted = self.wanted
        process = wanted["config"]["process"]
        if not state.alive(wanted["pid"], wanted["start_time"]):
            raise Conflict(f"container {wanted['id'][:12]} has ended")
        terminal = process["terminal"]
        self.group = factory.open(wanted["cgroup"])
        gate.melt(wanted["run"], self.group)
        cgroup = self.group
        if self.streams.bound:
            from estiva.runtime.cgroup.leaf import leaf

            self.own = leaf(runtime_exec.place(cgroup, wanted["pid"]), f"exec-{os.getpid()}")
            cgroup = self.own or cgroup
            self.ooms = self.group.oom_kills()
            self.streams.kill = self.kill
        ends = (0, 1, 2) if terminal else self.streams.pipes(wanted["stdin"])
        if wanted["root"] and not terminal:
            from estiva.engine.monitor.namespaces import give

            give(ends, wanted["root"])
        try:
            self.init = runtime_exec.execute(
                wanted["pid"],
                process,
                cgroup=cgroup,
                stdio=ends,
                bpf=seccomp_filter(wanted),
                exact=self.own is not None,
            )
        except EstivaError:  # of a pid, a namespace or a cgroup that has gone: what has, is the container
            if not state.alive(wanted["pid"], wanted["start_time"]):
                raise Conflict(f"container {wanted['id'][:12]} has ended") from None
            raise
        for fd in () if terminal else ends:
            os.close(fd)
        if not terminal:
            self.init.go()
        self.init.ready()
        if terminal:
            self.streams.console(self.init.console, wanted["stdin"], keys=wanted.get("detach_keys") or "")
        try:
            self.init.start()
        except (CommandNotFound, CommandNotExecutable):
            events.exec_started(self.wanted)  # as Docker's: it has been tried, and never ends
            raise
        self.started = True
        if "kept" in wanted:
            from estiva.engine.state import execs

            execs.running(wanted["kept"], self.init.pid, procinfo.start_time(self.init.pid))
        events.exec_started(wanted)

    def seat(self, folder: str, guests: Sequence[int]) -> None:
        """Of one that is kept: let others attach, as to a container."""
        from estiva.engine.monitor import audience

        listening = audience.listen(folder)
        if listening is not None:
            self.streams.audience = audience.Audience(listening, self.streams.hear, guests)

    def kill(self) -> None:
        """All that it has started, of one that is bound. On cgroup v1 what is frozen can't die: a paused
        container goes on for that moment."""
        if self.own is None or self.group is None:
            return
        frozen = self.group.frozen()
        if frozen:
            self.own.strike()
            self.group.thaw()
        self.own.kill()
        now = runstate.read_in(self.wanted["run"]) if frozen else None
        if now is not None and now.get("paused"):
            self.group.freeze()

    def leave(self) -> None:
        """Its own cgroup goes, unless something that it left running is in it."""
        if self.own is not None and not self.own.occupied():
            self.own.remove()

    def killed_for_memory(self, status: int) -> bool:
        return status == 137 and self.group is not None and self.group.oom_kills() > self.ooms

    def run(self) -> int:
        """Copy streams until the process has ended; its exit status, 128+n for a signal. 0 after the detach
        keys, with `streams.detached` set: then the caller is to `go_on`."""
        self.streams.run(self.init, DRAIN)
        if self.streams.detached:
            return 0
        status = os.waitstatus_to_exitcode(self.init.wait())
        status = 128 - status if status < 0 else status
        if "kept" in self.wanted:
            from estiva.engine.state import execs

            execs.end(self.wanted["kept"], status)  # before anybody hears of it
        events.exec_ended(self.wanted, status)
        return status

    def go_on(self) -> None:
        """The user has left by the detach keys: the process keeps its terminal, which a fork of ours has and
        reads from now on. Nobody waits for that fork; the process is no child of it, and may be reaped by
        others."""
        started = procinfo.start_time(self.init.pid)
        # our end hangs up the user's terminal if we lead its session: also the fork, while that is in it
        _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
        if os.fork():
            return
        from estiva.linux import process

        try:
            os.setsid()
            process.keep_only({self.init.pidfd, self.init.console})
            process.set_title("estiva: exec", wipe=False)
            self.streams.detached = False
            self.streams.hang_up()
            self.streams.run(self.init, DRAIN)
            while (status := procinfo.exit_code(self.init.pid, started)) is None:
                try:
                    code = os.waitstatus_to_exitcode(process.pidfd_exit_status(self.init.pidfd))
                    status = 128 - code if code < 0 else code
                    break
                except ChildProcessError:  # being reaped just now
                    time.sleep(LOOK_AGAIN)
            events.exec_ended(self.wanted, status)
        except OSError:
            pass  # a kernel that does not tell (before Linux 6.15)
        finally:
            os._exit(0)
