"""The process that answers the containers of one state root, in one loop over epoll(7).

A monitor connects and sends one packet (handover.py): the container's id, its name servers, and the sockets
that were made in its network namespace. They are served until the connection ends, which is when the
container does. The process ends when no container is left for `LINGER` seconds; killed, it loses nothing
that the monitors do not have.

Each container's queries are read a few at a time, in turn; what it may have under way, and connected, is
bounded. A packet that can't be understood is dropped or answered with an error.
"""

from __future__ import annotations

import time
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOL_SOCKET,
)
from _socket import socket as _socket
from _struct import unpack
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from select import EPOLLIN

from estiva import fastjson
from estiva.errors import EstivaError
from estiva.network.dns import wire
from estiva.network.dns.allowed import Allowed
from estiva.network.dns.loop import Held, Loop
from estiva.network.dns.stream import QUERY, Stream
from estiva.network.dns.upstream import PORT, Asker, Forwarder, Pool, Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.network.dns.names import Directory

ROUND = 16  # queries of one container before the others have their turn
STREAMS = 16  # connections of one container
MOST = 512  # of all
IDLE = 10.0  # seconds after which a connection without a query is closed
PREPARED = 4096  # answers that are kept until a name changes
LINGER = 2.0  # seconds without a container
MOMENT = 0.01  # seconds
TICK = 0.25  # seconds between two looks at what has waited too long
MESSAGE = 1 << 14  # bytes of a monitor's packet
SOCKETS = 32  # that come with it, at most
EXHAUSTED = (EMFILE, ENFILE, ENOBUFS, ENOMEM)


class Resolver:
    """All containers. `listening` is where monitors connect; `port` is that of other name servers."""

    def __init__(self, listening: _socket, directory: Directory, *, port: int = PORT) -> None:
        self.loop = Loop()
        self.directory = directory
        self.forwarder = Forwarder(self.loop, port)
        self.listening = listening
        self.containers: set[Container] = set()
        self.streams: set[Stream] = set()
        self.newcomers: dict[_socket, float] = {}  # who have sent nothing yet
        self.turns = 0
        self.mistakes = 0
        self.prepared: dict[
            tuple[str, bytes], bytes
        ] = {}  # (container, query without id) -> answer without id
        self.over = False
        listening.setblocking(False)
        self.loop.watch(listening.fileno(), EPOLLIN, lambda _: self._accept())

    def run(self, linger: float = LINGER) -> None:
        """Until no container has been there for `linger` seconds, or `over`."""
        alone = time.monotonic()
        while not self.over:
            busy = self.forwarder.pending or self.streams or self.newcomers
            self.loop.turn(TICK if busy else -1 if self.containers else linger)
            now = time.monotonic()
            if busy:
                self._tick(now)
            if self.containers or self.newcomers:
                alone = now
            elif now >= alone + linger:
                return

    def _tick(self, now: float) -> None:
        self.forwarder.tick(now)
        for stream in [stream for stream in self.streams if stream.moved + IDLE <= now]:
            stream.close()
        for channel in [channel for channel, since in self.newcomers.items() if since + IDLE <= now]:
            self._dismiss(channel)

    def _accept(self) -> None:
        try:
            fd, _ = self.listening._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in EXHAUSTED:
                self.make_room()
            return
        channel = _socket(fileno=fd)
        channel.setblocking(False)
        self.newcomers[channel] = time.monotonic()
        self.loop.watch(fd, EPOLLIN, lambda _: self._receive(channel))

    def _dismiss(self, channel: _socket) -> None:
        self.newcomers.pop(channel, None)
        self.loop.forget(channel.fileno())
        channel.close()

    def _receive(self, channel: _socket) -> None:
        """A monitor's packet: a container."""
        sockets: list[_socket] = []
        try:
            data, ancillary, flags, _ = channel.recvmsg(MESSAGE, CMSG_SPACE(4 * SOCKETS), MSG_CMSG_CLOEXEC)
            for level, kind, content in ancillary:
                if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                    count = len(content) // 4
                    sockets += [_socket(fileno=fd) for fd in unpack(f"{count}i", content[: count * 4])]
            message = fastjson.loads(data)
            container = Container(self, channel, message, sockets)
        except BlockingIOError:
            return
        except (OSError, EstivaError, ValueError, TypeError, LookupError, AttributeError):
            for held in sockets:
                held.close()
            self._dismiss(channel)
            return
        del self.newcomers[channel]
        self.loop.forget(channel.fileno())
        self.admit(container)

    def admit(self, container: Container) -> None:
        """Serve a container, instead of what was adopted of it; where that is the same, it goes on, with the
        queries that are under way."""
        for other in [other for other in self.containers if other.id == container.id and other.adopted]:
            if other.message == container.message:
                other.follow(container)
                return
            other.close()
        container.begin()
        self.containers.add(container)

    def make_room(self) -> None:
        """There are no fds left, or too many connections: the client that has been silent for longest goes.
        Without one, the fds are somebody else's for a moment.
        """
        if self.streams:
            min(self.streams, key=lambda stream: stream.moved).close()
        else:
            time.sleep(MOMENT)

    def answer(
        self, container: Container, data: bytes, reply: Callable[[bytes], None], *, stream: bool
    ) -> None:
        """Answer one message of a container, now or later."""
        if self.directory.refresh():
            self.prepared.clear()
        elif not stream and (prepared := self.prepared.get((container.id, data[2:]))):
            reply(data[:2] + prepared)
            return
        query = wire.parse(data)
        if query is None:
            return
        try:
            self._answer(container, query, data, reply, stream=stream)
        except Exception:  # of a mistake here: one query is lost then, and nobody else's
            self.mistakes += 1

    def _answer(
        self,
        container: Container,
        query: wire.Query,
        data: bytes,
        reply: Callable[[bytes], None],
        *,
        stream: bool,
    ) -> None:
        limit = wire.LARGEST if stream else query.size
        if query.rcode:
            reply(wire.answer(query, rcode=query.rcode, limit=limit))
            return
        if container.allowed is not None:
            container.allowed.answer(container.asker, query, reply, stream=stream, limit=limit)
            return
        turns = self.turns
        answer = self._known(container.id, query, limit)
        single = b"." not in query.name and query.type in (wire.A, wire.AAAA)
        if answer is None and container.ndots and single:
            answer = wire.answer(query, limit=limit)  # the client goes on with its search list, as Docker's
        if answer is not None:
            reply(answer)
            if not stream and self.turns == turns and len(data) <= wire.SMALL:
                if len(self.prepared) >= PREPARED:
                    self.prepared.clear()
                self.prepared[container.id, data[2:]] = answer[2:]
            return

        def heard(found: bytes | None) -> None:
            if found is None:
                found = wire.answer(query, rcode=wire.SERVFAIL, limit=limit)
            reply(found if len(found) <= limit else wire.truncated(found, query.question))

        if not self.forwarder.ask(container.asker, query, data, heard, stream=stream):
            reply(wire.answer(query, rcode=wire.REFUSED, limit=limit))

    def _known(self, container: str, query: wire.Query, limit: int) -> bytes | None:
        """The answer to a query about a name here; without data for types that names here don't have. None
        for all others.
        """
        if query.klass != wire.IN:
            return None
        if query.type == wire.PTR:
            address = wire.reverse_address(query.name)
            name = self.directory.reverse(container, address) if address else b""
            if name:
                return wire.answer(query, [(b"", wire.PTR, wire.encode(name))], limit=limit)
        if query.type == wire.SRV and query.name.startswith(b"_"):
            return self._service(container, query, limit)
        found = self.directory.resolve(container, query.name)
        if found is None:
            return None
        records = []
        if query.type in (wire.A, wire.ANY):
            records += [(b"", wire.A, address) for address in self._rotated(found.v4)]
        if query.type in (wire.AAAA, wire.ANY):
            records += [(b"", wire.AAAA, address) for address in self._rotated(found.v6)]
        return wire.answer(query, records, limit=limit)

    def _service(self, container: str, query: wire.Query, limit: int) -> bytes | None:
        """_PORT._tcp.NAME or _PORT._udp.NAME: that port of each container which NAME means."""
        service, _, rest = query.name.partition(b".")
        protocol, _, name = rest.partition(b".")
        found = self.directory.resolve(container, name) if protocol in (b"_tcp", b"_udp") else None
        if found is None:
            return None
        port = int(service[1:]) if service[1:].isdigit() and len(service) <= 6 else 0
        if not 0 < port < 1 << 16:
            return wire.answer(query, limit=limit)
        records, extra = [], []
        for kind, listed in ((wire.A, found.v4), (wire.AAAA, found.v6)):
            for address in self._rotated(listed):
                target = self.directory.reverse(container, address) or name
                record = b"\0\0\0\0" + port.to_bytes(2, "big") + wire.encode(target)
                if (b"", wire.SRV, record) not in records:
                    records.append((b"", wire.SRV, record))
                extra.append((target, kind, address))
        return wire.answer(query, records, extra, limit=limit)

    def _rotated(self, addresses: list[bytes]) -> list[bytes]:
        """Another one first each time."""
        if len(addresses) < 2:
            return addresses
        self.turns += 1
        at = self.turns % len(addresses)
        return addresses[at:] + addresses[:at]


class Container:
    """One container's sockets, from the packet that brought them until its monitor's connection ends: that is
    `channel`, or of one that was adopted (adopt.py) a pidfd of the monitor."""

    def __init__(
        self, resolver: Resolver, channel: _socket | Held, message: dict[str, object], sockets: list[_socket]
    ) -> None:
        identity, servers = message["id"], message["servers"]
        if not isinstance(identity, str) or not isinstance(servers, list) or len(sockets) < 2:
            raise ValueError("not a container")
        self.resolver = resolver
        self.channel = channel
        self.adopted = not isinstance(channel, _socket)
        self.message = message
        self.id = identity
        self.ndots = bool(message.get("ndots"))
        self.udp, self.tcp, *given = sockets
        listed = [Server(str(address), bool(outside)) for address, outside in servers]
        self.allowed: Allowed | None = None  # all may be asked for, and reached
        if "allow" in message:
            self.allowed = Allowed(resolver.forwarder, message["allow"], given.pop())
        self.asker = Asker(listed, Pool(given))
        self.asker.confined = lambda: resolver.directory.confined(identity)
        self.streams: list[Stream] = []
        for held in sockets:
            held.setblocking(False)

    def follow(self, other: Container) -> None:
        """Go on as one that was handed over: `other` has the same sockets under other numbers."""
        self.resolver.loop.forget(self.channel.fileno())
        self.channel.close()
        self.channel, self.adopted = other.channel, False
        self.resolver.loop.watch(self.channel.fileno(), EPOLLIN, lambda _: self.close())
        for held in (other.udp, other.tcp):
            held.close()
        other.asker.pool.close()
        if other.allowed is not None:
            other.allowed.channel.close()

    def begin(self) -> None:
        loop = self.resolver.loop
        loop.watch(self.channel.fileno(), EPOLLIN, lambda _: self.close())  # nothing is said after the packet
        loop.watch(self.udp.fileno(), EPOLLIN, lambda _: self._datagrams())
        loop.watch(self.tcp.fileno(), EPOLLIN, lambda _: self._connection())
        if self.allowed is not None:
            self.allowed.begin()

    def _datagrams(self) -> None:
        for _ in range(ROUND):
            try:
                data, sender = self.udp.recvfrom(QUERY + 1)
            except OSError:
                return
            if len(data) <= QUERY:
                self.resolver.answer(self, data, self._sender(sender), stream=False)

    def _sender(self, to: Any) -> Callable[[bytes], None]:
        def send(answer: bytes) -> None:
            try:
                self.udp.sendto(answer, to)
            except OSError:
                pass  # lost, as datagrams may be

        return send

    def _connection(self) -> None:
        try:
            fd, _ = self.tcp._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in EXHAUSTED:
                self.resolver.make_room()
            return
        if len(self.streams) >= STREAMS:
            min(self.streams, key=lambda stream: stream.moved).close()
        elif len(self.resolver.streams) >= MOST:
            self.resolver.make_room()
        made = Stream(self.resolver.loop, _socket(fileno=fd), self._asked, self._left)
        self.streams.append(made)
        self.resolver.streams.add(made)

    def _asked(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        self.resolver.answer(self, data, reply, stream=True)

    def _left(self, stream: Stream) -> None:
        self.streams.remove(stream)
        self.resolver.streams.discard(stream)

    def close(self) -> None:
        for stream in list(self.streams):
            stream.close()
        self.resolver.forwarder.forget(self.asker)
        if self.allowed is not None:
            self.allowed.close()
        for held in (self.channel, self.udp, self.tcp):
            self.resolver.loop.forget(held.fileno())
            held.close()
        self.resolver.containers.discard(self)
