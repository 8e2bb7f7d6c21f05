"""What a server has learnt of containers when it last listed them, for as long as it is still so.

A record with its live state is made of the row's text, the rows of its networks and, of one that runs, the
files in its run folder. These are compared at every look: the texts by what is in them, the files by inode,
time and size, as each is replaced by a new one. A file that had only just been written is not relied upon:
another could have come within the same tick of the clock. Whether a run goes on is never remembered: the
lock is looked at as ever (`lookup.settled`), and the init is held by a pidfd, which tells of its end.
"""

from __future__ import annotations

import _thread
import os
import select
import time

from estiva.engine.state import runstate
from estiva.errors import StateError
from estiva.network import networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from estiva.engine import Engine
    from estiva.engine.state.types import Record
    from estiva.network.types import EndpointRecord

    Belongings: TypeAlias = dict[str, EndpointRecord]
    Version: TypeAlias = tuple[tuple[int, int, int], ...]  # (inode, ns, bytes) of each file

MOST = 512  # containers: each costs some 10 KB and, if it runs, an fd
TICK = 100_000_000  # nanoseconds: more than the clock of any file system here takes from one time to the next
FILES = ("state.json", "health.json")
HEALTH = '"Healthcheck"'  # in the row of who may have a check


class Init:
    """A pidfd, closed with the last who looks at it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class Entry:
    """One container's record, and what it was made of."""

    def __init__(
        self, status: str, text: str, belongings: Belongings | None, version: Version, init: Init | None
    ) -> None:
        self.status, self.text, self.belongings = status, text, belongings
        self.version, self.init, self.checked = version, init, len(version) > 1
        self.record: Record | None = None


class Known:
    """Thread-safe. The records that it gives are shared: who changes one takes a copy."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._entries: dict[str, Entry] = {}
        self._endpoints: dict[str, EndpointRecord] = {}  # by their text

    def belonging_of_each(self, engine: Engine) -> dict[str, Belongings]:
        """`networks.belonging_of_each`. Not to be changed."""
        if len(self._endpoints) > 2 * MOST:
            self._endpoints = {}
        return networks.belonging_of_each(engine.db, self._read)

    def _read(self, stored: str) -> EndpointRecord:
        found = self._endpoints.get(stored)
        if found is None:
            found = self._endpoints[stored] = networks.endpoint_record(stored)
        return found

    def begin(self) -> Look:
        """A look at all containers."""
        with self._lock:
            return Look(dict(self._entries))

    def end(self, look: Look) -> None:
        """What was seen by it is all there is."""
        with self._lock:
            self._entries = look.seen


class Look:
    """One list's use of what is known. A run that ends meanwhile is one that had not ended yet."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self.seen: dict[str, Entry] = {}
        self.ended: set[int] = set()  # fds
        poll = select.poll()
        for entry in entries.values():
            if entry.init is not None:
                poll.register(entry.init.fd, select.POLLIN)
        self.ended.update(fd for fd, _ in poll.poll(0))

    def find(
        self, engine: Engine, container_id: str, status: str, text: str, belongings: Belongings | None
    ) -> Record | None:
        """The record that `lookup.load` would make of a settled row, if that is known."""
        entry = self.entries.get(container_id)
        if entry is None or entry.status != status or entry.text != text or entry.belongings != belongings:
            return None
        if entry.init is not None and entry.init.fd in self.ended:
            return None
        if entry.init is not None and version(engine, container_id, entry.checked) != entry.version:
            return None
        self.seen[container_id] = entry
        return entry.record

    def watch(
        self, engine: Engine, container_id: str, status: str, text: str, belongings: Belongings | None
    ) -> Entry | None:
        """What the record is about to be made of, to be given to `keep`; None for what is not remembered."""
        if len(self.seen) >= MOST or status not in ("running", "created", "exited"):
            return None
        if status != "running":
            return Entry(status, text, belongings, (), None)
        files = version(engine, container_id, HEALTH in text)
        if not files[0][0] or max(file[1] for file in files) > time.time_ns() - TICK:
            return None
        try:
            live = runstate.read(engine.paths, container_id)
        except StateError:
            return None
        fd = runstate.opened(live["pid"], live["start_time"]) if live is not None else -1
        return Entry(status, text, belongings, files, Init(fd)) if fd >= 0 else None

    def keep(self, entry: Entry | None, record: Record) -> None:
        if entry is not None:
            entry.record = record
            self.seen[record["Id"]] = entry


def version(engine: Engine, container_id: str, checked: bool) -> Version:
    """Of the files that say how a run is, of its health too if that is `checked`; zeros for one that is not
    there."""
    run = engine.paths.run_container(container_id)
    found = []
    for name in FILES if checked else FILES[:1]:
        try:
            file = os.stat(f"{run}/{name}")
            found.append((file.st_ino, file.st_mtime_ns, file.st_size))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
