"""Who is attached to a container that is not started yet, so that it hears the first byte.

A client attaches, then starts (`docker run`), in two requests. Between them the monitor-to-be's end of a
socket waits here; the start hands it on (engine/launch/start.py: guests).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from estiva.engine import Engine


class Attaches:
    """Those of one server, by container id."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._waiting: dict[str, list[socket.socket]] = {}

    def wait(self, container_id: str) -> socket.socket:
        """Our end of a new attachment; `leave` when it is not wanted any more."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._waiting.setdefault(container_id, []).append(theirs)
        return ours

    def take(self, container_id: str) -> list[int]:
        """The other ends, for a start, which closes them."""
        return [theirs.detach() for theirs in self._waiting.pop(container_id, [])]
