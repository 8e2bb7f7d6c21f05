"""Sockets to listen on: unix://PATH, tcp://HOST:PORT, fd:// (K15, K25).

Whoever may talk to one of them can do all that root can. So a unix socket is root's, and the group docker's
where there is one; TCP is for clients with a certificate of the CA that is named, and without TLS only for
this machine's own addresses, if that is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
from typing import TYPE_CHECKING

from estiva.errors import Conflict, InvalidInput, Unavailable, brief, reason

if TYPE_CHECKING:
    import ssl

BACKLOG = 512
GROUP = "docker"
FIRST = 3  # fd, see sd_listen_fds(3)
HINT = "unix:///run/estiva/docker.sock, tcp://HOST:PORT or fd://"
OPEN = "every program and every user of this machine can do all that root can, through {address}"


class Tls:
    """Paths of PEM files: the CA whose clients may connect, and what the server shows them."""

    def __init__(self, ca: str, certificate: str, key: str) -> None:
        self.ca = ca
        self.certificate = certificate
        self.key = key

    def __repr__(self) -> str:
        return f"Tls({self.ca!r}, {self.certificate!r}, {self.key!r})"

    def context(self) -> ssl.SSLContext:
        """Raises InvalidInput for files that can't be read, or are no such thing."""
        import ssl

        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.verify_mode = ssl.CERT_REQUIRED
        path = self.ca
        try:
            made.load_verify_locations(self.ca)
            path = f"{self.certificate}, {self.key}"
            made.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise InvalidInput(f"TLS: {brief(path, 200)}: {reason_of(error)}") from None
        return made


def reason_of(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)


class Listener:
    """One address: its sockets, which listen. `close` takes away what it has made."""

    def __init__(self, sockets: list[socket.socket], address: str) -> None:
        self.sockets = sockets
        self.address = address
        self.tls: ssl.SSLContext | None = None
        self.warning = ""

    def close(self) -> None:
        for one in self.sockets:
            one.close()


class Unix(Listener):
    """A socket's file, which is ours as long as we hold the lock beside it."""

    def __init__(self, path: str, private: str = "") -> None:
        super().__init__([], f"unix://{path}")
        self.path = path
        self.lock = -1
        self.made = (0, 0)  # device and inode
        try:
            make_folder(os.path.dirname(path), private)
            self._take()
            self._bind()
        except OSError as error:
            self.close()
            raise InvalidInput(
                f"can't listen on {brief(path, 100)}: {reason(error)}",
                hint="use sudo" if os.geteuid() else "",
            ) from None
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        """Lock PATH.lock: the file that has this name once it is locked. Raises Conflict."""
        name = f"{self.path}.lock"
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self.lock = os.open(name, flags, 0o600)
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self.lock)
                self.lock = -1
                raise Conflict(f"another server listens on {brief(self.path, 100)}") from None
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(name, follow_symlinks=False), os.fstat(self.lock)):
                    return
            os.close(self.lock)  # its server has ended and removed it meanwhile
            self.lock = -1

    def _bind(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sockets.append(made)
        self._sweep()
        before = os.umask(0o177)
        try:
            made.bind(self.path)
        finally:
            os.umask(before)
        there = os.stat(self.path, follow_symlinks=False)
        self.made = (there.st_dev, there.st_ino)
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(self.path, -1, grp.getgrnam(GROUP).gr_gid, follow_symlinks=False)
            os.chmod(self.path, 0o660)
        made.listen(BACKLOG)

    def _sweep(self) -> None:
        """Remove a socket that a killed server has left. Raises Conflict where another program listens, or
        what is there is no socket."""
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(there.st_mode):
            raise Conflict(f"can't listen on {brief(self.path, 100)}: it is there, and no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(self.path)
            except OSError as error:
                if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.path)
                    return
        raise Conflict(f"another server listens on {brief(self.path, 100)}")

    def close(self) -> None:
        super().close()
        if self.lock < 0:
            return
        with contextlib.suppress(OSError):
            there = os.stat(self.path, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == self.made:
                os.unlink(self.path)
        with contextlib.suppress(OSError):
            os.unlink(f"{self.path}.lock")
        os.close(self.lock)
        self.lock = -1


def make_folder(path: str, private: str) -> None:
    """The folder of a socket. Where it is `private`, a run root, and so closed to others, the group docker
    may go through it, but not look into it; what else lies in it is closed by itself (K16)."""
    os.makedirs(path, mode=0o700 if path == private else 0o755, exist_ok=True)
    if path == private:
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(path, -1, grp.getgrnam(GROUP).gr_gid, follow_symlinks=False)
            os.chmod(path, 0o710)


def tcp(place: str, tls: Tls | None, insecure: bool) -> Listener:
    """HOST:PORT, [IPV6]:PORT or :PORT (every address); port 0 is a free one. Raises InvalidInput, Conflict,
    Unavailable."""
    host, colon, port = place.rpartition(":")
    number = port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not number or (":" in host) != bracketed:
        raise InvalidInput(f"tcp://{brief(place, 100)} is no address", hint="tcp://127.0.0.1:2375, for one")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"can't listen on tcp://{brief(place, 100)}: {reason_of(error)}") from None
    family, kind, protocol, _, address = found[0]
    context = judge(f"tcp://{brief(place, 100)}", str(address[0]), tls, insecure)
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"tcp://{place} is in use", hint="choose another port, or 0 for a free one"
            ) from None
        raise Unavailable(f"can't listen on tcp://{place}: {reason(error)}") from None
    bound, number_bound = made.getsockname()[:2]
    shown = f"tcp://{f'[{bound}]' if ':' in bound else bound}:{number_bound}"
    return _judged([made], shown, context)


def judge(name: str, address: str, tls: Tls | None, insecure: bool) -> ssl.SSLContext | None:
    """Whether TCP may be served at `address`; with what. Raises InvalidInput."""
    if tls is not None:
        return tls.context()
    hint = "give --tlsverify --tlscacert FILE --tlscert FILE --tlskey FILE"
    if not is_loopback(address):
        raise InvalidInput(
            f"{name} is refused without TLS: whoever reaches it could do all that root can", hint=hint
        )
    if not insecure:
        raise InvalidInput(
            f"{name} is refused without TLS: every program of this machine could do all that root can",
            hint=f"{hint}, use a unix socket, or give --insecure",
        )
    return None


def _judged(sockets: list[socket.socket], shown: str, context: ssl.SSLContext | None) -> Listener:
    made = Listener(sockets, shown)
    made.tls = context
    if context is None:
        made.warning = OPEN.format(address=shown)
    return made


def is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def passed(tls: Tls | None, insecure: bool, private: str) -> list[Listener]:
    """Those that systemd has opened for us, sd_listen_fds(3): once. Raises InvalidInput."""
    count = os.environ.get("LISTEN_FDS", "")
    mine = os.environ.get("LISTEN_PID", "") == str(os.getpid())
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)  # of nobody that we start
    if not mine or not (count.isascii() and count.isdigit() and 0 < int(count[:4]) < 1000):
        raise InvalidInput(
            "fd:// is for sockets that systemd passes, and there are none",
            hint="have estiva-api.socket start it; `estiva api units` shows that",
        )
    made: list[Listener] = []
    for fd in range(FIRST, FIRST + int(count)):
        try:
            one = socket.socket(fileno=fd)
            listens = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise InvalidInput(f"fd:// {fd}: {reason(error)}") from None
        one.set_inheritable(False)
        if one.type != socket.SOCK_STREAM or not listens:
            raise InvalidInput(f"fd:// {fd} is no stream socket that listens")
        if one.family == socket.AF_UNIX:
            if os.path.dirname(os.fsdecode(one.getsockname())) == private:
                make_folder(private, private)
            made.append(Listener([one], f"fd://{fd}"))
        elif one.family in (socket.AF_INET, socket.AF_INET6):
            context = judge(f"fd://{fd}", str(one.getsockname()[0]), tls, insecure)
            made.append(_judged([one], f"fd://{fd}", context))
        else:
            raise InvalidInput(f"fd:// {fd} is neither a unix nor a TCP socket")
    return made


def listeners(word: str, tls: Tls | None, insecure: bool, private: str) -> list[Listener]:
    """Of one address. `private`: the run root. Raises InvalidInput, Conflict, Unavailable."""
    kind, _, place = word.partition("://")
    if kind == "unix" and place.startswith("/") and not place.endswith("/"):
        return [Unix(place, private)]
    if kind == "tcp":
        return [tcp(place, tls, insecure)]
    if kind == "fd" and place in ("", "*"):
        return passed(tls, insecure, private)
    raise InvalidInput(f"can't listen on {brief(word, 100)}", hint=HINT)
