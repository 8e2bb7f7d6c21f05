"""Messages of the ssh agent protocol, as far as a RUN's command may use it (draft-ietf-sshm-ssh-agent).

A message is its length (4 bytes, big endian), its type (1 byte) and its fields; a string has its length
before it. What a command may do is ask which keys there are, and have something signed. To add, remove or
lock keys, and every extension, is answered with a failure without a word to the agent behind.
"""

from __future__ import annotations

from _struct import pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Stream(Protocol):
        """A connected socket."""

        def recv(self, size: int, /) -> bytes: ...

        def sendall(self, data: bytes, /) -> None: ...


FAILURE = 5
REQUEST_IDENTITIES = 11
IDENTITIES_ANSWER = 12
SIGN_REQUEST = 13
SIGN_RESPONSE = 14
ASKED = frozenset((REQUEST_IDENTITIES, SIGN_REQUEST))
ANSWERED = frozenset((FAILURE, IDENTITIES_ANSWER, SIGN_RESPONSE))
LIMIT = 256 << 10  # bytes of one message, as OpenSSH has it
REFUSAL = bytes((FAILURE,))


class Malformed(Exception):
    """What came is no message: the connection ends."""


def string(data: bytes) -> bytes:
    return pack(">I", len(data)) + data


def number(value: int) -> bytes:
    """A mpint that is not negative."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def take(data: bytes, start: int) -> tuple[bytes, int]:
    """(the string that begins at `start`, where it ends). Raises Malformed."""
    begin = start + 4
    if begin > len(data):
        raise Malformed
    end = begin + int(unpack(">I", data[start:begin])[0])
    if end > len(data):
        raise Malformed
    return data[begin:end], end


def read(stream: Stream) -> bytes:
    """One message without its length; b"" at the end of the stream. Raises Malformed, OSError."""
    head = _exactly(stream, 4)
    if not head:
        return b""
    size = int(unpack(">I", head)[0])
    if not 0 < size <= LIMIT:
        raise Malformed
    body = _exactly(stream, size)
    if not body:
        raise Malformed
    return body


def _exactly(stream: Stream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        got = stream.recv(min(size - len(data), 1 << 16))
        if not got:
            if data:
                raise Malformed
            return b""
        data += got
    return bytes(data)


def converse(stream: Stream, answer: Callable[[bytes], bytes]) -> None:
    """Answer what comes over one connection until it ends. Raises Malformed, OSError."""
    while message := read(stream):
        reply = answer(message) if message[0] in ASKED else REFUSAL
        if not reply or reply[0] not in ANSWERED:
            reply = REFUSAL
        stream.sendall(string(reply))
