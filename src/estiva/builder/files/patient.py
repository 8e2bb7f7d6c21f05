"""http and https by urllib, over sockets that ask now and then whether to go on: a silent server holds nobody
who has had enough, in whatever thread.

Each wait for the network is one of LOOK seconds at most, again and again, up to TIMEOUT.
"""

from __future__ import annotations

import errno
import http.client
import os
import select
import socket
import time
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from urllib.request import OpenerDirector

TIMEOUT = 60.0  # seconds without a byte
LOOK = 0.2  # seconds


class _Patient:
    """What waits, of a socket whose timeout is LOOK."""

    look: Callable[[], object]

    def recv_into(self, *arguments: Any) -> int:
        return int(self._wait(super().recv_into, *arguments))  # type: ignore[misc]

    def do_handshake(self, *arguments: Any) -> None:
        self._wait(super().do_handshake, *arguments)  # type: ignore[misc]

    def _wait(self, call: Callable[..., Any], *arguments: Any) -> Any:
        until = time.monotonic() + TIMEOUT
        while True:
            self.look()
            try:
                return call(*arguments)
            except TimeoutError:
                if time.monotonic() > until:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None


class _Plain(_Patient, socket.socket):
    def __init__(self, family: int, look: Callable[[], object]) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.look = look
        self.settimeout(LOOK)


def _connected(place: tuple[str, int], look: Callable[[], object]) -> _Plain:
    """A connection to the first address of a name that takes one. Raises OSError."""
    failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, _, _, _, address in socket.getaddrinfo(*place, type=socket.SOCK_STREAM):
        made = _Plain(family, look)
        try:
            _connect(made, address, look)
            return made
        except OSError as error:
            failure = error
            made.close()
        except BaseException:
            made.close()
            raise
    raise failure


def _connect(made: _Plain, address: Any, look: Callable[[], object]) -> None:
    made.setblocking(False)
    number = made.connect_ex(address)
    until = time.monotonic() + TIMEOUT
    while number == errno.EINPROGRESS:
        look()
        poll = select.poll()
        poll.register(made, select.POLLOUT)
        if poll.poll(LOOK * 1000):
            number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif time.monotonic() > until:
            number = errno.ETIMEDOUT
    if number:
        raise OSError(number, os.strerror(number))
    made.settimeout(LOOK)


def opener(look: Callable[[], object], *handlers: type[urllib.request.BaseHandler]) -> OpenerDirector:
    """As urllib.request.build_opener; what `look` raises ends what is waited for."""

    def connect(place: tuple[str, int], *more: object) -> _Plain:
        return _connected(place, look)

    def plain(host: str, **words: Any) -> http.client.HTTPConnection:
        made = http.client.HTTPConnection(host, **words)
        made._create_connection = connect  # type: ignore[attr-defined]
        return made

    def sealed(host: str, **words: Any) -> http.client.HTTPSConnection:
        made = http.client.HTTPSConnection(host, context=_context(look), **words)
        made._create_connection = connect  # type: ignore[attr-defined]
        return made

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(plain, req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(sealed, req)

    return urllib.request.build_opener(Http, Https, *handlers)


def _context(look: Callable[[], object]) -> ssl.SSLContext:
    import ssl

    class Sealed(_Patient, ssl.SSLSocket):
        pass

    Sealed.look = staticmethod(look)
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = Sealed
    return context
