"""What the monitor of a container becomes that is to be started again (engine/monitor/life/again.py).

It does what `estiva start` does, with the lock that it has got from the monitor, and ends. Where that fails,
the container has ended, with the error in its record: as with Docker it is not tried once more.
"""

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import Plan

PATIENCE = 10.0  # seconds that one waits for others to be started again before it
LOOK_AGAIN = 0.05


def main(root: str, run_root: str, container_id: str, hold: int) -> None:
    """The whole program; ends the process. `hold` is the fd of the container's lock."""
    try:
        os.set_inheritable(hold, False)
        until_unread(f"{root}/containers/{container_id}")
        turn(run_root)
        until_settings_are_whole()
        from estiva.engine.launch import prefork

        prefork.fork()
        from estiva.engine import Engine

        start(Engine(root, run_root, direct=True), container_id, hold)
    finally:
        os._exit(0)


def until_unread(folder: str) -> None:
    """Before it is our turn, so that others need not wait too. It is looked at again when the run begins."""
    from estiva.engine.state import gate

    try:
        with gate.Unread(folder):
            pass
    except OSError:
        pass


def turn(run_root: str) -> int:
    """A lock that one has at a time, so that a crowd of containers that end at once leaves most of the
    machine to others. Who has it may hang, so it is not waited for without an end.
    """
    fd = os.open(f"{run_root}/restarts.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(LOOK_AGAIN)
    return fd


def until_settings_are_whole() -> None:
    """Who writes the file of settings may be half done. One that stays wrong is told by the start."""
    from estiva import settings
    from estiva.errors import EstivaError

    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            settings.read()
            return
        except EstivaError:
            time.sleep(LOOK_AGAIN)


def start(engine: Engine, container_id: str, hold: int) -> None:
    """Start it, with its lock; or write down why it can't be."""
    from estiva.engine.containers.start import with_lock
    from estiva.engine.launch.start import Start
    from estiva.engine.state import locks, lookup
    from estiva.engine.state.life import reconcile
    from estiva.errors import EstivaError
    from estiva.store import containers

    class Again(Start):
        first = False

        def plan(self, lowerdirs: list[str]) -> Plan:
            return {**super().plan(lowerdirs), "again": True}

        def undo(self) -> None:
            """It is left to `reconcile`, as if this process were killed."""

    paths, db = engine.paths, engine.db
    begun: Start | None = None
    try:
        if os.path.lexists(f"{paths.run_container(container_id)}/stopped"):
            return
        record = lookup.resolve(engine, container_id)
        locks.begin_again(hold)
        lock = os.dup(hold)
        try:
            begun = with_lock(engine, record, lock, Again)
        except BaseException:
            os.close(lock)  # else `reconcile` could not take it
            raise
        with begun:
            begun.go(detach=True)
            os.close(hold)
            hold = -1
            begun.started()
    except (EstivaError, OSError) as error:
        if hold >= 0:
            with db.write(freeing=True) as transaction:
                containers.set_error(transaction, container_id, str(error))
    finally:
        if hold >= 0:
            os.close(hold)
            reconcile.reconcile(paths, db, container_id)
