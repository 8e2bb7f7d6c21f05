"""What a Python program has begun and no monitor has taken over yet: for its spawner, which undoes it.

A program may be killed between the first file of a container and the plan's way to a monitor. The ids stand
in a memfd that program and spawner share: the program writes one before it makes anything and strikes it when
a monitor has the container, or nothing of it is left. What stands there when the program has gone is undone.
"""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.paths import Paths

SLOT = 1 << 14  # bytes: an id and two paths


class Ledger:
    """The program's side. Thread-safe."""

    def __init__(self) -> None:
        self.fd = -1
        self._lock = _thread.allocate_lock()
        self._slots: dict[str, int] = {}
        self._free: list[int] = []

    def open(self) -> int:
        """The fd, which the spawner is to have."""
        if self.fd < 0:
            self.fd = os.memfd_create("ledger", os.MFD_CLOEXEC)
        return self.fd

    def enter(self, paths: Paths, container_id: str) -> None:
        """Something of it is about to be made. Raises OSError."""
        with self._lock:
            slot = self._free.pop() if self._free else len(self._slots)
            self._slots[container_id] = slot
        line = "\0".join((container_id, paths.root, paths.run_root, ""))
        os.pwrite(self.open(), os.fsencode(line), slot * SLOT)

    def strike(self, container_id: str) -> None:
        """There is nothing left to undo."""
        with self._lock:
            slot = self._slots.pop(container_id, -1)
            if slot >= 0:
                os.pwrite(self.fd, b"\0", slot * SLOT)
                self._free.append(slot)

    def forget(self) -> None:
        """In a fork of the program: what stands there is its parent's."""
        if self.fd >= 0:
            os.close(self.fd)
        self.__init__()  # type: ignore[misc]


def undo(fd: int) -> None:
    """The spawner's side, when the program has gone."""
    from estiva.paths import Paths

    for offset in range(0, os.fstat(fd).st_size, SLOT):
        container_id, _, rest = os.pread(fd, SLOT, offset).partition(b"\0")
        if container_id:
            root, run_root, *_ = map(os.fsdecode, rest.split(b"\0"))
            undo_one(Paths(root, run_root), container_id.decode())


def undo_one(where: Paths, container_id: str) -> None:
    """One that no monitor has. What a worker or monitor holds after all is left to it."""
    from estiva.engine.state import locks, teardown
    from estiva.errors import EstivaError

    try:
        lock = locks.take(where, container_id)
    except BlockingIOError:
        return
    try:
        teardown.undo(where, container_id)
    except (OSError, EstivaError):
        pass  # a sweep finds it
    finally:
        os.close(lock)
