"""Each thread's way into SQLite, which a fork of the process waits at.

What SQLite shares among connections (its memory, the list of open files) has mutexes. A child that is forked
while another thread holds one would wait for it for ever. So a thread passes a gate of its own on its way in,
and a fork waits until all are out.

A connection is in a cycle with its cache of statements: dropped with its thread, it would keep its files open
until the collector comes. So its gate closes it, which is in no cycle.
"""

from __future__ import annotations

import os
from _thread import RLock, allocate_lock, get_ident

from estiva import atfork

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

LONGEST = 12.0  # seconds that a fork waits for one thread; SQLite itself waits for 10 at most
_gates: dict[tuple[int, int], RLock] = {}  # by thread and gate
_entrance = allocate_lock()  # held to add to them
_passed: list[RLock] = []  # that a fork holds
abandoned: list[object] = []  # connections inherited through fork: kept so that nothing closes them


class Gate:
    """One thread's, to one connection. `lock` is held by who is in SQLite: a lock that the thread which was
    interrupted there can take again.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = RLock()
        self.connection: sqlite3.Connection | None = None
        self._key = get_ident(), id(self)
        with _entrance:
            _gates[self._key] = self.lock

    def close(self) -> None:
        """Close the connection, unless it came over a fork."""
        self._close(os.getpid())

    def _close(self, pid: int) -> None:
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if self.pid == pid:
            with self.lock:
                connection.close()
        else:
            abandoned.append(connection)

    def __del__(
        self, getpid: Callable[[], int] = os.getpid, gates: dict[tuple[int, int], RLock] = _gates
    ) -> None:
        """Names of this module may have gone by then, at the interpreter's end."""
        self._close(getpid())
        gates.pop(self._key, None)


def _before_fork() -> None:
    _entrance.acquire()
    for (thread, _), lock in list(_gates.items()):
        if thread != get_ident() and lock.acquire(True, LONGEST):
            _passed.append(lock)


def _after_fork() -> None:
    while _passed:
        _passed.pop().release()
    _entrance.release()


def _in_a_fork() -> None:
    global _entrance
    _entrance = allocate_lock()
    _passed.clear()
    _gates.clear()


atfork.wait(_before_fork, _after_fork, _in_a_fork)
