"""Copying between a container's streams and whoever listens, by poll(2): no fd of the caller's enters a
container.

A `Source` is read and its bytes go to sinks: fds of an attached caller, the log. `Input` is the other way,
with back-pressure: what the container does not read is not read from the caller either.
"""

from __future__ import annotations

import os
import select
from _signal import SIGKILL

from estiva import fastjson
from estiva.engine.monitor.source import STDERR, STDOUT, Source, deliver
from estiva.linux import tty as terminals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from estiva.engine.monitor.audience import Audience
    from estiva.engine.monitor.life.bounds import Bounds
    from estiva.engine.monitor.life.memory import Memory
    from estiva.engine.monitor.logs.outlet import Outlet
    from estiva.engine.monitor.source import Log
    from estiva.engine.state.types import Checks, Limits, Outcome
    from estiva.network.types import Settings
    from estiva.runtime.launch.clone import Init


PACKET = 1 << 16  # bytes; messages are far smaller, errors are cut to fit
CHUNK = 1 << 16
DETACH = b"\x10\x11"  # ctrl-p ctrl-q
SENT = 7  # signals that are remembered, and one more
STALLED = 1000  # milliseconds between two looks at who is attached and does not read
SETTLE = 200  # milliseconds of quiet after which a command is taken to wait for input, or not to die


class Input:
    """What goes into a container: from a caller's fd to a pipe or a pty's master."""

    def __init__(self, source: int, fd: int, *, tty: bool, keys: bytes = DETACH) -> None:
        self.source = source
        self.fd = fd
        self.tty = tty
        self.keys = keys
        self.waiting = b""
        self.held = b""
        self.last = b""  # what was typed last, as far as it may begin the detach keys
        self.detached = False
        self.ended = False  # somebody has said that nothing will come any more
        os.set_blocking(fd, False)
        if tty and source >= 0:
            # A line editor makes the command's terminal raw too, and what ends its input would be lost once
            # more if it were there before: from an end of file on it is held until the command has settled.
            now, end, later = terminals.typed_ahead(source).partition(terminals.END)
            self.held = end + later
            self.take(now)

    def register(self, poll: select.poll, *, read: bool) -> None:
        """Say to `poll` what is wanted now: bytes from the caller, or room in the container's pipe. A
        terminal's fd is that of its output too, which is wanted if `read`.
        """
        if self.waiting:
            poll.register(self.fd, select.POLLOUT | (select.POLLIN if self.tty and read else 0))
            if self.source >= 0:
                poll.register(self.source, 0)
        elif self.source >= 0:
            poll.register(self.source, select.POLLIN)

    def read(self) -> bool:
        """Take what the caller typed. False at its end."""
        try:
            data = os.read(self.source, CHUNK)
        except OSError:
            data = b""
        self.release()
        return self.take(data)

    def release(self) -> None:
        """Pass on what was held, if it still is."""
        if self.held:
            held, self.held = self.held, b""
            self.take(held)

    def take(self, data: bytes) -> bool:
        """Pass on what was typed, up to the detach keys. False at the caller's end."""
        if self.tty:
            typed = self.last + data
            at = typed.find(self.keys)
            if at >= 0:
                self.detached = True
                data = data[: max(0, at - len(self.last))]
            self.last = typed[len(typed) - len(self.keys) + 1 :] if len(typed) >= len(self.keys) else typed
        self.put(data)
        return bool(data) or self.detached

    def put(self, data: bytes) -> None:
        """Pass on `data` as it is."""
        self.waiting += data
        self.flush()

    def flush(self) -> None:
        try:
            while self.waiting:
                self.waiting = self.waiting[os.write(self.fd, self.waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            self.waiting = b""  # nobody in the container reads any more


class Conversation:
    """The copying loop of one process: its streams, its caller's messages, its end.

    `stdio` are the caller's ends (-1: nobody). Without a terminal, `pipes` makes the process's ends before it
    starts; with one, `console` takes the pty's master after. A `bound` process ends when its caller goes, or
    the `program` (a pidfd) that the caller is in: a fork of it may still have the caller's fds.
    """

    def __init__(
        self,
        stdio: tuple[int, int, int],
        channel: socket | None = None,
        *,
        bound: bool = False,
        program: int = -1,
    ) -> None:
        self.bound = bound
        self.program = program if bound else -1
        self.heeds = False  # its caller also after its end: what it has left may write without end
        self.ended_by_caller = False  # it asked for the end of a bound process, or has gone
        self.kill: Callable[[], object] = lambda: None  # after SIGKILL to init: what else ends or holds it
        self.resized: Callable[[int, int], object] = lambda rows, columns: None
        self.stdio = stdio
        self.channel = channel
        self.sources: list[Source] = []
        self.input: Input | None = None
        self.init: Init | None = None
        self.detached = False
        self.audience: Audience | None = None  # who may come and attach
        self.named: Callable[[Settings], object] = lambda settings: None  # it is to have a name server
        self.health: Checks | None = None
        self.bounds: Bounds | None = None  # of its time and output
        self.sent: list[tuple[int, str]] = []  # signals that went to the process, and by whom
        self.memory: Memory | None = None  # which may run out
        self.beside: dict[int, Callable[[], object]] = {}  # once something comes from an fd: do this, once
        self.outlet: Outlet | None = None  # where its log goes besides its file
        self.idle: tuple[int, Callable[[], object]] | None = None  # after so many ms of quiet, once: do this

    def limit(self, limits: Limits | None) -> None:
        """Hold the process to them, from now on."""
        if limits:
            from estiva.engine.monitor.life.bounds import Bounds

            self.bounds = Bounds(limits, self.signal)

    def pipes(self, stdin: bool, logs: tuple[Log, Log] = (None, None)) -> tuple[int, int, int]:
        """The process's ends of new pipes, to be closed here once it has them."""
        if stdin:
            theirs, feed = os.pipe()
            self.input = Input(self.stdio[0], feed, tty=False)
        else:
            theirs = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        ends = [theirs]
        for target, log, tag in zip(self.stdio[1:], logs, (STDOUT, STDERR), strict=True):
            reader, writer = os.pipe()
            self.sources.append(Source(reader, target, log, tag))
            self.sources[-1].passes, self.sources[-1].bounds = self.heeds, self.bounds
            ends.append(writer)
        return ends[0], ends[1], ends[2]

    def console(self, fd: int, stdin: bool, log: Log = None, keys: str = "") -> None:
        if self.stdio[2] > 2:  # one way out is enough
            os.close(self.stdio[2])
        self.sources = [Source(fd, self.stdio[1], log)]
        self.sources[0].bounds = self.bounds
        if stdin:
            self.input = Input(self.stdio[0], fd, tty=True, keys=keys.encode() or DETACH)
            if self.input.held:
                self.idle = (SETTLE, self.input.release)

    def run(self, init: Init, drain: int, at_end: Callable[[], object] = lambda: None) -> None:
        """Copy until `init` has ended and its output is read; at the end `at_end`, and `drain` ms at most.

        Returns early, with `detached` set, only when there is no channel to tell of the detach keys.
        """
        self.init = init
        if self.bound and self.channel is None:
            self.hang_up()
        if self.input is not None:
            self.feed(self.input, {})  # the detach keys may have been typed ahead
        if self.detached:
            return
        running, timeout = True, -1
        while running or self.sources:
            poll = select.poll()
            audience, outlet = self.audience, self.outlet
            full = (audience is not None and audience.full(running)) or (outlet is not None and outlet.full)
            for source in () if full else self.sources:
                poll.register(*source.watched)
            if running:
                for fd in self.beside:
                    poll.register(fd, select.POLLIN)
                poll.register(init.pidfd, select.POLLIN)
                if self.input is not None:
                    self.input.register(poll, read=not full)
            memory = self.memory if running else None
            if memory is not None and memory.fd >= 0:
                poll.register(memory.fd, memory.interest)
            if self.channel is not None and (running or self.heeds):
                poll.register(self.channel.fileno(), select.POLLIN)
                if self.program >= 0:
                    poll.register(self.program, select.POLLIN)
            if self.audience is not None:
                self.audience.register(poll, read=self.input is None or not self.input.waiting)
            idle = self.idle if running else None
            pause = STALLED if full else idle[0] if idle else timeout
            health = self.health if running else None
            if health is not None:
                health.register(poll)
                pause = min(pause, health.left()) if pause >= 0 else health.left()
            owing = outlet is not None and running and bool(outlet.queue)
            if outlet is not None:
                outlet.register(poll)
                pause = STALLED if owing and not 0 <= pause < STALLED else pause
            bounds = self.bounds if running else None
            ready = dict(poll.poll(bounds.sooner(pause) if bounds is not None else pause))
            if outlet is not None:
                outlet.serve()
            if self.audience is not None:
                self.audience.serve(ready)
            due = health is not None and health.serve(ready)
            due = (bounds is not None and bounds.due()) or due
            if memory is not None and memory.fd in ready:
                memory.look(True)
            if not ready and (full or due or owing):
                continue
            if not ready and running and self.idle:
                action = self.idle[1]
                self.idle = None
                action()
                continue
            if not ready:
                return  # somebody outlives the process and holds the pipes
            self.sources = [
                s for s in self.sources if s.watched[0] not in ready or s.pump(self.audience) or self.shut(s)
            ]
            if self.input is not None and running:
                self.feed(self.input, ready)
            if self.detached:
                return
            if self.channel is not None and self.channel.fileno() in ready:
                self.obey(self.channel)
            if self.program in ready and self.channel is not None:
                self.hang_up()
            for fd in [fd for fd in self.beside if fd in ready]:
                self.beside.pop(fd)()
            if init.pidfd in ready and running:
                running, timeout = False, drain
                at_end()

    def rest(self) -> None:
        """After the end of a bound process."""
        deliver(self.sources, self.program)

    def await_caller(self) -> None:
        """After the end of a bound process: until the caller asks for the end, or has gone."""
        while self.channel is not None and not self.ended_by_caller:
            poll = select.poll()
            for fd in (self.channel.fileno(), self.program):
                if fd >= 0:
                    poll.register(fd, select.POLLIN)
            if self.program in dict(poll.poll()):
                self.hang_up()
            else:
                self.obey(self.channel)

    def shut(self, source: Source) -> bool:
        """A stream has ended: so its reader sees, if it is not our own stdout, before we have cleaned up."""
        source.leave()
        if self.input is None or source.fd != self.input.fd:
            os.close(source.fd)
        return False

    def feed(self, feed: Input, ready: dict[int, int]) -> None:
        if feed.waiting and feed.fd in ready:
            feed.flush()
        elif feed.source in ready and not feed.read():
            feed.source = -1
        over = feed.ended or self.stdio[0] >= 0
        if feed.source < 0 and not feed.tty and not feed.waiting and over:
            os.close(feed.fd)  # all is written: now the process sees the end
            self.input = None
        if feed.detached:
            feed.detached = False
            if self.channel is None:
                self.detached = True
            else:
                self.say({"event": "detached"})
                self.hang_up()

    def obey(self, channel: socket) -> None:
        """One message of the caller's (engine/launch/launch.py draws them)."""
        try:
            data = channel.recv(PACKET)
        except OSError:
            data = b""
        if not data:
            self.hang_up()
            return
        self.order(data)

    def hear(self, data: bytes) -> None:
        """One packet of who is attached (audience.py draws them)."""
        if not data.startswith(b"i"):
            self.order(data)
        elif self.input is not None:
            self.input.put(data[1:])

    def order(self, data: bytes) -> None:
        assert self.init is not None
        message = fastjson.loads(data, what="the caller's message")
        if message["do"] == "eof":
            if self.input is not None:
                self.input.ended = True
        elif message["do"] == "signal":
            self.signal(message["signal"], "attached")
        elif message["do"] == "end":
            self.ended_by_caller = True
            self.signal(SIGKILL, "program")
        elif message["do"] == "begin" and self.bounds is not None:
            self.bounds.begin()
        elif message["do"] == "names":
            self.named(message["settings"])
        elif message["do"] == "resize" and any(source.fd == self.init.console for source in self.sources):
            # (else it had no terminal, or that was closed when the last process on it ended)
            terminals.set_window_size(self.init.console, message["rows"], message["columns"])
            self.resized(message["rows"], message["columns"])

    def signal(self, number: int, by: str = "health") -> None:
        """To the process; with SIGKILL it ends, whatever holds it. `by`: see life/certificate.py."""
        assert self.init is not None
        self.sent = [*self.sent[-SENT:], (number, by)]
        try:
            self.init.signal(number)
        except ProcessLookupError:
            pass
        if number == SIGKILL:
            self.strike()

    def strike(self) -> None:
        """What else ends or holds it, until it has ended: another may freeze it anew, and so keep it."""
        self.kill()
        self.idle = (SETTLE, self.strike)

    def say(self, message: Outcome) -> None:
        if self.channel is not None:
            try:
                self.channel.send(fastjson.dumps(message).encode())
            except OSError:
                self.hang_up()
        if self.audience is not None and message["event"] == "exited":
            self.audience.say(message)

    def hang_up(self) -> None:
        """The caller has gone: its terminal is not read any more, nor written to, nor held open."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if self.bound and self.init is not None:
            self.ended_by_caller = True
            self.signal(SIGKILL, "program")
        if self.input is not None:
            self.input.source = -1
        self.let_go()

    def let_go(self) -> None:
        for source in self.sources:
            source.leave()
        if self.stdio[0] > 2:
            os.close(self.stdio[0])
        self.stdio = (-1, -1, -1)

    def close(self) -> bool:
        """Close all fds. False where the caller has hung up: then they are not known any more."""
        if self.audience is not None:
            self.audience.close()
            self.audience = None
        if self.channel is None:
            return False
        self.channel.close()
        for source in self.sources:
            self.shut(source)
        if self.input is not None:
            os.close(self.input.fd)
        self.let_go()
        return True
