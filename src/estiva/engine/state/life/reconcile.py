"""What nobody has settled: a run whose monitor was killed, and a container whose record can't be understood.

Whoever meets one ends it, by `reconcile` or `destroy`: with the lock that its monitor does not hold any more.
"""

from __future__ import annotations

import os
import time

from estiva.engine.state import eventlog, runstate, teardown
from estiva.engine.state import record as records
from estiva.engine.state.cgroup import cgroup_path
from estiva.engine.state.locks import exit_status, held, leave, take
from estiva.errors import EngineError, StateError, Unavailable
from estiva.store import containers
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.types import Ending, RunState, State
    from estiva.paths import Paths
    from estiva.store.database import Database

KILLED = 137
PATIENCE = 30.0  # seconds for the monitor of a killed container to go


def reconcile(where: Paths, db: Database, container_id: str) -> bool:
    """End what a killed monitor left of a container and settle its row. False when it runs after all.

    One that could not write into the row (the disk was full or read-only, or a process was stopped while it
    had the database) has left the exit status in the lock file.
    """
    rebooted = not os.path.isdir(where.run_container(container_id))
    try:
        lock = take(where, container_id)
    except BlockingIOError:
        return False
    try:
        row = containers.get(db, container_id)
        record = records.sound(container_id, row[2]) if row else None
        left = left_of(where, container_id)
        host_config: HostConfig = (record.get("HostConfig") or {}) if record else {}
        mode = host_config.get("NetworkMode") or "default"
        name = record.get("Name", "").removeprefix("/") if record else ""
        path = left.get("cgroup") if left else ""
        plan: Ending = {
            "id": container_id,
            "root": where.root,
            "run_root": where.run_root,
            "name": name or (left.get("name", "") if left else ""),
            "network": {"mode": "bridge" if mode == "default" else mode, "address": "", "ports": []},
            "auto_remove": bool(host_config.get("AutoRemove")) and not teardown.kept(where, container_id),
            "ephemeral": row is None or row[1] != "running",
            "about": eventlog.known(container_id, row[2] if row else ""),
        }
        from estiva.runtime.cgroup import factory

        above = host_config.get("CgroupParent") or ""
        cgroup = factory.open(path or cgroup_path(container_id, above))
        teardown.kill_all(cgroup)  # what is frozen could not die
        teardown.end_init(left)
        teardown.release(plan, cgroup)
        outcome: State = {"ExitCode": KILLED, "Error": "what started the container was killed"}
        if left:
            outcome["Error"], outcome["StartedAt"] = "the container's monitor was killed", left["started"]
        elif rebooted:
            outcome["Error"] = "the machine went down while the container ran"
            began = record["State"].get("Began") if record else None
            if began:
                outcome["StartedAt"] = began
        waited = not left and os.path.lexists(where.run_container(container_id) + "/restarting.json")
        if record and waited and not outcome.get("StartedAt"):  # how the last run ended is written already
            outcome = {"ExitCode": KILLED, **record["State"]}
        code = exit_status(lock)
        if code is not None and not waited:
            outcome["ExitCode"], outcome["Error"] = code, ""
            outcome["FinishedAt"] = rfc3339(os.fstat(lock).st_mtime_ns)
        ended = [] if waited else eventlog.died(plan, outcome)
        failed = not (left or rebooted or waited)
        if failed and code is None and record and records.has_run(record):
            outcome = {"Error": outcome["Error"]}  # how the run before ended, its record tells
        teardown.settle(plan, outcome, failed=failed, said=ended)
    finally:
        os.close(lock)
    return True


def left_of(where: Paths, container_id: str) -> RunState | None:
    """What a run has left of its state; a file that can't be understood is as good as none."""
    try:
        return runstate.read(where, container_id)
    except StateError:
        return None


def destroy(where: Paths, db: Database, container_id: str, *, volumes: bool) -> None:
    """Remove a container whose record can't be understood: all in its cgroup is killed, and what its id leads
    to goes. Its lock is taken as soon as nobody holds it. Raises EngineError.
    """
    from estiva.runtime.cgroup import factory

    live = left_of(where, container_id)
    cgroup = factory.open(live["cgroup"] if live and live.get("cgroup") else cgroup_path(container_id))
    deadline = time.monotonic() + PATIENCE
    while True:
        teardown.kill_all(cgroup)
        teardown.end_init(live)
        try:
            lock = take(where, container_id)
            break
        except BlockingIOError:
            if live:
                runstate.end_stopped_monitor(live)
            if time.monotonic() > deadline:
                raise EngineError(
                    f"the monitor of container {container_id[:12]} does not end",
                    hint=f"it may be stopped: `fuser {where.run_container(container_id)}/lock` names it",
                ) from None
            time.sleep(0.01)
    try:
        plan: Ending = {
            "id": container_id,
            "root": where.root,
            "run_root": where.run_root,
            "name": live.get("name", "") if live else "",
            "network": {"mode": "bridge", "address": "", "ports": []},
            "auto_remove": True,
            "ephemeral": False,
        }
        if not db.read("SELECT 1 FROM meta WHERE key LIKE 'network.%' LIMIT 1"):
            plan["network"]["mode"] = "none"
        teardown.release(plan, cgroup)
        teardown.forget(where, db, container_id, volumes=volumes, about={})
        leave(where, container_id)
    finally:
        os.close(lock)


def dead(where: Paths, db: Database, container_id: str) -> bool:
    """As `reconcile_if_dead`, for those who look only, and do not try again where nothing can be written: the
    disk is full or read-only, or another process keeps the database.
    """
    if db.unwritable and not held(where, container_id):
        return True
    try:
        return reconcile_if_dead(where, db, container_id)
    except (Unavailable, StateError):
        db.unwritable = True
        return True


def reconcile_if_dead(where: Paths, db: Database, container_id: str) -> bool:
    """Settle a container whose row says running while nobody holds its lock. True if that was so."""
    if held(where, container_id):
        return False
    # its row may have been settled between the reading of it and the look at the lock
    if containers.status(db, container_id) != "running":
        return True
    return reconcile(where, db, container_id)
