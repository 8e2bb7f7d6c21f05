"""`attach`: beside or after its starter, hear what a running container says, and type into it.

engine/monitor/audience.py is the other side, and draws what goes between.
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET
from _socket import socket as _socket

from estiva import fastjson
from estiva.engine.state import eventlog, lookup
from estiva.errors import Conflict, EngineError, InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import Order, Outcome, Record

NAME = "attach"
LONGEST = 1 << 15  # bytes of input in one packet
CONTROL = (*"@abcdefghijklmnopqrstuvwxyz", "[", "\\", "]", "^", "_")  # ctrl- and one of these, by its code
SEATED = 10.0  # seconds that a monitor has from the start of its container until it listens


class Attached:
    """The way to a container's monitor. `input` is what has been typed and is not on its way yet."""

    def __init__(self, engine: Engine, record: Record, channel: _socket) -> None:
        self.engine = engine
        self.record = record
        self.channel = channel
        self.input = b""
        self.orders: list[Order] = []
        channel.setblocking(False)

    @property
    def waiting(self) -> bool:
        """Whether something is to be sent once there is room."""
        return bool(self.input or self.orders)

    def type(self, data: bytes) -> None:
        """Bytes for its stdin."""
        self.input += data
        self.flush()

    def order(self, message: Order) -> None:
        """A signal, a size, the end of its stdin: after what was typed before."""
        self.orders.append(message)
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now."""
        try:
            while self.input:
                self.channel.send(b"i" + self.input[:LONGEST])
                self.input = self.input[LONGEST:]
            while self.orders:
                self.channel.send(fastjson.dumps(self.orders[0]).encode())
                self.orders.pop(0)
        except BlockingIOError:
            pass
        except OSError:
            self.input, self.orders = b"", []  # it has gone: `receive` tells

    def receive(self) -> tuple[int, bytes] | Outcome:
        """What is there: (1 or 2, bytes of stdout or stderr), or how it ended. Call it when the channel is
        readable.
        """
        try:
            data = self.channel.recv(1 << 17)
        except ConnectionResetError:
            data = b""
        if not data:
            return self.lost()
        if data[:1] in (b"1", b"2"):
            return int(data[:1]), data[1:]
        outcome: Outcome = fastjson.loads(data, what="the monitor's message")
        return outcome

    def lost(self) -> Outcome:
        """The monitor has let go of us, or has gone: the end, if it was one, is in the record by now or soon.
        Raises EngineError.
        """
        from estiva.engine.containers import control

        live = lookup.resolve_if_there(self.engine, self.record["Id"])
        if live is not None and live["State"]["Running"]:
            from estiva.engine.state import runstate

            now = runstate.read(self.engine.paths, self.record["Id"])
            if now is not None and now["pid"] == self.record["State"]["Pid"] and not self._ends():
                raise EngineError(
                    "the container said more than was read here, so it was left",
                    hint="`estiva logs` has it all; `estiva attach` comes back",
                )
        elif live is None:
            return {"event": "lost"}
        return {"event": "exited", "status": control.wait(self.engine, self.record["Id"])}

    def _ends(self) -> bool:
        """Whether the container's init has ended."""
        from estiva.runtime import state

        live = lookup.running_state(self.engine, self.record["Id"])
        return not state.alive(live["pid"], live["start_time"])

    def close(self) -> None:
        self.channel.close()


def attach(engine: Engine, ref: str) -> Attached:
    """Attach to a running container. Raises NotFound, Conflict when it is paused or does not run."""
    while True:
        record = lookup.resolve(engine, ref)
        state = record["State"]
        lookup.refuse_restarting(record)
        if state["Paused"]:
            raise Conflict(
                "you cannot attach to a paused container, unpause it first", hint=f"`estiva unpause {ref}`"
            )
        if not state["Running"]:
            raise Conflict(
                "you cannot attach to a stopped container, start it first", hint=f"`estiva start -ai {ref}`"
            )
        channel = connect(engine.paths.run_container(record["Id"])) if state["Pid"] else None
        if channel is not None:
            _refuse_stopped(engine, record, ref)
            eventlog.container(engine.paths, record, "attach")
            return Attached(engine, record, channel)
        time.sleep(lookup.LOOK_AGAIN)  # it is being started or has ended just now


def _refuse_stopped(engine: Engine, record: Record, ref: str) -> None:
    """Raises EngineError for a monitor that is stopped: it would say nothing for as long as that lasts."""
    from estiva.engine.state import runstate

    live = runstate.read(engine.paths, record["Id"])
    monitor = runstate.stopped_monitor(live) if live is not None else 0
    if monitor:
        raise EngineError(
            f"the monitor of container {ref}, process {monitor}, is stopped",
            hint=f"`kill -CONT {monitor}` lets it go on",
        )


def keys(text: str) -> str:
    """What is typed to leave a terminal, of Docker's words for it: "ctrl-a", "ctrl-p,q", "DEL". Raises
    InvalidInput."""
    found = ""
    for word in text.split(","):
        if len(word) == 1 and word.isascii():
            found += word
        elif word == "DEL":
            found += "\x7f"
        elif word.startswith("ctrl-") and word[5:] in CONTROL:
            found += chr(CONTROL.index(word[5:]))
        else:
            raise InvalidInput(
                f"invalid --detach-keys: unknown key '{brief(word, 60)}'",
                hint="a character, ctrl-a to -z, ctrl-@, -[, -\\\\, -], -^, -_ or DEL, separated by commas",
            )
    return found


def resize(engine: Engine, ref: str, rows: int, columns: int) -> None:
    """The size of a running container's terminal. Raises NotFound, Conflict."""
    until = time.monotonic() + SEATED
    record = lookup.resolve(engine, ref)
    while record["State"]["Running"]:
        if resized(engine.paths.run_container(record["Id"]), rows, columns):
            return
        if time.monotonic() > until:
            break
        time.sleep(lookup.LOOK_AGAIN)  # it is being started
        record = lookup.resolve(engine, record["Id"])
    raise Conflict(f"container {ref} is not running", hint=f"`estiva start {ref}` starts it")


def resized(run: str, rows: int, columns: int) -> bool | None:
    """Whether the monitor with that run folder was told the size; None where nobody listens, or not yet."""
    channel = connect(run)
    if channel is None:
        return None
    try:
        channel.send(fastjson.dumps({"do": "resize", "rows": rows, "columns": columns}).encode())
        return True
    except OSError:
        return False  # it has ended
    finally:
        channel.close()


def left(engine: Engine, record: Record, action: str = "detach") -> None:
    """Note in the event log that somebody has come (attach) or gone by the detach keys (detach)."""
    eventlog.container(engine.paths, record, action)


def connect(run: str) -> _socket | None:
    """A connection to the monitor whose run folder that is; None where nobody listens."""
    try:
        folder = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    channel = _socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        channel.connect(f"/proc/self/fd/{folder}/{NAME}")
        return channel
    except (FileNotFoundError, ConnectionRefusedError):
        channel.close()
        return None
    finally:
        os.close(folder)
