"""The resolver's side of a container that may reach some hosts only: a query is answered if it is for the
address of one of them, and once the way there is open (gate.py).

Nothing that the container has written goes to another name server: what is asked for is put together anew.
Of what that answers only addresses are told, and those only that a name may mean: none that is private, is
this machine's, or leads into it by a detour. So a name that means something else a moment later (DNS
rebinding) means nothing.
"""

from __future__ import annotations

import os
from select import EPOLLIN

from estiva.network.dns import allow, gate, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as _socket
    from collections.abc import Callable

    from estiva.network.dns.upstream import Asker, Forwarder

    Reply = Callable[[bytes], None]

TOLD = 32  # addresses of one answer
WAITING = 64  # for the gate


class Allowed:
    """One container's."""

    def __init__(self, forwarder: Forwarder, words: object, channel: _socket) -> None:
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("not a list of hosts")
        self.order = allow.table(words).order
        self.forwarder = forwarder
        self.channel = channel
        self.waiting: dict[bytes, Callable[[bool], None]] = {}
        channel.setblocking(False)

    def begin(self) -> None:
        self.forwarder.loop.watch(self.channel.fileno(), EPOLLIN, lambda _: self._heard())

    def close(self) -> None:
        self.forwarder.loop.forget(self.channel.fileno())
        self.channel.close()
        self.waiting.clear()

    def answer(self, asker: Asker, query: wire.Query, reply: Reply, *, stream: bool, limit: int) -> None:
        """Now, or later."""

        def say(records: list[bytes], rcode: int = wire.NOERROR) -> None:
            told = [(b"", query.type, one) for one in records]
            reply(wire.answer(query, told, rcode=rcode, limit=limit))

        if query.name not in self.order or query.klass != wire.IN:
            say([], wire.NXDOMAIN)
            return
        if query.type not in (wire.A, wire.AAAA):
            say([])
            return
        asked = wire.question(query.name, query.type)
        fresh = wire.Query(0, wire.RD)
        fresh.question = asked[wire.HEADER :]

        def heard(found: bytes | None) -> None:
            if found is None:
                say([], wire.SERVFAIL)
                return
            if wire.is_cut(found) and self.forwarder.ask(asker, fresh, asked, whole, stream=True):
                return
            whole(found)

        def whole(found: bytes | None) -> None:
            listed = wire.addresses(found or b"", query.type)[:TOLD]
            good = [one for one in listed if allow.public(one) and not gate.is_ours(one)]
            if not good:
                none = found is not None and wire.rcode_of(found) == wire.NXDOMAIN
                say([], wire.NXDOMAIN if none else wire.NOERROR)
                return
            self._open(
                self.order.index(query.name), good, lambda done: say(good) if done else say([], wire.SERVFAIL)
            )

        if not self.forwarder.ask(asker, fresh, asked, heard, stream=stream):
            say([], wire.REFUSED)

    def _open(self, index: int, addresses: list[bytes], then: Callable[[bool], None]) -> None:
        number = os.urandom(8)
        try:
            if len(self.waiting) >= WAITING:
                raise BlockingIOError
            self.channel.send(gate.request(number, index, addresses))
        except OSError:
            then(False)
            return
        self.waiting[number] = then

    def _heard(self) -> None:
        try:
            data = self.channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the gate has gone: so has the container
            self.forwarder.loop.forget(self.channel.fileno())
            waiting, self.waiting = self.waiting, {}
            for then in waiting.values():
                then(False)
            return
        then = self.waiting.pop(data[:8], lambda done: None)
        then(data[8:] == b"\1")
