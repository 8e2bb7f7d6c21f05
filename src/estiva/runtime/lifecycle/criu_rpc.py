"""Talking to criu(8): its RPC over the socket of `criu swrk`, in protocol buffers written and read by hand.

Field numbers are those of criu's images/rpc.proto. A request is criu_req {1: type, 2: opts,
3: notify_success, 5: features}; a response criu_resp {1: type, 2: success, 5: notify, 7: cr_errno,
8: features, 9: cr_errmsg, 10: version}. On the socket, a SOCK_SEQPACKET pair, a message is one packet.

    us                                   criu swrk 3
      |  DUMP or RESTORE with options -------> |
      | <------- NOTIFY: what it is about to do |  any number of times, an fd may ride along
      |  NOTIFY, notify_success -------------> |
      | <------- DUMP or RESTORE: how it went   |
"""

from __future__ import annotations

import _signal
import _socket
import os
from _struct import unpack

from estiva import programs
from estiva.errors import EngineError, Unsupported, oneline
from estiva.linux import process as proc
from estiva.runtime import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.runtime.cgroup import Cgroup

    Message = dict[int, list[int | bytes]]
    Notified = Callable[[str, int, int], None]  # (what criu is about to do, a pid or 0, an fd or -1)

# criu_req_type
DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10
MEM_TRACK, LAZY_PAGES = 1, 2  # criu_features

LEAST = 31500  # 3.15: pid namespaces from outside, and word of when the page server is ready
_PACKET = 1 << 16
SOCKET = 3  # the fd that `criu swrk` is given; what else it is to have follows
EXTRA = 4
_OPENED = b"D"  # beside those of sync.py: an fd of one of the directories

# --- protocol buffers: https://protobuf.dev/programming-guides/encoding/ ------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is sent as its 64-bit two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(fields: list[tuple[int, int | str | bytes]]) -> bytes:
    """A message of (field number, value): numbers, booleans and enums as varints, the rest by length."""
    out = bytearray()
    for field, value in fields:
        if isinstance(value, int):
            out += _varint(field << 3) + _varint(int(value))
        else:
            data = os.fsencode(value) if isinstance(value, str) else value
            out += _varint(field << 3 | 2) + _varint(len(data)) + data
    return bytes(out)


def decode(data: bytes) -> Message:
    """A message's values by field number. Raises EngineError for what is no message."""
    found: Message = {}
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise IndexError

    try:
        while position < len(data):
            key = varint()
            value: int | bytes
            if key & 7 == 0:
                value = varint()
            else:
                size = {1: 8, 2: -1, 5: 4}[key & 7]
                size = varint() if size < 0 else size
                if position + size > len(data):
                    raise IndexError
                value = data[position : position + size]
                position += size
            found.setdefault(key >> 3, []).append(value)
    except (IndexError, KeyError):
        raise EngineError("criu's answer can't be understood") from None
    return found


def number(message: Message, field: int) -> int:
    """A field's number, 0 without it; int32 and int64 as they are meant."""
    value = message.get(field, [0])[-1]
    if not isinstance(value, int):
        raise EngineError("criu's answer can't be understood")
    return value - (1 << 64) if value >> 63 else value


def inner(message: Message, field: int) -> bytes:
    value = message.get(field, [b""])[-1]
    if not isinstance(value, bytes):
        raise EngineError("criu's answer can't be understood")
    return value


# --- the process ------------------------------------------------------------------------------------------


def find() -> str:
    """Where criu is. Raises Unsupported."""
    path = programs.find("criu")
    if not path:
        raise Unsupported("criu is not installed: it is what checkpoint and restore are done by")
    return path


class Failed(EngineError):
    """criu says no: `number` is its errno, and may be 0."""

    def __init__(self, words: str, number: int) -> None:
        super().__init__(f"criu failed: {words}" if words else "criu failed")
        self.words = words
        self.number = number


class Criu:
    """A `criu swrk` that waits for one request. The caller has one thread.

    `prepare` runs in the child before it becomes criu, which then gets the fds `extra` as EXTRA and on; the
    `directories` are opened by the child after that, in whatever mount namespace it is then, and `opened` has
    their fds here. With RESTORE (and its option rst_sibling) the restored init becomes a child of ours.
    """

    def __init__(
        self,
        extra: tuple[int, ...] = (),
        prepare: Callable[[], None] | None = None,
        directories: tuple[str, ...] = (),
    ) -> None:
        path = find()
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
        self.socket = ours
        channel, its = sync.pair(EXTRA + len(extra))
        self.pid = os.fork()
        if self.pid == 0:
            self._become(path, theirs.fileno(), extra, its, prepare, directories)
        theirs.close()
        its.close()
        self.opened: list[int] = []
        kind, payload, fd = channel.receive()
        while kind == _OPENED:
            self.opened.append(fd)
            kind, payload, fd = channel.receive()
        channel.close()
        if kind:
            self.close()
            raise sync.decode(payload)

    def _become(
        self,
        path: str,
        socket: int,
        extra: tuple[int, ...],
        channel: sync.Channel,
        prepare: Callable[[], None] | None,
        directories: tuple[str, ...],
    ) -> None:
        """In the child. Never returns."""
        try:
            if prepare is not None:
                channel.step = "prepare the root filesystem"
                prepare()
            for name in directories:
                channel.step = "open the directory"
                channel.send_fd(_OPENED, os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            channel.step = "execute criu"
            last = EXTRA + len(extra)
            for wanted, fd in enumerate([sync.at_least(os.dup(fd), last) for fd in (socket, *extra)], SOCKET):
                os.dup2(fd, wanted)
            proc.close_all_but([channel.fd], last)
            for signal in _signal.valid_signals():
                if _signal.getsignal(signal) not in (_signal.SIG_DFL, None):
                    _signal.signal(signal, _signal.SIG_DFL)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
            # it runs others by their names, iptables-restore and tar among them
            os.execve(path, ["criu", "swrk", str(SOCKET)], {**os.environ, **programs.environment()})
        except BaseException as error:
            channel.report(error)
        finally:
            os._exit(1)

    def enter(self, cgroup: Cgroup) -> None:
        """Move criu into a cgroup: what it restores is where it is itself, in every hierarchy."""
        cgroup.adopt(self.pid)

    def request(
        self, kind: int, options: bytes = b"", *, features: bytes = b"", notified: Notified | None = None
    ) -> Message:
        """The response. Raises Failed when criu could not, EngineError when it is gone; and what `notified`
        raises, once criu has undone what it did."""
        request: list[tuple[int, int | str | bytes]] = [(1, kind)]
        if options:
            request.append((2, options))
        if features:
            request.append((5, features))
        self._send(encode(request))
        wrong: BaseException | None = None
        while True:
            response, fd = self._receive()
            try:
                if number(response, 1) != NOTIFY or not number(response, 2):
                    break
                notify = decode(inner(response, 5))
                try:
                    if notified is not None and wrong is None:
                        notified(inner(notify, 1).decode("utf-8", "replace"), number(notify, 2), fd)
                except BaseException as error:
                    wrong = error
                self._send(encode([(1, NOTIFY), (3, int(wrong is None))]))
            finally:
                if fd >= 0:
                    os.close(fd)
        if wrong is not None:
            raise wrong
        if not number(response, 2):
            raise Failed(oneline(inner(response, 9).decode("utf-8", "replace")), number(response, 7))
        return response

    def _send(self, data: bytes) -> None:
        try:
            self.socket.send(data)
        except OSError:
            raise EngineError("criu has ended without an answer") from None

    def _receive(self) -> tuple[Message, int]:
        try:
            data, ancillary, flags, _ = self.socket.recvmsg(
                _PACKET, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            data, ancillary, flags = b"", [], 0
        if not data:
            raise EngineError("criu has ended without an answer")
        fd = -1
        for level, kind, value in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS and fd < 0:
                fd = unpack("@i", value[:4])[0]
        if flags & _socket.MSG_TRUNC:
            raise EngineError("criu's answer is too long")
        return decode(data), fd

    def close(self) -> int:
        """Hang up and wait for its end: the wait status."""
        for fd in self.opened:
            os.close(fd)
        self.socket.close()
        return os.waitpid(self.pid, 0)[1]


def ask(kind: int, *, features: bytes = b"") -> Message:
    """A request that criu answers at once."""
    criu = Criu()
    try:
        return criu.request(kind, features=features)
    finally:
        criu.close()


def version() -> int:
    """criu's version: 40101 for 4.1.1. Raises Unsupported for one that is too old, or missing."""
    found = decode(inner(ask(VERSION), 10))
    result = number(found, 1) * 10000 + number(found, 2) * 100 + number(found, 4)
    if result < LEAST:
        raise Unsupported(f"criu {result // 10000}.{result // 100 % 100} is too old", hint="3.15 or later")
    return result


def require(feature: int, name: str) -> None:
    """Ask for one of criu_features. Raises Unsupported."""
    if not number(decode(inner(ask(FEATURE_CHECK, features=encode([(feature, 1)])), 8)), feature):
        raise Unsupported(f"criu can't do {name} on this kernel")
