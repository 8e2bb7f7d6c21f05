"""What the launcher and the child that becomes the container say to each other.

    parent (launch/container.py, clone.py)           child (launch/init.py)
      |  clone3 ----------------------------------------> |
      |  MAPPED  (1) only with a new user namespace ----> |  id maps are written, it may go on
      |                                                   |  builds its rootfs, takes its credentials
      | <---- CONSOLE (2) only with a terminal ---------- |  the pty's master rides along (SCM_RIGHTS)
      | <---- HOOKS       only with hooks of create ----- |  its mounts stand
      |  HOOKS ----------------------------------------> |  ours are run; it runs its own
      | <---- READY   (3) ------------------------------- |
      |  GO      (4) -----------------------------------> |  looks the command up, seccomp, execve
      | <---- end of file (5) --------------------------- |  execve closed the socket
      |
      | <---- ERROR at any time: what failed, whole; the child then exits
      |       where the command could not be executed, with its root (SCM_RIGHTS);
      |  LEAVE ----------------------------------------> |  it then waits for this, so that its mounts stay

The channel is a SOCK_SEQPACKET pair, so that a message is one read. End of file seen by the child means that
the parent is gone: it exits without starting anything.
"""

from __future__ import annotations

import _socket
import os
from _struct import pack, unpack

from estiva import errors

MAPPED = b"M"
CONSOLE = b"C"
READY = b"R"
GO = b"G"
HOOKS = b"H"
LEAVE = b"L"  # launch/start_socket.py
ERROR = b"E"

_LIMIT = 8192  # bytes of one message
_LONG = 1 << 16  # of an order


class StepFailed(errors.EngineError):
    """A step of a container's start failed in the kernel: `step`, `syscall`, `object`, `errno`."""

    def __init__(self, step: str, syscall: str, thing: str, number: int, words: str) -> None:
        what = " ".join(w for w in (syscall, errors.oneline(thing)) if w)
        message = ": ".join(w for w in (step, what, words[:1].lower() + words[1:]) if w)
        super().__init__(message, hint=errors.FREE_SPACE if number in errors.FULL else "")
        self.step = step
        self.syscall = syscall
        self.object = thing
        self.errno = number


class ParentGone(Exception):
    """The other side closed the channel without a word."""


class Channel:
    """One side of the pair. `step` is what this side is doing, in words, for an error that may come of it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.step = ""
        self.sought: tuple[str, str] | None = None  # the command that is looked for, and its PATH

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        os.write(self.fd, kind + payload)

    def send_fd(self, kind: bytes, fd: int) -> None:
        """Send a message with an fd (SCM_RIGHTS, unix(7))."""
        self._hand_over(kind, fd)

    def _hand_over(self, message: bytes, fd: int) -> None:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, self.fd)
        try:
            sock.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("@i", fd))])
        finally:
            sock.detach()

    def order(self, data: bytes, fds: tuple[int, ...]) -> None:
        """To an init that waits (standby.py): what it is to be."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, self.fd)
        try:
            rights = pack(f"@{len(fds)}i", *fds)
            sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        finally:
            sock.detach()

    def take_order(self) -> tuple[bytes, list[int]]:
        """In that init: what `order` sent, with the fds. Raises ParentGone."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, self.fd)
        try:
            data, rights, _, _ = sock.recvmsg(_LONG, _socket.CMSG_SPACE(4 * 8), _socket.MSG_CMSG_CLOEXEC)
        finally:
            sock.detach()
        if not rights:
            raise ParentGone
        return data, list(unpack(f"@{len(rights[0][2]) // 4}i", rights[0][2]))

    def receive(self) -> tuple[bytes, bytes, int]:
        """(kind, payload, fd or -1); kind is b"" at end of file."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, self.fd)
        take = (_LIMIT, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        try:
            try:
                data, ancillary, _, _ = sock.recvmsg(*take)
            except ConnectionResetError:
                # The other side went with a message of ours unread. That is told first, once: then comes
                # what it had said.
                data, ancillary, _, _ = sock.recvmsg(*take)
        finally:
            sock.detach()
        fd = -1
        for level, kind, value in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fd = unpack("@i", value[:4])[0]
        return data[:1], data[1:], fd

    def expect(self, kind: bytes) -> None:
        """In the child: wait for `kind`; ParentGone when the parent is."""
        if os.read(self.fd, _LIMIT)[:1] != kind:
            raise ParentGone

    def leave(self) -> None:
        """In the child: its rights are the command's from now on. For who has to know that."""

    def report(self, error: BaseException) -> None:
        """In the child: hand `error` to the parent. While a command is `sought`, with the root that it was
        sought in, for launch/whynot.py to look at. Never raises."""
        message = encode(error, self.step)
        try:
            if self.sought is not None:
                root = os.open("/", os.O_PATH | os.O_CLOEXEC)
                fields = [os.fsencode(word)[:1024] for word in (*self.sought, os.getcwd())]
                self._hand_over(ERROR + b"\0".join([message, *fields])[: _LIMIT - 1], root)
                os.read(self.fd, 1)
                return
        except OSError:
            pass
        try:
            self.send(ERROR, message[: _LIMIT - 1])
        except OSError:
            pass

    def release(self) -> None:
        """In the parent: the child that has shown its root need not wait any longer."""
        try:
            self.send(LEAVE)
        except OSError:
            pass  # it has gone

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def pair(least: int) -> tuple[Channel, Channel]:
    """Two connected channels; the second one's fd is at least `least` (the child keeps lower ones)."""
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    mine, theirs = first.detach(), second.detach()
    return Channel(mine), Channel(at_least(theirs, least))


def at_least(fd: int, least: int) -> int:
    """`fd`, moved up where its number is below `least`: those are the child's stdio and preserved fds."""
    if fd >= least:
        return fd
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
    finally:
        os.close(fd)


def syscall_of(error: BaseException) -> str:
    """Which wrapper of estiva.linux, all named after their syscalls, an error came out of; "" for none."""
    name = ""
    trace = (error.__cause__ or error).__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if (
            "/estiva/linux/" in code.co_filename.replace("\\", "/")
            and code.co_name != "check"
            and code.co_name[0] != "_"
        ):
            name = code.co_name
        trace = trace.tb_next
    return name


def encode(error: BaseException, step: str) -> bytes:
    """An error as the payload of ERROR: class, step, syscall, object, errno, text, hint; NUL between them."""
    kind, syscall, thing, number, text, hint = "EngineError", "", "", 0, "", ""
    if isinstance(error, errors.EstivaError):
        kind, text, hint = type(error).__name__, error.message, error.hint
        if isinstance(error, StepFailed):
            syscall, thing, number = error.syscall, error.object, error.errno
    elif isinstance(error, OSError):
        kind, syscall, number = "StepFailed", syscall_of(error), error.errno or 0
        text = error.strerror or str(error)
        named = (error.filename, error.filename2)
        thing = " on ".join(
            os.fsdecode(n) if isinstance(n, bytes) else str(n) for n in named if n is not None
        )
    else:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
        text = f"{type(error).__name__}: {error}{place}"
    fields = (kind, step, syscall, thing, str(number), text, hint)
    return b"\0".join(f.replace("\0", " ").encode("utf-8", "surrogateescape")[:1024] for f in fields)


def decode(payload: bytes) -> errors.EstivaError:
    """The error that `encode` packed, as the same kind."""
    fields = [f.decode("utf-8", "replace") for f in payload.split(b"\0")]
    fields += [""] * (7 - len(fields))
    kind, step, syscall, thing, number, text, hint = fields[:7]
    if kind == "StepFailed":
        return StepFailed(step, syscall, thing, int(number or 0), text)
    found = getattr(errors, kind, None)
    if not isinstance(found, type) or not issubclass(found, errors.EstivaError):
        found = errors.EngineError
    if found is errors.EngineError:
        text = f"{step}: {text}" if step else text
    return found(text, hint=hint)
