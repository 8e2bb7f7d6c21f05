"""From a plan to a running container: one monitor process for each, forked here or by the spawner.

The monitor (engine/monitor/monitor.py) is the parent of the container's init and outlives its caller.
Namespaces are made in a process with one thread only (DESIGN, decision 4), so:

    the command line   has one thread: it forks the monitor first of all (prefork.py), so that both load
                       their modules at the same time
    a Python program   may have more threads, and much memory: the spawner (spawner.py) forks it, which has
                       one thread and little memory

Either way the plan goes over a socket as a memfd, with the fds beside it. Caller and monitor then speak
over a socket, one JSON object in a packet:

    monitor -> caller   {"event": "started", "pid": N}
                        {"event": "error", "kind": "CommandNotFound", "message": "...", "hint": "..."}
                        {"event": "exited", "status": N, "oom": false}
                        {"event": "detached"}              the detach keys were typed
                        {"event": "removed"}               a bound one that had ended has gone
    caller -> monitor   {"do": "signal", "signal": N}  {"do": "resize", "rows": N, "columns": N}
                        {"do": "end"}                      a bound one is killed and removed
                        {"do": "begin"}                    the time limit of one that was made ahead counts

The caller's end going away means nothing to the container, save that nobody listens any more. One that is
bound to its caller ends with it and is removed; so does one whose caller's program ends.
"""

from __future__ import annotations

import os
from _socket import MSG_DONTWAIT, socket

from estiva import errors, fastjson
from estiva.engine.launch import prefork
from estiva.engine.monitor.protocol import decode_error, send, single_threaded
from estiva.engine.state import locks, teardown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.engine import Engine
    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.types import Order, Outcome, Plan
    from estiva.store.layers.mounts import Lowerdirs

END = b'{"do": "end"}'  # ready made: it is said, too, when there is no more memory
PATIENCE = 15.0  # seconds that a monitor has for the end of its container
KILLED_EARLY = "the container's monitor was killed before the command started"


class Refused(Exception):
    """This way to start a command does not serve it, which has not begun: another is to be gone."""


class Launched:
    """The caller's side of one monitor. `pid` is the init's, in the host's numbering, once it has started."""

    def __init__(self, channel: socket) -> None:
        self.channel = channel
        self.pid = 0
        self.lowerdirs: Lowerdirs | None = None  # the layer mounts, kept until the overlay stands on them
        self.outcome: Outcome | None = None
        self.busy = False  # whether others may wait for a place on the host that is mounted in it

    def receive(self) -> Outcome:
        """The next message. A monitor that died says {"event": "lost"}."""
        data = b""
        for _ in range(2):
            try:
                data = self.channel.recv(1 << 16)
                break
            except ConnectionResetError:
                continue  # it went with a message of ours unread: told once, before what it said itself
        if not data:
            return {"event": "lost"}
        message: Outcome = fastjson.loads(data, what="the monitor's message")
        return message

    def heard(self, seconds: float = 0) -> bool:
        """Whether a message is there, or the monitor has gone, within so many seconds."""
        import select

        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def started(self) -> int:
        """Wait until the command runs; its pid. Raises the error that kept it from running."""
        message = self.receive()
        if self.lowerdirs is not None:
            self.lowerdirs.release()
        if message["event"] == "started":
            self.pid = message["pid"]
            return self.pid
        if message["event"] == "error":
            raise decode_error(message)
        raise errors.EngineError(KILLED_EARLY)

    def wait(self) -> Outcome:
        """The outcome: {"event": "exited", "status": N, "oom": bool}, or "detached", or "lost"."""
        if self.outcome is None:
            self.outcome = self.receive()
            if self.busy:
                from estiva.engine.launch import reserve

                reserve.settle()
        return self.outcome

    def send(self, message: Order) -> None:
        try:
            self.channel.send(fastjson.dumps(message).encode())
        except OSError:
            pass  # the monitor has gone; `wait` tells

    def signal(self, number: int) -> None:
        self.send({"do": "signal", "signal": number})

    def end(self) -> None:
        """Ask for a bound container to be killed and removed, without waiting for it."""
        try:
            self.channel.send(END, MSG_DONTWAIT)
        except OSError:
            pass  # the monitor has gone, or reads nothing

    def resize(self, rows: int, columns: int) -> None:
        self.send({"do": "resize", "rows": rows, "columns": columns})

    def close(self) -> None:
        if self.lowerdirs is not None:
            self.lowerdirs.release()
        self.channel.close()


def new_id(engine: Engine, host_config: HostConfig | None) -> str:
    """The id of a container that is about to be made and, with a `host_config`, started."""
    if engine.direct or host_config is None:
        return os.urandom(32).hex()
    from estiva.engine.launch import reserve, spawner

    container_id = os.urandom(32).hex() if host_config.get("CgroupParent") else reserve.new_id(engine.paths)
    spawner.begin(engine.paths, container_id)
    return container_id


def take_lock(engine: Engine, container_id: str) -> int:
    """Its lock, which is the caller's to close."""
    if engine.direct:
        return locks.take(engine.paths, container_id, new=True)
    from estiva.engine.launch import forks, reserve

    lock = reserve.take_lock(engine.paths, container_id)
    forks.fds.add(lock)
    return lock


def close_lock(engine: Engine, lock: int) -> None:
    """Close what `take_lock` gave."""
    if not engine.direct:
        from estiva.engine.launch import forks

        forks.fds.discard(lock)
    os.close(lock)


def give_up(engine: Engine, container_id: str, undone: bool = True) -> None:
    """It isn't launched after all. What is not `undone` is when this process has ended."""
    if not engine.direct:
        from estiva.engine.launch import reserve

        reserve.release(container_id)
    if undone:
        taken_over(engine, container_id)


def taken_over(engine: Engine, container_id: str) -> None:
    """Nothing is left to undo if this process is killed: there is a monitor, or nothing at all."""
    if not engine.direct:
        from estiva.engine.launch import spawner

        spawner.ledger.strike(container_id)


def launch(
    engine: Engine,
    plan: Plan,
    stdio: tuple[int, int, int],
    hold: int,
    mounted: dict[str, int] | None = None,
    guests: Sequence[int] = (),
) -> Launched:
    """Start a monitor for `plan`. `stdio` are where the container's streams go (-1: nowhere). `mounted` has,
    by destination, fds of detached mounts that are attached in place of bind mounts' sources; `guests` are
    sockets of who is attached from the start (engine/monitor/audience.py).

    `hold` is the fd of the container's flock, taken by the caller; the monitor keeps it for its life and the
    caller may close its own. Returns at once: `Launched.started` waits.
    """
    fds = [hold, *stdio, *(mounted or {}).values(), *guests]
    if guests:
        plan["guests"] = len(guests)
    if mounted:
        plan["mounted"] = list(mounted)
    if engine.direct and single_threaded():
        # SQLite keeps its locks in memory: a fork copies them, and the child's own connection would wait
        engine.close_database()
        teardown.close_databases()
        ours = prefork.take()
        try:
            send(ours, {"plan": plan}, fds)
        except ConnectionError:
            raise errors.EngineError(KILLED_EARLY) from None
        return Launched(ours)
    from estiva.engine.launch import forks, reserve

    launched = Launched(reserve.launch(plan, fds))
    launched.busy = teardown.binds_the_host(plan)
    forks.channels.add(launched)
    return launched
