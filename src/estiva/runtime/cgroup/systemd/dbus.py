"""A small client of D-Bus, for what systemd is asked: method calls, and the one signal that ends a job.

https://dbus.freedesktop.org/doc/dbus-specification.html. A value is given with its signature; a variant is a
pair (signature, value). Messages are little-endian, answers may be either. What comes in is bounded: 1 MiB a
message, 16 levels, 30 seconds.
"""

from __future__ import annotations

import _socket
import os
import time
from struct import Struct, error

from estiva.errors import EngineError, Unavailable, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT = 1 << 20
_DEPTH = 16
_SECONDS = 30.0
CALL, REPLY, ERROR, SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
# type -> (format of struct, alignment, which is the size too)
_FIXED = {
    "y": ("B", 1), "b": ("I", 4), "n": ("h", 2), "q": ("H", 2), "i": ("i", 4), "u": ("I", 4), "x": ("q", 8),
    "t": ("Q", 8), "d": ("d", 8),
}  # fmt: skip
_ALIGN = {"s": 4, "o": 4, "g": 1, "a": 4, "v": 1, "(": 8, "{": 8}


def first(signature: str) -> str:
    """The first complete type of a signature. Raises EngineError for what is none."""
    depth = 0
    for index, char in enumerate(signature):
        if char in "({":
            depth += 1
        elif char in ")}":
            depth -= 1
        elif char not in _FIXED and char not in "asogv":
            break
        if depth > _DEPTH or index > 255:
            break
        if depth == 0 and char != "a":
            return signature[: index + 1]
    raise EngineError(f"{oneline(signature[:64])!r} is not a signature of D-Bus")


def split(signature: str) -> list[str]:
    types = []
    while signature:
        types.append(first(signature))
        signature = signature[len(types[-1]) :]
    return types


def _alignment(kind: str) -> int:
    return _FIXED[kind][1] if kind in _FIXED else _ALIGN[kind[0]]


class Writer:
    """Values as bytes. Alignment counts from the start of `data`."""

    def __init__(self) -> None:
        self.data = bytearray()

    def pad(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def put(self, signature: str, values: tuple[Any, ...]) -> None:
        for kind, value in zip(split(signature), values, strict=True):
            self.one(kind, value)

    def one(self, kind: str, value: Any) -> None:
        if kind in _FIXED:
            form, size = _FIXED[kind]
            self.pad(size)
            self.data += Struct("<" + form).pack(value)
        elif kind in "so":
            raw = os.fsencode(value)
            self.one("u", len(raw))
            self.data += raw + b"\0"
        elif kind == "g":
            raw = value.encode()
            self.data += bytes([len(raw)]) + raw + b"\0"
        elif kind == "v":
            self.one("g", value[0])
            self.one(value[0], value[1])
        elif kind[0] == "a":
            self.one("u", 0)
            at = len(self.data)
            self.pad(_alignment(kind[1:]))
            start = len(self.data)
            for item in value:
                self.one(kind[1:], item)
            self.data[at - 4 : at] = Struct("<I").pack(len(self.data) - start)
        else:
            self.pad(8)
            self.put(kind[1:-1], value)


class Reader:
    """Bytes as values, the way back. Raises EngineError for what is cut off or wrong."""

    def __init__(self, data: bytes, order: str = "<") -> None:
        self.data = data
        self.order = order
        self.at = 0

    def get(self, signature: str, depth: int = 0) -> tuple[Any, ...]:
        try:
            return tuple([self.one(kind, depth) for kind in split(signature)])
        except (error, IndexError, UnicodeDecodeError):
            raise EngineError("a message of D-Bus can't be understood") from None

    def pad(self, size: int) -> None:
        self.at += -self.at % size

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise IndexError
        self.at += size
        return self.data[self.at - size : self.at]

    def one(self, kind: str, depth: int) -> Any:
        if depth > _DEPTH:
            raise IndexError
        if kind in _FIXED:
            form, size = _FIXED[kind]
            self.pad(size)
            return Struct(self.order + form).unpack(self.take(size))[0]
        if kind in "so":
            return self.take(self.one("u", depth) + 1)[:-1].decode()
        if kind == "g":
            return self.take(self.take(1)[0] + 1)[:-1].decode()
        if kind == "v":
            inner = self.one("g", depth)
            return inner, self.get(inner, depth + 1)[0]
        if kind[0] == "a":
            size = self.one("u", depth)
            self.pad(_alignment(kind[1:]))
            end = self.at + size
            if end > len(self.data):
                raise IndexError
            items = []
            while self.at < end:
                items.append(self.one(kind[1:], depth + 1))
            return items
        self.pad(8)
        return self.get(kind[1:-1], depth + 1)


def message(kind: int, serial: int, fields: list[tuple[int, tuple[str, Any]]], body: Writer) -> bytes:
    """A whole message: header, fields, body."""
    head = Writer()
    head.put("yyyyuu", (ord("l"), kind, 0, 1, len(body.data), serial))
    head.one("a(yv)", fields)
    head.pad(8)
    return bytes(head.data + body.data)


class Refused(EngineError):
    """An error that the other side answered with: `name` is its kind."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(oneline(words) or oneline(name))
        self.name = name


class Message:
    """One that came: `fields` by number."""

    def __init__(self, kind: int, fields: dict[int, Any], body: tuple[Any, ...]) -> None:
        self.kind = kind
        self.fields = fields
        self.body = body

    @property
    def member(self) -> str:
        return str(self.fields.get(_MEMBER, ""))


class Bus:
    """A connection. `direct` is one to the service itself, without a bus in between."""

    def __init__(self, path: str, *, direct: bool) -> None:
        self.serial = 0
        self.signals: list[Message] = []
        self.deadline = time.monotonic() + _SECONDS
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self.socket.settimeout(_SECONDS)
            self.socket.connect(path)
            self._authenticate()
            if not direct:
                self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except OSError as error:
            self.socket.close()
            raise Unavailable(f"{path}: {(error.strerror or 'no answer').lower()}") from None
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        self.socket.close()

    def _authenticate(self) -> None:
        """SASL's EXTERNAL without a name: who we are the kernel tells (SO_PEERCRED), also across user
        namespaces."""
        self.socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        lines = 0
        line = b""
        while lines < 2:  # DATA, OK
            byte = self.socket.recv(1)
            line += byte
            if not byte or len(line) > 512:
                raise Unavailable("D-Bus: the connection is refused")
            if line.endswith(b"\r\n"):
                if not line.startswith((b"DATA", b"OK ")):
                    raise Unavailable(f"D-Bus: {oneline(line.decode('ascii', 'replace').strip())}")
                lines, line = lines + 1, b""

    def call(
        self, to: str, path: str, interface: str, member: str, signature: str = "", *values: Any
    ) -> tuple[Any, ...]:
        """A method's results. Raises Refused, Unavailable when nobody answers in time."""
        self.serial += 1
        body = Writer()
        body.put(signature, values)
        fields: list[tuple[int, tuple[str, Any]]] = [
            (_PATH, ("o", path)),
            (_INTERFACE, ("s", interface)),
            (_MEMBER, ("s", member)),
            (_DESTINATION, ("s", to)),
        ]
        if signature:
            fields.append((_SIGNATURE, ("g", signature)))
        self.deadline = time.monotonic() + _SECONDS
        self.socket.sendall(message(CALL, self.serial, fields, body))
        while True:
            found = self.receive()
            if found.kind == SIGNAL:
                self.signals.append(found)
            elif found.fields.get(_REPLY_SERIAL) == self.serial:
                if found.kind == ERROR:
                    words = found.body[0] if found.body and isinstance(found.body[0], str) else ""
                    raise Refused(str(found.fields.get(_ERROR_NAME, "")), words)
                return found.body

    def receive(self) -> Message:
        head = self._read(16)
        order = {ord("l"): "<", ord("B"): ">"}.get(head[0])
        if order is None:
            raise EngineError("a message of D-Bus can't be understood")
        kind, size, length = (
            head[1],
            Reader(head[4:], order).get("u")[0],
            Reader(head[12:], order).get("u")[0],
        )
        if size + length > _LIMIT:
            raise EngineError("a message of D-Bus is too long")
        reader = Reader(head + self._read(length + -length % 8), order)
        reader.at = 12
        fields = {number: value for number, (_, value) in reader.get("a(yv)")[0]}
        signature = fields.get(_SIGNATURE, "")
        body = self._read(size)
        wanted = isinstance(signature, str) and kind in (REPLY, ERROR, SIGNAL)
        return Message(kind, fields, Reader(body, order).get(signature) if wanted else ())

    def _read(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise Unavailable("D-Bus: no answer in time")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(size - len(parts))
            except TimeoutError:
                raise Unavailable("D-Bus: no answer in time") from None
            if not data:
                raise Unavailable("D-Bus: the connection was closed")
            parts += data
        return parts
