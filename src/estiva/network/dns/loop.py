"""epoll(7), and who is called for which fd."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """Handlers are called with the events of their fd; one may forget any fd, also its own."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, events)

    def forget(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def turn(self, timeout: float) -> bool:
        """Wait once, and call whom it concerns. False when nothing has happened."""
        found = self.poll.poll(timeout)
        for fd, events in found:
            handler = self.handlers.get(fd)
            if handler is not None:  # else it went with one before it in this very list
                handler(events)
        return bool(found)


class Held:
    """An fd that is no socket, to be watched like one: here a pidfd, for the end of a monitor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        return self.fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
