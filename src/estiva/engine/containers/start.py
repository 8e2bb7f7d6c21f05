"""Containers that are there, started: `again` for who stays with it, `start` for who does not."""

from __future__ import annotations

import os

from estiva.engine.containers import folder, tasks
from estiva.engine.images.find import allow_refetch
from estiva.engine.launch.start import Start
from estiva.engine.state import based, eventlog, gate, locks, lookup, teardown
from estiva.engine.state.net import addresses
from estiva.errors import Conflict, NotFound
from estiva.store import containers
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from estiva.engine import Engine
    from estiva.engine.state.types import Record


def again(engine: Engine, ref: str) -> Start | None:
    """A start of a container that does not run; None if it does. Raises NotFound, Conflict (it is paused)."""
    return tasks.run(beginning(engine, ref))


def beginning(engine: Engine, ref: str) -> Generator[None, None, Start | None]:
    """`again` as a task."""
    while True:
        record = lookup.resolve(engine, ref)
        try:
            lock = locks.take(engine.paths, record["Id"])
            break
        except BlockingIOError:
            if record["State"]["Paused"]:
                raise Conflict(
                    f"cannot start the paused container {ref}", hint=f"`estiva unpause {ref}` lets it go on"
                ) from None
            if record["State"]["Running"]:
                return None
            if record["State"]["Status"] == "exited":
                from estiva.engine.state.life import halted

                halted.refuse(engine.paths, record["Id"], ref)
            yield  # it is being made or removed, or has ended just now
    try:
        begun = with_lock(engine, record, lock)
    except BaseException:
        try:
            _unbegun(engine, record)
        finally:
            locks.let_go(engine.paths, record["Id"], lock)
        raise
    os.ftruncate(lock, 0)  # how the last run ended, where that could not be written into the row
    return begun


def _unbegun(engine: Engine, record: Record) -> None:
    """It can't be started: one of --rm is gone with that, so that nobody waits for its removal in vain."""
    if record["HostConfig"].get("AutoRemove") and containers.status(engine.db, record["Id"]):
        teardown.forget(engine.paths, engine.db, record["Id"], about=eventlog.about(record))


def with_lock(engine: Engine, record: Record, lock: int, kind: type[Start] = Start) -> Start:
    """A start, of this kind, of a container that does not run, whose `lock` the caller has taken; it is the
    Start's to close once there is one. Raises NotFound."""
    if not containers.status(engine.db, record["Id"]):
        raise NotFound(f"container {record['Name'].removeprefix('/')} was removed just now")
    image = based.image_of(engine, record)
    allow_refetch(engine)
    folder.mend(engine, record, image)
    with gate.Unread(engine.paths.container(record["Id"])):
        record = lookup.resolve(engine, record["Id"])  # as an update has made it since the caller looked
        with engine.db.write() as transaction:
            containers.set_running(transaction, record["Id"], rfc3339(), first=kind.first)
            mode, before = record["HostConfig"]["NetworkMode"], record.get("Address", "")
            address = addresses.take_in(transaction, record["Id"], mode, before=before)
    return kind(engine, record, lock, address, image)


def start(engine: Engine, ref: str) -> None:
    """Start a container and return once its command runs; one that runs already is left alone."""
    tasks.run(starting(engine, ref))


def starting(engine: Engine, ref: str) -> Generator[None, None, None]:
    """`start` as a task."""
    begun = yield from beginning(engine, ref)
    if begun is not None:
        with begun:
            begun.go(detach=True)
            while not begun.heard():
                yield
            begun.started()
