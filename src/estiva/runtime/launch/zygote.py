"""The fork of an agent (agent.py) that becomes a command: when it is asked for, or before.

What a fork costs is paid by then: copies of page tables, and of each page that is written to, as most are
that Python only reads. So one that waits does ahead what is the same for all commands.

It waits with the rights of an agent, since only its request says whose rights the command is to have, and is
guarded as the agent is: it is not dumpable. It has its end of one socket and no other fd. A signal ends it as
it would any program.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import os
import time
from _struct import pack, unpack

from estiva import fastjson
from estiva.errors import EngineError, EstivaError
from estiva.linux import process
from estiva.linux.libc import SYS_execve, SYS_execveat
from estiva.runtime import sync
from estiva.runtime.launch import init
from estiva.runtime.process import byname, command, credentials
from estiva.runtime.process.user import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.launch.plan import Process

LARGEST = 1 << 17  # bytes of a request; what is larger goes another way
FDS = 3  # of a request: stdin, stdout and stderr
_MOMENT = 1_000_000_000  # nanoseconds; a file's times may be those of the kernel's last tick
_SAMPLE = b'{"args":["/"],"env":["PATH=/bin"],"user":{},"cwd":"/"}'
_SPACE = _socket.CMSG_SPACE(4 * (FDS + 2))


class Channel(sync.Channel):
    """On which a command is told of."""

    def __init__(self, line: _socket.socket, limits: bytes) -> None:
        super().__init__(line.fileno())
        self.line = line
        self.limits = limits  # of the agent at first

    def leave(self) -> None:
        """It is a command from now on: see agent.py."""
        self.line.shutdown(_socket.SHUT_RD)


def receive(source: _socket.socket) -> tuple[bytes, tuple[int, ...]]:
    """One message with its fds, which are fewer than were sent where RLIMIT_NOFILE is reached; (b"", ()) when
    the other end has gone. Raises OSError."""
    data, rights, _, _ = source.recvmsg(LARGEST, _SPACE, _socket.MSG_CMSG_CLOEXEC)
    return data, tuple(fd for _, _, each in rights for fd in unpack(f"@{len(each) // 4}i", each))


def wait(what: Process, line: _socket.socket, channel: Channel) -> None:
    """In a fork that is made ahead: be the command that is asked for on `line`, whose fd `channel` has."""
    for number in range(FDS):
        os.dup2(line.fileno(), number)
    process.close_all_but([line.fileno()])
    init.restore_signals()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    known = _Known(what)
    process.close_all_but([line.fileno()])
    data, fds = receive(line)
    if not data:
        os._exit(0)  # nobody will ask
    if len(fds) != FDS:
        raise OSError(errno.EMFILE, "not all of its file descriptors came")
    become(what, data, fds, channel, known)


class _Known:
    """Who the container's own user is, as long as the files that tell it are as they were. To look it up
    costs as much as all else that gives a command its credentials."""

    def __init__(self, what: Process) -> None:
        self.user = what.user
        self.stamp = _stamp()  # before they are read
        self.identity = _rehearse(what)

    def identify(self, what: Process) -> Identity:
        if self.identity is None or self.user != what.user or not self.stamp or self.stamp != _stamp():
            return look_up(what)
        init.set_home(what, self.identity)
        return self.identity


def _stamp() -> list[tuple[int, ...]]:
    """What is another when /etc/passwd or /etc/group is. Nothing if one has been changed a moment ago:
    another change could have the same time."""
    found: list[tuple[int, ...]] = []
    latest = time.time_ns() - _MOMENT
    for path in ("/etc/passwd", "/etc/group"):
        try:
            there = os.stat(path)
        except OSError:
            found.append(())
            continue
        if there.st_ctime_ns > latest:
            return []
        found.append((there.st_dev, there.st_ino, there.st_size, there.st_ctime_ns))
    return found


def _rehearse(what: Process) -> Identity | None:
    """Go through what a command goes through, as root, which it is, and with the capabilities that it has:
    nothing is different afterwards, and nothing of the container's is opened but where its users are looked
    up. Gives its own user, if that is there."""
    begin(what)
    identity, own = None, what.user
    try:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        made = os.memfd_create("", os.MFD_CLOEXEC)
        os.write(made, byname.program(b"/", os.uname().machine))
        ours.sendmsg([_SAMPLE], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("@3i", made, made, made))])
        data, fds = receive(theirs)
        understand(what, data)
        what.user = own
        for fd in fds:
            os.dup2(fd, fd)
        rights = credentials.Capabilities(None, {})
        rights.permitted = rights.effective = process.capget()[1]
        rights.dropped = []
        identity = look_up(what)
        credentials.drop(Identity(0, 0, [0]), rights, keep_admin=True)
        process.set_dumpable(False)
        init.enter_cwd("/")
        init.allows(what, SYS_execve)
        init.allows(what, SYS_execveat)
        command.loader(made, os.pread(made, 1024, 0))
        os.close(byname.open_program("/", made))
        command.find("/etc/passwd", "")
        command.inspect("/", ["/"], True, False)
    except (EstivaError, OSError, KeyError):
        pass  # which is for a command to find out
    return identity


def begin(what: Process) -> None:
    """What every command begins with."""
    os.setsid()
    os.umask(0)
    process.bounding_drop(what.capabilities.dropped)
    what.capabilities.dropped = []


def understand(what: Process, data: bytes) -> None:
    wanted: dict[str, Any] = fastjson.loads(data, what="the request")
    what.args = wanted["args"]
    what.env = command.environment(wanted["env"])
    what.cwd = wanted["cwd"]
    what.user = wanted["user"]


def look_up(what: Process) -> Identity:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return init.look_up(root, what)
    finally:
        os.close(root)


def become(
    what: Process,
    data: bytes,
    fds: tuple[int, ...],
    channel: Channel,
    known: _Known | None = None,
) -> None:
    """Become the command that a request asks for."""
    if known is None:
        begin(what)
    understand(what, data)
    channel.step = "arrange the file descriptors"
    for number, fd in enumerate(fds[:FDS]):
        os.dup2(fd, number)
    process.close_all_but([channel.fd])
    channel.step = "look up the user"
    if process.getrlimits() != channel.limits:
        raise EngineError("somebody in the container has changed the limits of its init: prlimit(2)")
    identity = look_up(what) if known is None else known.identify(what)
    init.settle(what, identity, channel)
    init.launch(what, channel)
