"""The gate of a running container: who goes in holds it open, who pauses waits until none is under way.

Else a process that is on its way in would stand still half made, with its parent waiting, until somebody
unpauses the container. It is a lock on the run folder itself (flock(2)), shared for those who go in.

Of a container that waits for its next run, the folder in the state root is a gate too: `Reading`, `Unread`.
"""

from __future__ import annotations

import fcntl
import os

from estiva.errors import Conflict
from estiva.files import Lock, flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from estiva.runtime.cgroup import Cgroup


class _Gate:
    operation = fcntl.LOCK_SH

    def __init__(self, run: str) -> None:
        """`run`: the container's run folder."""
        self.run = run
        self.fd = -1

    def __enter__(self) -> Self:
        try:
            self.fd = os.open(self.run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Conflict(f"container {os.path.basename(self.run)[:12]} has ended") from None
        try:
            flock(self.fd, self.operation, self.run)
        except BaseException:
            os.close(self.fd)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)  # for a child too, which has a copy until it executes
        os.close(self.fd)


class Open(_Gate):
    """Held by who goes in, until that is done."""


class Closed(_Gate):
    """Held by who pauses. Raises Conflict when the run is over."""

    operation = fcntl.LOCK_EX


class Reading:
    """Held by who reads or writes files of a container that waits for its next run, whose lock the waiter
    has: nobody begins that run meanwhile (`Unread`). Raises FileNotFoundError."""

    operation = fcntl.LOCK_SH

    def __init__(self, folder: str) -> None:
        """`folder`: the container's, in the state root: that of the run may go meanwhile."""
        self.folder = folder
        self.fd = -1

    def __enter__(self) -> Self:
        self.fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self.fd, self.operation)
        except BaseException:
            os.close(self.fd)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class Unread(Reading):
    """Held by who says, in the container's row, that a run begins: when all who read are done."""

    operation = fcntl.LOCK_EX


def still(run: str) -> str:
    """The lock of who holds a running container still to read its files."""
    return run + "/still"


def melt(run: str, cgroup: Cgroup) -> None:
    """Wait until nobody holds the container still; one that a killed reader left frozen goes on. For who has
    the gate open, and knows that it is not paused."""
    if cgroup.frozen():
        try:
            with Lock(still(run)):
                cgroup.thaw()
        except FileNotFoundError:
            pass  # it has ended
