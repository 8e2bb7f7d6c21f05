"""Ports that are published on IPv6 addresses: a relay to the container's IPv4 address.

The kernel translates addresses within a family only, and containers have IPv4 alone. So a process of its own
accepts what comes for these ports and copies it to the container and back, as Docker's does. It waits in
epoll(7) on all that it has, reads from one side only what the other has taken (K25), and ends with the
container's init. It asks for the container's address each time, as that may change while the container runs:
another's may be given the old one. Who comes from an internal network is refused, as the firewall does in
forwarding: nothing is forwarded here.

    tcp   one connection to the container for each that is accepted; each side's end is passed on
    udp   one socket to the container for each sender, forgotten after `IDLE` seconds without a datagram
"""

from __future__ import annotations

import select
import sys
import time
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_PKTINFO,
    IPV6_RECVPKTINFO,
    SHUT_WR,
    SO_ERROR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
)
from _socket import socket as _socket
from errno import EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

CHUNK = 1 << 16  # bytes that wait for one side at most
MOST = 4096  # senders of datagrams that are remembered, and connections
MOMENT = 1  # seconds until it is tried again to accept, where there were no fds left
IDLE = 90  # seconds, as Docker's relay
DATAGRAM = 1 << 16
ROUND = 32  # datagrams from one socket before the others have their turn

IPV6_2292PKTOPTIONS = 6  # linux/in6.h; of a connection, the control messages of its first packet
PKTINFO = 20  # bytes: address and interface (RFC 3542, 6)

CONNECTING = (0, EINPROGRESS)
EXHAUSTED = (EMFILE, ENFILE, ENOBUFS, ENOMEM)

Target = tuple[str, int]


class Relay:
    """All ports of one container. `listening` are (bound socket, port in the container); `address` tells the
    container's address of now, "" for none; `closed` whether who comes in by the interface of that index (0:
    not known) is refused."""

    def __init__(
        self,
        pidfd: int,
        listening: Iterable[tuple[_socket, int]],
        address: Callable[[], str],
        closed: Callable[[int], bool],
    ) -> None:
        self.pidfd = pidfd
        self.address = address
        self.closed = closed
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.count = 0
        self.paused: list[_socket] = []  # that accept nothing until a connection has ended
        self.tables: list[Datagrams] = []
        self.watch(pidfd, select.EPOLLIN, lambda _: None)
        for held, port in listening:
            held.setblocking(False)
            if held.family == AF_INET6:
                held.setsockopt(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
            if held.type & 0xF == SOCK_STREAM:
                self.watch(held.fileno(), select.EPOLLIN, self.acceptor(held, port))
            else:
                table = Datagrams(self, held, port)
                self.tables.append(table)
                self.watch(held.fileno(), select.EPOLLIN, table.receive)

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        self.poll.register(fd, events)
        self.handlers[fd] = handler

    def forget(self, fd: int, *, watched: bool = True) -> None:
        if watched:
            self.poll.unregister(fd)
        del self.handlers[fd]

    def acceptor(self, listening: _socket, port: int) -> Callable[[int], None]:
        """What is done when a connection has come."""

        def accept(_: int) -> None:
            if self.count >= MOST:
                self.rest(listening)
                return
            server = None
            try:
                # first: who has been accepted is not to be sent away for want of another fd
                server = _socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
                fd, _ = listening._accept()  # type: ignore[attr-defined]
            except OSError as error:
                if server is not None:
                    server.close()
                if error.errno in EXHAUSTED:
                    self.rest(listening)
                return  # else: it has gone already
            client = _socket(fileno=fd)
            address = self.address()
            if not address or self.closed(_came_by(client)):
                client.close()
                server.close()
                return
            client.setblocking(False)
            Connection(self, client, server, (address, port))

        return accept

    def rest(self, listening: _socket) -> None:
        """Accept nothing more there for a moment: they wait in the kernel's queue."""
        self.poll.modify(listening.fileno(), 0)
        self.paused.append(listening)

    def go_on(self) -> None:
        """Accept again."""
        while self.paused:
            self.poll.modify(self.paused.pop().fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Until the process of the pidfd has ended."""
        while True:
            wait = IDLE if any(table.senders for table in self.tables) else -1
            found = self.poll.poll(MOMENT if self.paused else wait)
            if not found:
                self.go_on()
            if any(fd == self.pidfd for fd, _ in found):
                return  # first: its address may be another's now
            for fd, events in found:
                handler = self.handlers.get(fd)
                if handler is not None:  # else it went with one before it in this very list
                    handler(events)
            for table in self.tables:
                table.tidy()


def _came_by(client: _socket) -> int:
    """The index of the interface that a connection has come in by; 0 for one that is not known."""
    if client.family != AF_INET6:
        return 0
    try:
        options = client.getsockopt(IPPROTO_IPV6, IPV6_2292PKTOPTIONS, 256)
    except OSError:
        return 0
    return _index(options[16 : 16 + PKTINFO])  # after the header, cmsg(3)


def _index(pktinfo: bytes) -> int:
    return int.from_bytes(pktinfo[16:PKTINFO], sys.byteorder) if len(pktinfo) >= PKTINFO else 0


class Connection:
    """Two sockets: 0 is the client's, 1 the container's."""

    def __init__(self, relay: Relay, client: _socket, server: _socket, target: Target) -> None:
        self.relay = relay
        self.sockets = (client, server)
        self.waiting = [b"", b""]  # what each side has sent and the other has not taken
        self.over = [False, False]  # each side has sent all
        self.told = [False, False]  # ... and the other knows
        self.gone = [False, False]  # each side can neither send nor take any more
        self.connected = False
        relay.count += 1
        for held in self.sockets:
            held.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        relay.watch(client.fileno(), 0, self.handler(0))
        relay.watch(server.fileno(), select.EPOLLOUT, self.handler(1))
        if server.connect_ex(target) not in CONNECTING:
            self.close()

    def handler(self, side: int) -> Callable[[int], None]:
        def handle(events: int) -> None:
            try:
                self.work(side, events)
            except OSError:
                self.close()

        return handle

    def work(self, side: int, events: int) -> None:
        """What can be done now. Raises OSError: both end then."""
        if side and not self.connected:
            if self.sockets[1].getsockopt(SOL_SOCKET, SO_ERROR):
                self.close()
                return
            self.connected = True
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not self.waiting[side]:
            self.read(side)
        if events & (select.EPOLLHUP | select.EPOLLERR):
            # epoll would tell it again and again while the other side takes its time
            self.gone[side] = True
            self.relay.poll.unregister(self.sockets[side].fileno())
        for sender in (0, 1):
            self.write(sender)
            while self.gone[sender] and not self.waiting[sender] and not self.over[sender]:
                self.read(sender)  # what is left in the kernel, which is bounded
                self.write(sender)
        if all(self.told):
            self.close()
            return
        for one in (0, 1):
            wanted = select.EPOLLIN if not self.over[one] and not self.waiting[one] else 0
            wanted |= select.EPOLLOUT if self.waiting[1 - one] else 0
            if not self.gone[one] and self.connected:
                self.relay.poll.modify(self.sockets[one].fileno(), wanted)

    def read(self, side: int) -> None:
        if self.over[side]:
            return
        try:
            data = self.sockets[side].recv(CHUNK)
        except BlockingIOError:
            return
        self.waiting[side] = data
        self.over[side] = not data

    def write(self, sender: int) -> None:
        """Pass on what one side has sent, and that it has sent all."""
        receiver = self.sockets[1 - sender]
        if not self.connected:
            return
        try:
            while self.waiting[sender]:
                self.waiting[sender] = self.waiting[sender][receiver.send(self.waiting[sender]) :]
        except BlockingIOError:
            return
        if self.over[sender] and not self.told[sender]:
            self.told[sender] = True
            receiver.shutdown(SHUT_WR)

    def close(self) -> None:
        if self.sockets[0].fileno() < 0:
            return
        for held, gone in zip(self.sockets, self.gone, strict=True):
            self.relay.forget(held.fileno(), watched=not gone)
            held.close()
        self.relay.count -= 1
        self.relay.go_on()


def _arrived_by(told: list[tuple[int, int, bytes]]) -> int:
    """As `_came_by`, of a datagram with these control messages."""
    for level, kind, data in told:
        if level == IPPROTO_IPV6 and kind == IPV6_PKTINFO:
            return _index(data)
    return 0


class Datagrams:
    """A port of datagrams: who has sent some, and the socket to the container that stands for each."""

    def __init__(self, relay: Relay, held: _socket, port: int) -> None:
        self.relay = relay
        self.held = held
        self.port = port
        self.address = ""
        self.senders: dict[Any, tuple[_socket, float]] = {}  # the one longest silent first

    def follow(self) -> None:
        """Where the container is now. Whom it has answered at another address, it knows no more."""
        address = self.relay.address()
        if address != self.address:
            self.address = address
            while self.senders:
                self.drop(next(iter(self.senders)))

    def receive(self, _: int) -> None:
        for _ in range(ROUND):
            try:
                data, told, _, sender = self.held.recvmsg(DATAGRAM, 256)
            except OSError:
                return
            self.follow()
            if not self.address:
                continue
            known = self.senders.pop(sender, None)
            try:
                if known is None and self.relay.closed(_arrived_by(told)):
                    continue
                inside = known[0] if known else self.meet(sender)
                self.senders[sender] = (inside, time.monotonic())
                inside.send(data)
            except OSError:
                continue  # lost, as datagrams may be: nobody listens there, or no fd is left

    def meet(self, sender: Any) -> _socket:
        """A socket for a new sender. Raises OSError."""
        if len(self.senders) >= MOST:
            self.drop(next(iter(self.senders)))
        inside = _socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            inside.connect((self.address, self.port))
        except OSError:
            inside.close()
            raise

        def answer(_: int) -> None:
            self.follow()
            if sender not in self.senders:
                return
            try:
                self.held.sendto(inside.recv(DATAGRAM), sender)
            except OSError:
                return
            known = self.senders.pop(sender, None)
            if known is not None:
                self.senders[sender] = (known[0], time.monotonic())

        self.relay.watch(inside.fileno(), select.EPOLLIN, answer)
        return inside

    def drop(self, sender: Any) -> None:
        inside, _ = self.senders.pop(sender)
        self.relay.forget(inside.fileno())
        inside.close()

    def tidy(self) -> None:
        """Forget who has been silent for long."""
        before = time.monotonic() - IDLE
        while self.senders:
            sender = next(iter(self.senders))
            if self.senders[sender][1] > before:
                return
            self.drop(sender)
