"""One connection of a client to the name server."""

from __future__ import annotations

import time
from select import EPOLLIN, EPOLLOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as _socket
    from collections.abc import Callable

    from estiva.network.dns.loop import Loop

QUERY = 4096  # bytes of a query at most
PIECE = 512  # bytes of a connection before the others have their turn
UNREAD = 1 << 17  # bytes of answers that wait for a client which does not read


class Stream:
    """Messages with their length before them (RFC 1035 4.2.2, RFC 7766). `ask` is called with each, and whom
    to give the answer to; `gone` once it is closed.
    """

    def __init__(
        self,
        loop: Loop,
        held: _socket,
        ask: Callable[[bytes, Callable[[bytes], None]], None],
        gone: Callable[[Stream], None],
    ) -> None:
        self.loop = loop
        self.held = held
        self.ask = ask
        self.gone = gone
        self.input = b""
        self.output = b""
        self.moved = time.monotonic()
        held.setblocking(False)
        loop.watch(held.fileno(), EPOLLIN, self._work)

    def _work(self, events: int) -> None:
        if events & EPOLLOUT or self.output:
            self._flush()
            if self.output:
                return  # who does not read is not heard either
        try:
            data = self.held.recv(min(PIECE, QUERY + 2 - len(self.input)))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.moved = time.monotonic()
        self.input += data
        while len(self.input) >= 2 and self.held.fileno() >= 0:
            length = int.from_bytes(self.input[:2], "big")
            if length > QUERY:
                self.close()
                return
            if len(self.input) < 2 + length:
                return
            message, self.input = self.input[2 : 2 + length], self.input[2 + length :]
            self.ask(message, self._reply)

    def _reply(self, answer: bytes) -> None:
        if self.held.fileno() < 0:
            return  # it has gone meanwhile
        self.output += len(answer).to_bytes(2, "big") + answer
        if len(self.output) > UNREAD:
            self.close()
        else:
            self._flush()

    def _flush(self) -> None:
        try:
            while self.output:
                self.output = self.output[self.held.send(self.output) :]
                self.moved = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self.loop.poll.modify(self.held.fileno(), EPOLLOUT if self.output else EPOLLIN)

    def close(self) -> None:
        if self.held.fileno() < 0:
            return
        self.loop.forget(self.held.fileno())
        self.held.close()
        self.gone(self)
