"""Who is attached to a container that runs, beside or after who started it: `attach`, `start -ai`.

A monitor listens at `attach` in the container's run folder. A client connects and may leave at any time, or
be killed; the container need not know. Over the socket go packets (SOCK_SEQPACKET):

    client -> monitor   "i" and bytes that were typed
                        {"do": "signal", "signal": N}  {"do": "resize", "rows": N, "columns": N}
                        {"do": "names", "settings": {...}}   it is to have the embedded name server
                        {"do": "eof"}                    its input has ended, and is the container's only one
    monitor -> client   "1" or "2" and bytes of stdout (or the terminal) or stderr
                        {"event": "exited", "status": N, "oom": false}

Nobody is sent what was said before: that is in the log. While one has not read what waits for it, nothing
is read from the container either, so that nothing is lost; who reads nothing for `PATIENCE` seconds is let
go of. A guest, who is there from the start, is waited for as a terminal or a pipe would be.
"""

from __future__ import annotations

import os
import select
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET, SOL_SOCKET
from _socket import socket as _socket
from _struct import pack

from estiva import fastjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiva.engine.state.types import Outcome

NAME = "attach"
FULL = 1 << 18  # bytes that wait for a client, from which on the container has to wait
LAST = 1 << 21  # the same once it has ended: all that is in its pipes is taken
PATIENCE = 10  # seconds
LONGEST = 1 << 16  # bytes that go in one packet
PACKET = LONGEST + 1
WAITING = 16  # clients in the kernel's queue
SO_SNDTIMEO = 21  # SO_SNDTIMEO_OLD of <asm-generic/socket.h>: struct timeval


def listen(run: str) -> _socket | None:
    """The listening socket in a run folder; None where it can't be."""
    try:
        folder = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    path = f"/proc/self/fd/{folder}/{NAME}"  # the whole path may be longer than a socket's may (unix(7))
    made = None
    try:
        made = _socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            os.unlink(path)  # of an earlier run
        except FileNotFoundError:
            pass
        made.bind(path)
        os.chmod(path, 0o600)  # whatever the caller's umask; nobody can connect before `listen`
        made.listen(WAITING)
        return made
    except OSError:
        if made is not None:
            made.close()
        return None
    finally:
        os.close(folder)


class Client:
    """One of them, and what waits for it."""

    def __init__(self, channel: _socket, patient: bool = False) -> None:
        channel.setblocking(False)
        self.patient = patient  # it is waited for, however long it reads nothing
        self.channel = channel
        self.fd = channel.fileno()
        self.queue: list[bytes] = []
        self.size = 0
        self.moved = time.monotonic()  # when it took something last, or nothing waited for it
        self.gone = False

    def put(self, packet: bytes) -> None:
        if not self.queue:
            self.moved = time.monotonic()
        self.queue.append(packet)
        self.size += len(packet)
        self.flush()

    def flush(self) -> None:
        try:
            while self.queue:
                self.channel.send(self.queue[0])
                self.size -= len(self.queue.pop(0))
                self.moved = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True

    def close(self) -> None:
        self.channel.close()


def deliver(clients: list[Client]) -> None:
    """All that waits for them, one after the other, who is waited for longest last."""
    from estiva.linux import process

    os.setsid()
    process.keep_only({client.fd for client in clients})
    for client in sorted(clients, key=lambda each: each.patient):
        client.channel.setblocking(True)
        if not client.patient:
            client.channel.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("@ll", PATIENCE, 0))
        client.flush()
        client.close()


class Audience:
    """All that are attached. `hear` is given each packet of theirs. `guests` are sockets of who is it from
    the start."""

    def __init__(self, listening: _socket, hear: Callable[[bytes], None], guests: Sequence[int] = ()) -> None:
        self.listening = listening
        self.hear = hear
        self.clients = [Client(_socket(fileno=fd), patient=True) for fd in guests]

    def register(self, poll: select.poll, *, read: bool) -> None:
        """Say to `poll` what is wanted now; not `read`: what was typed has to wait."""
        poll.register(self.listening.fileno(), select.POLLIN)
        for client in self.clients:
            poll.register(client.fd, (select.POLLIN if read else 0) | (select.POLLOUT if client.queue else 0))

    def full(self, running: bool) -> bool:
        """Whether the container has to wait. What is in its pipes once it has ended is taken."""
        most = FULL if running else LAST
        return any(client.size > most for client in self.clients)

    def put(self, tag: bytes, data: bytes) -> None:
        """Something that the container has said."""
        pieces = [data[at : at + LONGEST] for at in range(0, len(data), LONGEST)]
        for client in self.clients:
            for piece in pieces:
                client.put(tag + piece)

    def serve(self, ready: dict[int, int]) -> None:
        """Take and give what can be now."""
        if self.listening.fileno() in ready:
            try:
                fd, _ = self.listening._accept()  # type: ignore[attr-defined]
                self.clients.append(Client(_socket(fileno=fd)))
            except OSError:
                pass  # it has left already, or there are no more fds
        late = time.monotonic() - PATIENCE
        for client in self.clients:
            events = ready.get(client.fd, 0)
            if events & select.POLLOUT:
                client.flush()
            if events & ~select.POLLOUT:
                self.take(client)
            if client.size > FULL and client.moved < late and not client.patient:
                client.gone = True
        for client in self.clients:
            if client.gone:
                client.close()
        self.clients = [client for client in self.clients if not client.gone]

    def take(self, client: Client) -> None:
        try:
            data = client.channel.recv(PACKET)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.hear(data)
        else:
            client.gone = True

    def say(self, message: Outcome) -> None:
        """The last word to each, after all that waits for it; to who is slow by a fork, which nobody waits
        for."""
        for client in self.clients:
            client.put(fastjson.dumps(message).encode())
        slow = [client for client in self.clients if client.queue and not client.gone]
        if not slow:
            return
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:
            if os.fork() == 0:
                deliver(slow)
        finally:
            os._exit(0)

    def close(self) -> None:
        """Let go of all."""
        for client in self.clients:
            client.close()
        self.clients = []
        self.listening.close()
