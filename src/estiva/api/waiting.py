"""Who is attached to a container that is not started yet, so that it hears the first byte.

A client attaches, then starts (`docker run`), in two requests. Between them the monitor-to-be's end of a
socket waits here; the start hands it on (engine/launch/start.py: guests). Where somebody else starts it,
another server or the command line, its monitor is found by the place where it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

from estiva.engine.containers import attach as attaching

if TYPE_CHECKING:
    from estiva.engine import Engine

LOOK_AGAIN = 0.2  # seconds between two looks whether somebody else has started it


class Waiting:
    """One of them. `channel` is its way to the monitor, once that is there."""

    def __init__(self, attaches: Attaches, container_id: str) -> None:
        self.attaches = attaches
        self.id = container_id
        self.loop = asyncio.get_running_loop()
        self.taken = asyncio.Event()
        self.channel, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)

    async def begun(self) -> socket.socket | None:
        """A way to the monitor of its next run, open until `close`; None once the container is removed."""
        while not self.taken.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.taken.wait(), LOOK_AGAIN)
            if self.taken.is_set() or self._elsewhere():
                break
            if not os.path.isdir(self.attaches.engine.paths.container(self.id)):
                return None
        return self.channel

    def _elsewhere(self) -> bool:
        """Whether somebody else has started it: then his monitor is found."""
        found = attaching.connect(self.attaches.engine.paths.run_container(self.id))
        if found is None:
            return False
        if not self.attaches.leave(self):  # our own start has it after all
            found.close()
            return True
        self.theirs.close()
        self.channel.close()
        self.channel = socket.socket(fileno=found.detach())
        self.channel.setblocking(False)
        return True

    def close(self) -> None:
        if self.attaches.leave(self):
            self.theirs.close()
        self.channel.close()


class Attaches:
    """Those of one server, by container id. A start takes them in a thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Waiting]] = {}

    def wait(self, container_id: str) -> Waiting:
        """A new one; to be closed."""
        waiting = Waiting(self, container_id)
        with self._lock:
            self._waiting.setdefault(container_id, []).append(waiting)
        return waiting

    def take(self, container_id: str) -> list[int]:
        """The other ends, for a start, which closes them."""
        with self._lock:
            taken = self._waiting.pop(container_id, [])
        for waiting in taken:
            with contextlib.suppress(RuntimeError):  # the server has ended
                waiting.loop.call_soon_threadsafe(waiting.taken.set)
        return [waiting.theirs.detach() for waiting in taken]

    def leave(self, waiting: Waiting) -> bool:
        """Whether it was not taken yet; it is not any more."""
        with self._lock:
            here = self._waiting.get(waiting.id, [])
            if waiting not in here:
                return False
            here.remove(waiting)
            if not here:
                del self._waiting[waiting.id]
            return True
