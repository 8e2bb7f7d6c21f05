"""Commands by the init of a box, which is in the container already: see runtime/launch/agent.py.

Nothing that comes back is trusted: it is a status, or that it did not work. Then the command has not begun,
and the ordinary way is gone (engine/containers/exec.py), which tells why.
"""

from __future__ import annotations

import os
import select
import threading
import time
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SHUT_RD,
    SHUT_WR,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)
from _struct import pack
from typing import TYPE_CHECKING

from estiva import fastjson, files
from estiva.engine.launch import forks
from estiva.engine.launch.launch import Refused
from estiva.engine.state import gate, runstate
from estiva.errors import Conflict, EngineError, NotFound
from estiva.runtime.cgroup import factory
from estiva.runtime.cgroup.leaf import leaf
from estiva.runtime.launch.agent import EXITED, NEXT, QUIET
from estiva.runtime.launch.exec import place
from estiva.runtime.launch.zygote import LARGEST
from estiva.runtime.state import alive

if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import OCI, Outcome, RunState
    from estiva.runtime.cgroup import Cgroup


RESTING = 0.5  # seconds in which a process that waits has ended, but for that of a box that is paused


class Channel:
    """An end of a socket that a fork of the program must not keep."""

    def __init__(self, end: socket) -> None:
        self.socket = end
        forks.channels.add(self)

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()


def pair() -> tuple[Channel, socket]:
    """The program's end, and the agent's."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return Channel(ours), theirs


class Agent:
    """The program's side of one box. Thread-safe; one command at a time goes this way."""

    def __init__(self, engine: Engine, channel: Channel, live: RunState) -> None:
        self.engine = engine
        self.channel = channel
        self.live = live
        self.group = factory.open(live["cgroup"])
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        forks.fds.add(self.null)
        self.leaf: Cgroup | None = None  # in which commands are, below the container's
        self.into = -1  # an fd of it
        self.leaves = 0
        self.ooms = 0
        self.next: Channel | None = None  # of a command whose process is there before it is asked for
        self.since = 0.0  # of time.monotonic: when the last command had ended
        self._grow()
        self._busy = threading.Lock()

    def _grow(self) -> None:
        """A new leaf. One in which cgroup.kill was used is of no more use: the kernel (6.18) kills whoever is
        cloned into it from a cgroup in which that was used less often."""
        self.leaf = leaf(place(self.group, self.live["pid"]), f"exec-agent-{self.leaves}")
        self.leaves += 1
        self.into = -1 if self.leaf is None else self.leaf.enter_fd()
        if self.into >= 0:
            forks.fds.add(self.into)

    def close(self) -> None:
        self.channel.close()
        self.forget()
        fds, self.null, self.into = (self.null, self.into), -1, -1
        for fd in fds:
            if fd >= 0:
                forks.fds.discard(fd)
                os.close(fd)

    def start(self, process: OCI, stdio: tuple[int, int, int]) -> Command:
        """Have it execute an OCI process. Raises Refused."""
        wanted = {key: process[key] for key in ("args", "env", "user")} | {"cwd": process.get("cwd") or "/"}
        data = fastjson.dumps(wanted).encode(errors="surrogateescape")
        if len(data) > LARGEST or self.into < 0 or not self._busy.acquire(blocking=False):
            raise Refused
        try:
            streams = [fd if fd >= 0 else self.null for fd in stdio]
            mine = self._ahead(data, streams)
            if mine is None:
                mine, theirs = pair()
                try:
                    _send(self.channel, data, [*streams, theirs.fileno(), self.into])
                except OSError:
                    mine.close()
                    raise Refused from None
                finally:
                    theirs.close()
            self.order()
            return Command(self, mine)
        except BaseException:
            self._busy.release()
            raise

    def _ahead(self, data: bytes, streams: list[int]) -> Channel | None:
        """Ask the process that is there already, if one is."""
        mine, self.next = self.next, None
        if mine is None:
            return None
        try:
            if time.monotonic() >= self.since + QUIET:
                _send(mine, data, streams)
                return mine
        except OSError:
            pass  # it was killed, or could not be had
        mine.close()
        return None

    def order(self) -> None:
        """Have a process for the next command, once this one has ended."""
        self.forget()
        try:
            mine, theirs = pair()
        except OSError:
            return
        try:
            _send(self.channel, NEXT, [theirs.fileno(), self.into])
            self.next = mine
        except OSError:
            mine.close()
        finally:
            theirs.close()

    def rest(self) -> None:
        """Have nothing but the agent itself in the box, if no command runs, until the next one begins."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            line, self.next = self.next, None
            if line is not None:
                line.socket.shutdown(SHUT_WR)
                ended = select.poll()
                ended.register(line, select.POLLIN)
                ended.poll(RESTING * 1000)
                line.close()
        except OSError:
            pass  # it has ended
        finally:
            self._busy.release()

    def forget(self) -> None:
        """Of a command that was not told to have ended, the agent may not know that either: the process for
        the next one would not come."""
        line, self.next = self.next, None
        if line is not None:
            line.close()

    def done(self) -> None:
        self.since = time.monotonic()
        self._busy.release()

    def kill(self) -> None:
        """All that has been started by the agent and is there still."""
        if self.leaf is None:
            return
        self.forget()
        try:
            if self.group.frozen():  # what is frozen can't die; a snapshot needs it so, and ends
                with files.Lock(gate.still(self.engine.paths.run_container(self.live["id"]))):
                    self.leaf.strike()
                    self.group.thaw()
            self.leaf.kill()
            fd, self.into = self.into, -1
            if fd >= 0:
                forks.fds.discard(fd)
                os.close(fd)
            self.leaf.remove()
            self._grow()
        except (NotFound, EngineError, OSError):
            pass  # the box has ended; or it is as it was, and commands go the ordinary way


def _send(channel: Channel, data: bytes, fds: list[int]) -> None:
    """Raises OSError."""
    rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"@{len(fds)}i", *fds))]
    channel.socket.sendmsg([data], rights, MSG_DONTWAIT)


class Command:
    """One command, in the shape of a Launched (engine/launch/launch.py) as far as Pipes needs it."""

    def __init__(self, agent: Agent, channel: Channel) -> None:
        self.agent = agent
        self.channel = channel
        self._over = False
        self._killed = False

    def started(self) -> int:
        """Nobody waits for that: a command that could not be started is Refused by `wait`."""
        return 0

    def signal(self, number: int) -> None:
        """Of a timeout: it is killed with all that it has started. An agent that says nothing, because its
        container keeps it from that, is not waited for."""
        self.agent.kill()
        self._killed = True
        self.channel.socket.shutdown(SHUT_RD)

    def wait(self) -> Outcome:
        """How it ended. Raises Refused if it has not begun; Conflict if the box has ended."""
        try:
            data = self.channel.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""  # nobody has read what was asked
        self._over = True
        if data[:1] == EXITED and data[1:].isdigit() and len(data) < 8:
            code = os.waitstatus_to_exitcode(int(data[1:]) & 0xFFFF)
            status = 128 - code if code < 0 else code
            return {"event": "exited", "status": status, "oom": status == 137 and self._oom()}
        self.agent.forget()
        if not data and self._killed:
            return {"event": "exited", "status": 137, "oom": False}
        live = self.agent.live
        if not data and not alive(live["pid"], live["start_time"]):
            raise Conflict(f"container {live['id'][:12]} has ended")
        raise Refused

    def _oom(self) -> bool:
        before = self.agent.ooms
        self.agent.ooms = self.agent.group.oom_kills()
        return self.agent.ooms > before

    def close(self) -> None:
        """Let go of it; if it runs still, it is killed. Again: nothing."""
        if self.channel.fileno() < 0:
            return
        if not self._over:
            self._over = True
            self.agent.kill()
        self.channel.close()
        self.agent.done()


def state_of(engine: Engine, container_id: str) -> RunState:
    """What is known of a box that runs. Raises Conflict."""
    live = runstate.read(engine.paths, container_id)
    if live is None:
        raise Conflict(f"container {container_id[:12]} has ended")
    return live
