"""The process that answers at the socket which a RUN's command sees. It ends with its caller.

Keys stand in this process alone: not in the build's own, which forks the parents of containers, and never in
a container. Its standard input is a socket to the build: that says what is to be served, hears whether it can
be, and is held until the command has ended; when it closes, however the build ends, all of this is gone.
"""

from __future__ import annotations

import os
import socket
import threading
from select import POLLIN, poll

from estiva import fastjson
from estiva.engine.builds.ssh import protocol
from estiva.engine.builds.ssh.keys import Keyring
from estiva.errors import EstivaError, InvalidInput, NotFound, reason
from estiva.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[[bytes], bytes]

MOST = 64  # connections at once
PATIENCE = 2.0  # seconds to connect to the agent behind


def serve(listening: int) -> None:
    """Serve at the listening socket (its fd) until the caller is gone. Never returns."""
    try:
        process.set_title("estiva: ssh agent")
        process.set_dumpable(False)
        process.setrlimit("CORE", 0, 0)
        _serve(socket.socket(fileno=0), socket.socket(fileno=listening))
    finally:
        os._exit(0)


def _serve(caller: socket.socket, listener: socket.socket) -> None:
    places: list[str] = fastjson.loads(caller.recv(protocol.LIMIT), what="the build's message")
    behind: str | None = None
    keyring: Keyring | None = None
    try:
        sockets = [place for place in places if is_socket(place)]
        if sockets and len(places) > 1:
            raise InvalidInput(f"the ssh agent at {sockets[0]} can't go with others under one id")
        if sockets:
            behind = sockets[0]
            connect(behind).close()  # an agent that has gone is told before the command runs
        else:
            keyring = Keyring(places)
    except EstivaError as error:
        told = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        caller.send(fastjson.dumps(told).encode())
        return
    caller.send(b"{}")
    places_left = threading.BoundedSemaphore(MOST)
    waiting = poll()
    waiting.register(caller.fileno(), POLLIN)
    waiting.register(listener.fileno(), POLLIN)
    while True:
        if any(fd == caller.fileno() for fd, _ in waiting.poll()):
            return
        try:
            client, _ = listener.accept()
        except OSError:
            continue  # it has gone again
        if not places_left.acquire(blocking=False):
            client.close()
            continue
        target = threading.Thread(target=_one, args=(client, behind, keyring, places_left), daemon=True)
        target.start()


def _one(
    client: socket.socket, behind: str | None, keyring: Keyring | None, place: threading.BoundedSemaphore
) -> None:
    """One connection, to its end."""
    try:
        with client:
            if keyring is not None:
                protocol.converse(client, keyring.answer)
            elif behind is not None:
                with connect(behind) as agent:
                    protocol.converse(client, lambda message: _ask(agent, message))
    except (EstivaError, OSError, protocol.Malformed):
        pass  # the command sees the end of its connection
    finally:
        place.release()


def _ask(agent: socket.socket, message: bytes) -> bytes:
    agent.sendall(protocol.string(message))
    reply = protocol.read(agent)
    if not reply:
        raise protocol.Malformed
    return reply


def is_socket(path: str) -> bool:
    """Whether an agent listens there, as far as can be seen."""
    import stat

    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def connect(path: str) -> socket.socket:
    """A connection to an agent. Raises NotFound."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.settimeout(PATIENCE)
        made.connect(path)
        made.settimeout(None)  # it may ask its user
    except OSError as error:
        made.close()
        raise NotFound(f"the ssh agent at {path} does not answer: {reason(error)}") from None
    return made
