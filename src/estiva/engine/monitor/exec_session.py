"""One exec, from its start to its end: what the parent of the process does."""

from __future__ import annotations

import os

from estiva.engine.monitor.seccomp import seccomp_filter
from estiva.engine.monitor.streams import Conversation
from estiva.engine.state import gate, runstate
from estiva.errors import Conflict, EstivaError
from estiva.linux import tty as terminals
from estiva.runtime import state
from estiva.runtime.cgroup import factory
from estiva.runtime.launch import exec as runtime_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from estiva.engine.state.types import ExecPlan
    from estiva.runtime.launch.clone import Init


DRAIN = 100  # milliseconds for output that is still in the pipes when the process has ended


def become(wanted: ExecPlan, channel: socket, stdio: tuple[int, int, int]) -> None:
    """In a fork: run the process to its end, tell the caller, end."""
    from estiva.engine.monitor.protocol import encode_error
    from estiva.linux import process

    try:
        process.close_all_but([channel.fileno(), *stdio])
        session = Session(wanted, stdio, channel)
        try:
            session.start()
        except BaseException as error:
            channel.send(encode_error(error))
            return
        session.streams.say({"event": "started", "pid": session.init.pid})
        session.streams.say({"event": "exited", "status": session.run()})
    except OSError:
        pass  # the caller has gone
    finally:
        os._exit(0)


class Session:
    """One exec: its process and its streams."""

    init: Init

    def __init__(self, wanted: ExecPlan, stdio: tuple[int, int, int], channel: socket | None = None) -> None:
        self.wanted = wanted
        self.started = False
        self.streams = Conversation(stdio, channel)

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
                name = live["name"] or live["id"][:12]
                raise Conflict(f"container {name} is paused", hint=f"`estiva unpause {name}` lets it go on")
            self._start()

    def _start(self) -> None:
        wanted = self.wanted
        process = wanted["config"]["process"]
        if not state.alive(wanted["pid"], wanted["start_time"]):
            raise Conflict(f"container {wanted['id'][:12]} has ended")
        terminal = process["terminal"]
        ends = (0, 1, 2) if terminal else self.streams.pipes(wanted["stdin"])
        if wanted["root"] and not terminal:
            from estiva.engine.monitor.namespaces import give

            give(ends, wanted["root"])
        try:
            self.init = runtime_exec.execute(
                wanted["pid"],
                process,
                cgroup=factory.open(wanted["cgroup"]),
                stdio=ends,
                bpf=seccomp_filter(wanted),
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
        self.init.start()
        self.started = True

    def run(self) -> int:
        """Copy streams until the process has ended; its exit status, 128+n for a signal, 0 when detached."""
        self.streams.run(self.init, DRAIN)
        if self.streams.detached:
            return 0
        status = os.waitstatus_to_exitcode(self.init.wait())
        return 128 - status if status < 0 else status
