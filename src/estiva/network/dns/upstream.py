"""What containers ask that nobody here is called: forwarded to other name servers, by the protocol that it
came by.

    the host's servers   from the host's network namespace, which alone reaches those on its loopback, each
                         query by a socket of its own
    those of --dns       from the container's, by sockets that were made in it (handover.py): this process
                         may enter none. A datagram socket that is let go of (connect(2) with AF_UNSPEC)
                         gets another port the next time

So every query goes out from a random port, with a random id, by a socket that hears the server it was sent
to alone, and its answer has to be to the same question (RFC 5452). A server that says nothing, refuses or
fails is followed by the next, and asked last for a while. What a container may have under way is bounded,
and so is all.
"""

from __future__ import annotations

import os
import time
from _socket import (
    AF_INET,
    AF_INET6,
    SO_ERROR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
)
from _socket import socket as _socket
from errno import EINPROGRESS
from select import EPOLLIN, EPOLLOUT

from estiva.linux.net.sockets import disconnect
from estiva.network.dns import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    Reply: TypeAlias = Callable[[bytes | None], None]

    from estiva.network.dns.loop import Loop

PORT = 53
PATIENCE = 2.0  # seconds for one server
SERVERS = 3  # that are asked at most, as resolv.conf(5) and Docker have it
DOUBT = 10.0  # seconds for which a server that has said nothing is asked last
EACH = 64  # queries of one container that are under way
ALL = 1024  # queries of all
DATAGRAM = 1 << 16


class Server:
    """One of a container's name servers. `outside`: asked from the host's network namespace."""

    __slots__ = ("address", "outside", "family", "doubted")

    def __init__(self, address: str, outside: bool) -> None:
        self.address = address
        self.outside = outside
        self.family = AF_INET6 if ":" in address else AF_INET
        self.doubted = 0.0


class Pool:
    """The sockets that a container's queries go out by: given ones, in its network namespace."""

    def __init__(self, given: Iterable[_socket] = ()) -> None:
        self.free = list(given)

    def take(self, family: int, kind: int) -> _socket | None:
        for held in self.free:
            if held.family == family and held.type & 0xF == kind:
                self.free.remove(held)
                return held
        return None

    def give_back(self, held: _socket) -> None:
        try:
            disconnect(held.fileno())
        except OSError:
            held.close()
            return
        if held.type & 0xF == SOCK_DGRAM:
            try:
                while True:  # what came too late
                    held.recv(1)
            except OSError:
                pass
        self.free.append(held)

    def close(self) -> None:
        while self.free:
            self.free.pop().close()


class Asker:
    """Whose queries are forwarded: a container's servers, its sockets, what it has under way."""

    def __init__(self, servers: Iterable[Server], pool: Pool) -> None:
        self.servers = list(servers)[:SERVERS]
        self.pool = pool
        self.pending: set[Pending] = set()
        self.waiting: list[Pending] = []  # for a given socket
        self.confined: Callable[[], bool] = lambda: False


class Pending:
    """One query under way. `reply` gets the answer, None when there is none."""

    __slots__ = (
        "asker", "query", "data", "reply", "kind", "left", "server", "socket", "number", "deadline",
        "output", "input",
    )  # fmt: skip

    def __init__(
        self,
        asker: Asker,
        query: wire.Query,
        data: bytes,
        reply: Reply,
        stream: bool,
    ) -> None:
        self.asker = asker
        self.query = query
        self.data = data
        self.reply = reply
        self.kind: int = SOCK_STREAM if stream else SOCK_DGRAM
        self.left: list[Server] = []
        self.server: Server | None = None
        self.socket: _socket | None = None
        self.number = 0
        self.deadline = 0.0
        self.output = b""
        self.input = b""


class Forwarder:
    """Everything that is under way, of all containers."""

    def __init__(self, loop: Loop, port: int = PORT) -> None:
        self.loop = loop
        self.port = port
        self.pending: set[Pending] = set()

    def ask(
        self,
        asker: Asker,
        query: wire.Query,
        data: bytes,
        reply: Reply,
        *,
        stream: bool,
    ) -> bool:
        """Forward a query. False where too many are under way; then nothing will come."""
        if len(asker.pending) >= EACH or len(self.pending) >= ALL:
            return False
        pending = Pending(asker, query, data, reply, stream)
        now = time.monotonic()
        servers = [server for server in asker.servers if not (server.outside and asker.confined())]
        pending.left = sorted(servers, key=lambda server: server.doubted > now)
        pending.deadline = now + PATIENCE * 2  # of one that waits for a socket
        asker.pending.add(pending)
        self.pending.add(pending)
        self._next(pending)
        return True

    def tick(self, now: float) -> None:
        """Let go of servers that have been silent for too long."""
        for pending in [pending for pending in self.pending if pending.deadline <= now]:
            if pending.server is None:
                self._done(pending, None)
            else:
                pending.server.doubted = now + DOUBT
                self._next(pending)

    def forget(self, asker: Asker) -> None:
        """The container has gone."""
        asker.waiting.clear()
        for pending in list(asker.pending):
            self._let_go(pending)
            self.pending.discard(pending)
        asker.pending.clear()
        asker.pool.close()

    def _next(self, pending: Pending) -> None:
        """On to the next server; to the answer that there is none after the last."""
        self._let_go(pending)
        while pending.left and pending in self.pending:
            server = pending.left.pop(0)
            pending.server = server
            try:
                if server.outside:
                    held = _socket(server.family, pending.kind | SOCK_NONBLOCK | SOCK_CLOEXEC)
                else:
                    found = pending.asker.pool.take(server.family, pending.kind)
                    if found is None:
                        pending.left.insert(0, server)
                        pending.server = None
                        pending.asker.waiting.append(pending)
                        return
                    held = found
                pending.deadline = time.monotonic() + PATIENCE
                pending.socket = held
                self._send(pending, held, server)
                return
            except OSError:
                self._let_go(pending)
        self._done(pending, None)

    def _send(self, pending: Pending, held: _socket, server: Server) -> None:
        pending.number = int.from_bytes(os.urandom(2), "big")
        data = wire.with_id(pending.data, pending.number)
        failed = held.connect_ex((server.address, self.port))
        if failed not in (0, EINPROGRESS):
            raise OSError(failed, os.strerror(failed))
        pending.input = b""
        if pending.kind == SOCK_DGRAM:
            held.send(data)
            self.loop.watch(held.fileno(), EPOLLIN, lambda _: self._datagram(pending, held))
        else:
            pending.output = len(data).to_bytes(2, "big") + data
            self.loop.watch(held.fileno(), EPOLLOUT, lambda _: self._stream(pending, held))

    def _datagram(self, pending: Pending, held: _socket) -> None:
        try:
            data = held.recv(DATAGRAM)
        except BlockingIOError:
            return
        except OSError:
            self._next(pending)  # nobody listens there
            return
        self._heard(pending, data)

    def _stream(self, pending: Pending, held: _socket) -> None:
        try:
            if failed := held.getsockopt(SOL_SOCKET, SO_ERROR):
                raise OSError(failed, os.strerror(failed))
            if pending.output:
                pending.output = pending.output[held.send(pending.output) :]
                if not pending.output:
                    self.loop.poll.modify(held.fileno(), EPOLLIN)
                return
            whole = 2 + int.from_bytes(pending.input[:2], "big") if len(pending.input) >= 2 else 2
            data = held.recv(whole - len(pending.input))
            pending.input += data
            complete = len(pending.input) == whole > 2
            if not data or (complete and not self._heard(pending, pending.input[2:])):
                raise EOFError
        except BlockingIOError:
            return
        except (OSError, EOFError):
            self._next(pending)

    def _heard(self, pending: Pending, data: bytes) -> bool:
        """What came from a server; False if it is no answer to this."""
        if not wire.answers(data, pending.number, pending.query.question):
            return False
        if wire.rcode_of(data) in (wire.SERVFAIL, wire.REFUSED):
            self._next(pending)
        else:
            self._done(pending, wire.with_id(data, pending.query.id))
        return True

    def _done(self, pending: Pending, answer: bytes | None) -> None:
        self._let_go(pending)
        if pending in self.pending:
            self.pending.discard(pending)
            pending.asker.pending.discard(pending)
            pending.reply(answer)

    def _let_go(self, pending: Pending) -> None:
        """Of its socket, which who waits may have now."""
        if pending in pending.asker.waiting:
            pending.asker.waiting.remove(pending)
        held, pending.socket = pending.socket, None
        if held is None:
            return
        self.loop.forget(held.fileno())
        if pending.server is not None and not pending.server.outside:
            pending.asker.pool.give_back(held)
            self._wake(pending.asker)
        else:
            held.close()

    def _wake(self, asker: Asker) -> None:
        waiting, asker.waiting = asker.waiting, []
        for pending in waiting:
            if pending in self.pending:
                self._next(pending)
