"""From a plan to a running container: one monitor process for each, forked here or by the spawner.

The monitor (engine/monitor.py) is the parent of the container's init and outlives its caller. Namespaces are
made in a process with one thread only (DESIGN, decision 4), so:

    the command line        has one thread: it forks the monitor first of all (engine/ahead.py), so that both
                            load their modules at the same time
    a Python program        may have more threads, and much memory: the spawner (engine/spawner.py) forks it,
                            which has one thread and little memory

Either way the plan goes over a socket as a memfd, with the fds beside it. Caller and monitor then speak
over a socket, one JSON object in a packet:

    monitor -> caller   {"event": "started", "pid": N}
                        {"event": "error", "kind": "CommandNotFound", "message": "...", "hint": "..."}
                        {"event": "exited", "status": N, "oom": false}
                        {"event": "detached"}              the detach keys were typed
    caller -> monitor   {"do": "signal", "signal": N}  {"do": "resize", "rows": N, "columns": N}

The caller's end going away means nothing to the container, save that nobody listens any more.
"""

from __future__ import annotations

import os
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from _struct import pack, unpack

from estiva import errors, fastjson
from estiva.engine import ahead
from estiva.engine.ahead import pair, single_threaded
from estiva.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine
    from estiva.store.mounts import Lowerdirs

KILLED_EARLY = "the container's monitor was killed before the command started"


def encode_error(error: BaseException) -> bytes:
    """An error as a message: its kind survives when it is one of ours."""
    if isinstance(error, OSError):
        error = errors.from_os(error)
    if isinstance(error, errors.EstivaError):
        kind, message, hint = type(error).__name__, error.message, error.hint
    else:
        kind, message, hint = "EngineError", f"internal error: {type(error).__name__}: {error}", ""
    return fastjson.dumps(
        {"event": "error", "kind": kind, "message": message[:4096], "hint": hint[:1024]}
    ).encode(errors="replace")


def decode_error(message: dict[str, Any]) -> errors.EstivaError:
    kind = getattr(errors, str(message.get("kind")), errors.EngineError)
    return kind(str(message["message"]), hint=str(message.get("hint") or ""))


class Launched:
    """The caller's side of one monitor. `pid` is the init's, in the host's numbering, once it has started."""

    def __init__(self, channel: socket) -> None:
        self.channel = channel
        self.pid = 0
        self.lowerdirs: Lowerdirs | None = None  # the layer mounts, kept until the overlay stands on them
        self.outcome: dict[str, Any] | None = None

    def receive(self) -> dict[str, Any]:
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
        message: dict[str, Any] = fastjson.loads(data, what="the monitor's message")
        return message

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

    def wait(self) -> dict[str, Any]:
        """The outcome: {"event": "exited", "status": N, "oom": bool}, or "detached", or "lost"."""
        if self.outcome is None:
            self.outcome = self.receive()
        return self.outcome

    def send(self, message: dict[str, Any]) -> None:
        try:
            self.channel.send(fastjson.dumps(message).encode())
        except OSError:
            pass  # the monitor has gone; `wait` tells

    def signal(self, number: int) -> None:
        self.send({"do": "signal", "signal": number})

    def resize(self, rows: int, columns: int) -> None:
        self.send({"do": "resize", "rows": rows, "columns": columns})

    def close(self) -> None:
        self.channel.close()


def launch(engine: Engine, plan: dict[str, Any], stdio: tuple[int, int, int], hold: int) -> Launched:
    """Start a monitor for `plan`. `stdio` are where the container's streams go (-1: nowhere).

    `hold` is the fd of the container's flock, taken by the caller; the monitor keeps it for its life and the
    caller may close its own. Returns at once: `Launched.started` waits.
    """
    if engine.direct and single_threaded():
        # SQLite keeps its locks in memory: a fork copies them, and the child's own connection would wait
        engine.close_database()
        ours = ahead.take()
        try:
            send(ours, {"plan": plan}, [hold, *stdio])
        except ConnectionError:
            raise errors.EngineError(KILLED_EARLY) from None
        return Launched(ours)
    from estiva.engine import spawner

    ours, theirs = pair()
    try:
        spawner.request({"kind": "container", "plan": plan}, [theirs.fileno(), hold, *stdio])
    finally:
        theirs.close()
    return Launched(ours)


def send(channel: socket, request: dict[str, Any], fds: list[int]) -> None:
    """One request: the packet says which of `fds` are there (not -1); they and a memfd go beside it."""
    memory = os.memfd_create("request", os.MFD_CLOEXEC)
    try:
        write_all(memory, fastjson.dumps(request).encode())
        present = [memory, *(fd for fd in fds if fd >= 0)]
        flags = bytes(fd >= 0 for fd in fds)
        channel.sendmsg([flags], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(present)}i", *present))])
    finally:
        os.close(memory)


def receive(channel: socket) -> tuple[dict[str, Any], list[int]]:
    """What `send` sent: (request, fds); ({}, []) when the other side has gone."""
    try:
        flags, ancillary, _, _ = channel.recvmsg(64, CMSG_SPACE(4 * 16), MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        flags, ancillary = b"", []
    if not flags:
        return {}, []
    received = iter(unpack(f"{len(ancillary[0][2]) // 4}i", ancillary[0][2]))
    memory = next(received)
    fds = [next(received) if flag else -1 for flag in flags]
    data = os.pread(memory, os.fstat(memory).st_size, 0)
    os.close(memory)
    return fastjson.loads(data, what="the request"), fds


def become_monitor(plan: dict[str, Any], channel: socket, stdio: tuple[int, int, int], hold: int) -> None:
    """In a process of its own: run the monitor and end, whatever happens."""
    status = 1
    try:
        from estiva.engine import monitor

        monitor.main(plan, channel, stdio, hold)
        status = 0
    except BaseException as error:
        try:
            channel.send(encode_error(error))
        except OSError:
            pass
    finally:
        os._exit(status)


def adopt(fd: int) -> socket:
    """A channel from an fd that came over a socket."""
    return socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
