"""The monitor's side of a container's name server (cold path): its sockets, handed to the resolver and kept.

    open_sockets   in the container's network namespace: 127.0.0.11, a datagram and a stream socket, on
                   ports that nobody asks for; port 53 is sent there (linux/net/redirect), and so is free
                   for a name server that the container itself runs on all addresses, as under Docker
    Names          one connection to the resolver, which serves the sockets as long as that stands; when it
                   ends (the resolver was killed), the monitor hands them over again, and the next resolver
                   takes those of monitors that hibernate. Queries wait in the kernel meanwhile

    monitor -> resolver   {"id": ..., "servers": [[address, whether asked from the host's network], ...],
                           "ndots": ...} and, beside it, the two sockets and those for the container's own
                           servers

There is one resolver for a state root, started by the first who finds none: under a lock, with a socket
that listens already, so that nobody waits for it.
"""

from __future__ import annotations

import os
import sys
import time
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    inet_aton,
)
from _socket import socket as _socket
from _struct import pack
from errno import EADDRINUSE
from zlib import crc32

from estiva import fastjson
from estiva.errors import EngineError, EstivaError, reason
from estiva.files import Lock, write_all
from estiva.linux import process, procinfo
from estiva.linux.namespace import CLONE_NEWNET, loopback_up, setns
from estiva.linux.net.redirect import redirect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiva.network.types import Kept, Settings


ADDRESS, PORT = "127.0.0.11", 53
TABLE = "estiva-names"
DATAGRAMS, STREAMS = 8, 2  # sockets for a container's own servers, of each family
TRIES = 16  # ports
WAITING = 1024  # connections to a resolver that does not run yet
FULL = 2.0  # seconds that a monitor waits for a place among them
SOON = 1.0  # seconds: a resolver that ends before is started again a little later each time
SOURCE = os.path.abspath(__file__).rpartition("/estiva/network/")[0]
RUN = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from estiva.network.dns import main; main.run(int(sys.argv[2]), *sys.argv[3:])"
)


def open_sockets(pid: int, servers: Sequence[tuple[str, bool]] = ()) -> list[_socket]:
    """A datagram and a listening socket for queries in the network namespace of process `pid`, and those
    that queries to the container's own servers go out by. The calling thread is there for less than a
    millisecond.

    Raises EngineError.
    """
    made: list[_socket] = []
    try:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(there, CLONE_NEWNET, f"network namespace of process {pid}")
            finally:
                os.close(there)
            try:
                _open(made, servers)
            finally:
                setns(home, CLONE_NEWNET, "the host's network namespace")
        finally:
            os.close(home)
    except OSError as error:
        for held in made:
            held.close()
        raise EngineError(
            f"name server of process {pid}: {error.filename or ADDRESS}: {reason(error)}"
        ) from error
    return made


def _open(made: list[_socket], servers: Sequence[tuple[str, bool]]) -> None:
    loopback_up()  # where it is down, nobody reaches an address of it
    for attempt in range(TRIES):
        try:
            _listen(made, 0)
            break
        except OSError as error:
            while made:
                made.pop().close()
            if error.errno != EADDRINUSE or attempt == TRIES - 1:
                raise
    targets = zip((IPPROTO_UDP, IPPROTO_TCP), [held.getsockname()[1] for held in made], strict=True)
    try:
        redirect(TABLE, inet_aton(ADDRESS), PORT, targets)
    except OSError:  # no nftables: then the port itself, and a name server in there has to do without it
        while made:
            made.pop().close()
        _listen(made, PORT)
    for family in {AF_INET6 if ":" in address else AF_INET for address, outside in servers if not outside}:
        for kind, count in ((SOCK_DGRAM, DATAGRAMS), (SOCK_STREAM, STREAMS)):
            made += [_socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC) for _ in range(count)]


def _listen(made: list[_socket], port: int) -> None:
    for kind in (SOCK_DGRAM, SOCK_STREAM):
        held = _socket(AF_INET, kind | SOCK_NONBLOCK | SOCK_CLOEXEC)
        made.append(held)
        held.bind((ADDRESS, port))
        if kind == SOCK_STREAM:
            held.listen(64)


class Names:
    """One container's sockets, and the connection that has the resolver serve them."""

    def __init__(
        self,
        container_id: str,
        root: str,
        run_root: str,
        settings: Settings,
        sockets: list[_socket],
        channel: _socket | None = None,
    ) -> None:
        self.id = container_id
        self.root = root
        self.run_root = run_root
        self.settings = settings
        self.sockets = sockets
        self.channel = channel
        self.since = time.monotonic()
        self.hurried = 0

    def register(self) -> None:
        """Hand the sockets over. Raises EngineError."""
        fds = [held.fileno() for held in self.sockets]
        try:
            channel = _connect(self.run_root, self.root)
            try:
                channel.sendmsg(
                    [fastjson.dumps(self.message).encode()],
                    [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))],
                )
            except ConnectionError:
                pass  # it has ended just now: whoever waits at the channel sees it
            self.channel, self.since = channel, time.monotonic()
        except OSError as error:
            where = error.filename or self.run_root
            raise EngineError(f"name server of container {self.id[:12]}: {where}: {reason(error)}") from error

    @property
    def message(self) -> dict[str, object]:
        return {"id": self.id, **self.settings}

    def note(self) -> None:
        """Write down in the run folder where the sockets are, for resolvers to come (adopt.py). Where that
        can't be, they wait for `renew`.
        """
        note = {
            "root": self.root,
            "monitor": os.getpid(),
            "started": procinfo.start_time(os.getpid()),
            "message": self.message,
            "sockets": [held.fileno() for held in self.sockets],
        }
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            fd = os.open(f"{self.run_root}/containers/{self.id}/names", flags, 0o600)
        except OSError:
            return
        try:
            write_all(fd, fastjson.dumps(note).encode())
        except OSError:
            pass  # a note that breaks off is none
        finally:
            os.close(fd)

    def renew(self) -> None:
        """The connection has ended: hand over anew, to a resolver that is started if need be. Where that
        can't be, the container goes on without names.
        """
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self.hurried = self.hurried + 1 if time.monotonic() < self.since + SOON else 0
        if self.hurried > 1:
            time.sleep(min(0.005 * self.hurried, 0.1))
        try:
            self.register()
        except EstivaError:
            pass

    def watch(self, beside: dict[int, Callable[[], object]]) -> None:
        """Have `renew` called when the connection ends: `beside` are who is called, once, when something
        comes from an fd.
        """

        def renew() -> None:
            self.renew()
            self.watch(beside)

        if self.channel is not None:
            beside[self.channel.fileno()] = renew

    def freeze(self) -> Kept:
        """All that `thaw` needs; the fds have to stay open."""
        return {
            "id": self.id,
            "root": self.root,
            "run_root": self.run_root,
            "settings": self.settings,
            "sockets": [held.fileno() for held in self.sockets],
            "channel": self.channel.fileno() if self.channel is not None else -1,
        }

    @classmethod
    def thaw(cls, kept: Kept) -> Names:
        """In another interpreter of the same process."""
        channel = _socket(fileno=kept["channel"]) if kept["channel"] >= 0 else None
        sockets = [_socket(fileno=fd) for fd in kept["sockets"]]
        return cls(kept["id"], kept["root"], kept["run_root"], kept["settings"], sockets, channel)

    def close(self) -> None:
        for held in self.sockets:
            held.close()
        self.sockets = []
        if self.channel is not None:
            self.channel.close()
            self.channel = None


# ---- the resolver


def socket_name(root: str) -> str:
    """The name in the run root of the socket that the resolver of a state root listens at: roots may share
    one.
    """
    return f"names-{crc32(os.fsencode(root)):08x}.socket"


def _connect(run_root: str, root: str) -> _socket:
    """A connection to the resolver, which is started where there is none. Raises OSError."""
    name = socket_name(root)
    folder = os.open(run_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    path = f"/proc/self/fd/{folder}/{name}"  # the whole path may be longer than a socket's may (unix(7))
    try:
        channel = _reach(path)
        if channel is not None:
            return channel
        with Lock(f"{run_root}/{name}.lock"):
            channel = _reach(path)
            if channel is not None:
                return channel
            try:
                os.unlink(path)  # of one that was killed
            except FileNotFoundError:
                pass
            listening = _socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
            try:
                listening.bind(path)
                os.chmod(path, 0o600)  # whatever the caller's umask; nobody can connect before `listen`
                listening.listen(WAITING)
                _start(listening.fileno(), root, run_root)
                channel = _reach(path)
            finally:
                listening.close()
        if channel is None:
            raise ConnectionRefusedError(111, "it ended at once", name)
        return channel
    finally:
        os.close(folder)


def _reach(path: str) -> _socket | None:
    """A connection to who listens at `path`; None where nobody does. Raises OSError."""
    channel = _socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
    patient = time.monotonic() + FULL
    try:
        while True:
            try:
                channel.connect(path)
                return channel
            except BlockingIOError:
                if time.monotonic() > patient:
                    raise
                time.sleep(0.01)
    except (FileNotFoundError, ConnectionRefusedError):
        channel.close()
        return None
    except BaseException:
        channel.close()
        raise


def _start(listening: int, root: str, run_root: str) -> None:
    """Start a resolver in a fresh interpreter: it is small, and holds nothing of ours."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:  # a grandchild: its end is no SIGCHLD for who waits for a container
            os.setsid()
            os.chdir("/")
            process.close_all_but([listening])
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.set_inheritable(listening, True)
            words = [sys.executable, "-I", "-S", "-c", RUN, SOURCE, str(listening), root, run_root]
            os.execve(sys.executable, words, {})
    finally:
        os._exit(0)
