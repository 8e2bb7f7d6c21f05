"""Small answers of a registry, read by hand: loading the HTTP client takes longer than most of them.

One connection for one request after the other (RFC 9112). Asked without credentials, as every first request
is. It judges nothing: whatever is not a plain 200 with a length (a challenge, a redirect, an error, another
transfer coding) and every host with a rule, a proxy or a token is Declined: the client (transport.py) asks.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOOPBACK = ("localhost", "127.0.0.1")  # plain http; the client finds out where it is https
HEADERS_LIMIT = 16 << 10
PATIENCE = 5.0  # seconds for a whole exchange; the client is more patient
PIECE = 1 << 16
ONCE = ("content-length", "content-type", "docker-content-digest")


class Declined(Exception):
    """The client is to ask, and to judge what it hears."""


def may_ask(host: str) -> bool:
    """Whether the host may be asked without settings, proxies or a token."""
    if host == "docker.io":
        return False  # always wants a token first
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if any(name.startswith("ESTIVA_REGIST") for name in os.environ):
        return False
    if any(os.path.exists(f"{folder}/estiva/registries.toml") for folder in (config, "/etc")):
        return False
    if host.partition(":")[0] in LOOPBACK:
        return True
    return not host.startswith("[") and not any(name.lower() == "https_proxy" for name in os.environ)


class Connection:
    """To the registry at HOST[:PORT], which `may_ask` allows. Opened by the first request; close it.

    Requests raise Declined. Not for several threads at once, but for `close`, which ends a request.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.stream: Any = None
        self.rest = b""  # what has come of the answer
        self.until = 0.0
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self._drop()

    def head(self, path: str, accept: str) -> dict[str, str]:
        """The headers of an answer, their names in small letters."""
        return self._ask("HEAD", path, accept)

    def get(self, path: str, accept: str, limit: int) -> tuple[bytes, dict[str, str]]:
        """A body of at most `limit` bytes, and the headers."""
        headers = self._ask("GET", path, accept)
        if "transfer-encoding" in headers or headers.get("content-encoding", "identity") != "identity":
            raise self._declined("a coded body")
        text = headers.get("content-length", "")
        if not text.isascii() or not text.isdecimal() or len(text) > 15 or int(text) > limit:
            raise self._declined(f"a length of {text[:40]!r}")
        body, size = bytearray(self.rest), int(text)
        try:
            while len(body) < size:
                body += self._piece(min(size - len(body), PIECE))
        except (OSError, AttributeError) as error:  # no stream any more: closed meanwhile
            raise self._declined(str(error)) from None
        if len(body) > size:
            raise self._declined("more than it says")
        self.rest = b""
        if "close" in headers.get("connection", "").lower():
            self._drop()
        return bytes(body), headers

    def _declined(self, why: str) -> Declined:
        self._drop()
        return Declined(f"{self.host}: {why}")

    def _drop(self) -> None:
        stream, self.stream, self.rest = self.stream, None, b""
        if stream is not None:
            try:
                stream.shutdown(2)  # wakes up who reads
            except OSError:
                pass
            stream.close()

    def _ask(self, method: str, path: str, accept: str) -> dict[str, str]:
        import time

        self.until = time.monotonic() + PATIENCE
        request = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
        request += f"Accept: {accept}\r\n" if accept else ""
        request += "User-Agent: estiva\r\nAccept-Encoding: identity\r\n\r\n"
        try:
            if self.stream is None:
                self._connect()
            self.stream.sendall(request.encode("ascii"))
            while b"\r\n\r\n" not in self.rest:
                if len(self.rest) > HEADERS_LIMIT:
                    raise self._declined("endless headers")
                self.rest += self._piece(HEADERS_LIMIT)
        except (OSError, ValueError, AttributeError) as error:
            raise self._declined(str(error)) from None
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return self._headers(head.decode("latin-1"))

    def _headers(self, text: str) -> dict[str, str]:
        status, *lines = text.split("\r\n")
        if status.split(" ")[:2] != ["HTTP/1.1", "200"]:
            raise self._declined(status[:40])
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or name != name.strip() or (name in headers and name in ONCE):
                raise self._declined("odd headers")
            headers[name] = value.strip()
        return headers

    def _piece(self, most: int) -> bytes:
        """Some more bytes. Raises OSError."""
        import time

        left = self.until - time.monotonic()
        if left <= 0:
            raise OSError("no answer in time")
        self.stream.settimeout(left)
        piece: bytes = self.stream.recv(most)
        if not piece:
            raise OSError("it hung up")
        return piece

    def _connect(self) -> None:
        """Raises OSError, ValueError."""
        import _socket

        name, colon, port = self.host.partition(":")
        plain = name in LOOPBACK
        number = int(port) if colon else 80 if plain else 443
        # as bytes: a str would have the codec for international names loaded, which takes 3 ms
        found = _socket.getaddrinfo(name.encode("ascii"), number, 0, _socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        stream: Any
        if plain:
            stream = _socket.socket(family, kind, protocol)
        else:
            import socket
            import ssl

            raw = socket.socket(family, kind, protocol)
            raw.settimeout(PATIENCE)
            stream = ssl.create_default_context().wrap_socket(raw, server_hostname=name)
        try:
            stream.settimeout(PATIENCE)
            stream.connect(address)
        except BaseException:
            stream.close()
            raise
        self.stream = stream
        if self.closed:
            self._drop()
