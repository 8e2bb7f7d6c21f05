"""The health checks of a container, by its monitor, as Docker's daemon does them.

    monitor                            checker, a fork of it                 in the container
      | due: fork -- plan, channel -->   |  exec_session, bound: -- exec -->   |  the command
      | <--------- output, by a pipe --  |  <------------------------------   |
      | <---------- {"exited": status} --|                                    ends
      | health.json

The monitor only forks, polls and writes a small file: a check that hangs, also on its way into the container,
holds up nothing else. What takes too long is ended with all that it has started, in a cgroup of its own; so
it is when the monitor is killed. One at a time; the next is due an interval after the end of the last.
"""

from __future__ import annotations

import os
import select
import time
from _signal import SIGKILL
from _socket import MSG_DONTWAIT, socket

from estiva import fastjson
from estiva.engine.monitor.protocol import pair
from estiva.engine.state import eventlog, runstate, teardown
from estiva.engine.state.life import health as states
from estiva.engine.state.life import restarts
from estiva.linux import procinfo
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine.state.types import ExecPlan, HealthResult, Outcome, Plan, RunState
    from estiva.paths import Paths

SOON = 3.0  # seconds: until a check that is due before, a monitor does not hibernate (see hibernate.py)
MOMENT = 50  # milliseconds
FAILED = -1  # the exit status of a check that could not be run, or took too long
END = b'{"do": "end"}'
PACKET = 1 << 16


def exec_plan(live: RunState, where: Paths, argv: list[str]) -> ExecPlan:
    """How a check is run in the container whose run state is `live`: as its own command is, with no input.
    Its events are those of any exec, as Docker's are."""
    process = {**live["process"], "args": argv, "terminal": False}
    process.pop("consoleSize", None)
    return {
        "pid": live["pid"],
        "start_time": live["start_time"],
        "id": live["id"],
        "cgroup": live["cgroup"],
        "run": where.run_container(live["id"]),
        "config": {"process": process},
        "seccomp": live["seccomp"],
        "cache": where.cache,
        "stdin": False,
        "root": live.get("root"),
        "bound": True,
        "events": {
            "root": where.root,
            "run_root": where.run_root,
            "about": {**eventlog.about_run(where, live), "execID": os.urandom(32).hex()},
        },
    }


class Check:
    """One check that runs."""

    def __init__(self, wanted: ExecPlan, timeout: float) -> None:
        """Raises OSError."""
        self.run_state = runstate.version(wanted["run"])
        self.began = rfc3339()
        self.deadline = time.monotonic() + timeout
        self.over = False  # its result is known: only its end is waited for
        self.kept = b""
        self.status = FAILED
        self.channel, theirs = pair()
        self.output, writer = os.pipe()
        os.set_blocking(self.output, False)
        self.pid = os.fork()
        if self.pid == 0:
            run(wanted, theirs, writer)
        theirs.close()
        os.close(writer)

    def register(self, poll: select.poll) -> None:
        poll.register(self.channel.fileno(), select.POLLIN)
        if self.output >= 0:
            poll.register(self.output, select.POLLIN)

    def read(self) -> None:
        """Some of what it has said; no more is kept than can be shown."""
        try:
            data = os.read(self.output, PACKET)
        except BlockingIOError:
            return
        if not data:
            os.close(self.output)
            self.output = -1
        self.kept = (self.kept + data)[: states.OUTPUT + 1]

    def hear(self) -> bool:
        """One message of the checker's; True when it has ended, so that it can be waited for."""
        try:
            data = self.channel.recv(PACKET, MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        message: Outcome = fastjson.loads(data) if data else {"event": "lost"}
        if message["event"] == "exited":
            self.status = message["status"]
        elif message["event"] == "error" and not self.kept:
            self.kept = message["message"].encode()
        return message["event"] == "lost"

    def result(self, more: str = "") -> HealthResult:
        if self.output >= 0:
            self.read()
        self.over = True
        text = self.kept[: states.OUTPUT].decode(errors="replace")
        if len(self.kept) > states.OUTPUT:
            text += "..."
        if more:
            text = f"{more}: {text}" if text else more
        status = FAILED if more else self.status
        return {"Start": self.began, "End": rfc3339(), "ExitCode": status, "Output": text}

    def timed_out(self, timeout: float) -> HealthResult:
        """It has taken longer than `timeout` seconds: it is killed, and this is its result."""
        self.end()
        return self.result(f"Health check exceeded timeout ({duration(timeout)})")

    def end(self) -> None:
        """Have it killed, with all that it has started."""
        try:
            self.channel.send(END, MSG_DONTWAIT)
        except OSError:
            pass  # it has ended

    def close(self, *, wait: bool) -> None:
        """Let go of the checker, which ends then. Only one that has ended is to be waited for."""
        self.channel.close()
        if self.output >= 0:
            os.close(self.output)
        try:
            os.waitpid(self.pid, 0 if wait else os.WNOHANG)
        except ChildProcessError:
            pass


def run(wanted: ExecPlan, channel: socket, writer: int) -> None:
    """The checker's whole life."""
    try:
        from estiva.engine.monitor import exec_session

        os.setsid()
        exec_session.become(wanted, channel, (-1, writer, os.dup(writer)))
    finally:
        os._exit(1)


class Health:
    """The checks of one run."""

    def __init__(
        self, whole: Plan, signal: Callable[[int], object], times: tuple[float, float] | None = None
    ) -> None:
        """`signal` sends a signal to the container's main process, `times` are those of a monitor that has
        hibernated."""
        self.whole = whole
        self.plan = whole["health"]
        self.run = f"{whole['run_root']}/containers/{whole['id']}"
        self.signal = signal
        self.kill_at = 0.0  # 0: not at all
        self.again = False  # it is to be started again, whatever its restart policy says
        self.check: Check | None = None
        now = time.monotonic()
        self.began, self.due = times or (now, now)
        if times is None:
            self.schedule(states.STARTING)

    @property
    def times(self) -> tuple[float, float]:
        """What there is to know while no check runs: when the run began, and when the next check is due."""
        return self.began, self.due

    def busy(self) -> int:
        """Milliseconds after which it may be worth while to hibernate, for there is something to do before;
        0 if it is now."""
        if self.check is not None:
            return MOMENT
        return self.left() + MOMENT if self.kill_at or self.due - time.monotonic() < SOON else 0

    def lenient(self) -> bool:
        return time.monotonic() - self.began < self.plan["start_period"]

    def schedule(self, status: str) -> None:
        starting = status == states.STARTING and self.lenient()
        self.due = time.monotonic() + self.plan["start_interval" if starting else "interval"]

    def left(self) -> int:
        """Milliseconds until there is something to do."""
        check = self.check
        at = self.due if check is None or check.over else check.deadline
        at = min(at, self.kill_at or at)
        left = at - time.monotonic()
        return int(left * 1000) + 1 if left > 0 else 0

    def register(self, poll: select.poll) -> None:
        if self.check is not None:
            self.check.register(poll)

    def serve(self, ready: dict[int, int]) -> bool:
        """Do what there is to do now; whether something was due."""
        check = self.check
        if check is not None:
            if check.output in ready:
                check.read()
            if check.channel.fileno() in ready and check.hear():
                if not check.over:
                    self.take(check.result())
                check.close(wait=True)
                self.check = check = None
        now = time.monotonic()
        if self.kill_at and now >= self.kill_at:
            self.kill_at = 0.0
            self.signal(SIGKILL)
        if check is not None and not check.over and now >= check.deadline:
            self.take(check.timed_out(self.plan["timeout"]), late=True)
            return True
        if now < self.due or check is not None and not check.over:
            return False
        self.begin()
        return True

    def begin(self) -> None:
        """The next check, unless the container is paused."""
        live = self.running()
        if live is None:
            self.schedule(states.read(self.run)["Status"])
        elif self.check is not None:
            now = rfc3339()
            text = "the last health check was killed and has not ended"
            self.take({"Start": now, "End": now, "ExitCode": FAILED, "Output": text})
        else:
            try:
                wanted = exec_plan(live, teardown.paths(self.whole), self.plan["argv"])
                self.check = Check(wanted, self.plan["timeout"])
            except OSError as error:  # no more processes, or fds
                now = rfc3339()
                self.take({"Start": now, "End": now, "ExitCode": FAILED, "Output": str(error)})

    def running(self) -> RunState | None:
        """The run state of the container unless it is paused."""
        try:
            live = runstate.read_in(self.run)
        except Exception:  # damaged: whoever needs it is told
            return None
        return None if live is None or live.get("paused") else live

    def changed(self) -> bool:
        """Whether the run state has been written since the check began: by `pause` and `unpause`, say."""
        try:
            return self.check is not None and runstate.version(self.run) != self.check.run_state
        except FileNotFoundError:
            return True

    def take(self, result: HealthResult, *, late: bool = False) -> None:
        """One more result. What a container did not do in time says nothing while it is paused, nor if it
        has been since the check began; nor what comes of a check that the container's own end has killed."""
        health = states.read(self.run)
        before = health["Status"]
        live = self.running()
        if live is not None and procinfo.ending(live["pid"], live["start_time"]):
            self.schedule(before)
            return
        if live is not None and not (late and self.changed()):
            states.add(health, result, retries=self.plan["retries"], lenient=self.lenient())
            try:
                states.write(self.run, health)
            except OSError:
                pass  # no room: the container matters more
        self.schedule(health["Status"])
        if live is not None and health["Status"] != before:
            where = teardown.paths(self.whole)
            eventlog.write(
                where,
                "container",
                f"health_status: {health['Status']}",
                live["id"],
                eventlog.about_run(where, live),
            )
            if health["Status"] == states.UNHEALTHY:
                self.act()

    def act(self) -> None:
        """What --health-on-failure asks for, of one that has become unhealthy."""
        action, timeout = self.plan["action"], self.plan["stop_timeout"]
        if action == "kill":
            self.signal(SIGKILL)
        elif action in ("restart", "stop"):
            self.again = action == "restart"
            if not self.again:
                restarts.mark_stopped(teardown.paths(self.whole), self.whole["id"], None)
            from estiva.linux import signals

            self.signal(signals.number(self.whole["stop_signal"] or "TERM"))
            self.kill_at = time.monotonic() + timeout if timeout >= 0 else 0.0

    def close(self) -> bool:
        """The run is over: a check that runs ends. Whether --health-on-failure asks for another run."""
        if self.check is not None:
            self.check.close(wait=False)
            self.check = None
        return self.again


def duration(seconds: float) -> str:
    """As Go prints it, which Docker's words have: 30s, 1m30s, 500ms."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{text}{rest:g}s"
