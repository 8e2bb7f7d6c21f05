"""What "running" means, and how a container's traces go.

A container runs while somebody holds the lock of its run folder: the starter first, then its monitor, which
inherits it. The kernel drops it when the monitor dies. So nobody is fooled by a recycled pid or a stale row:

    row "running", lock held    runs (or is being started)
    row "running", lock free    its monitor was killed: `reconcile` ends it and settles the row

Whoever makes, removes or sweeps a container holds the lock too. It is an open file description lock
(fcntl(2), F_OFD_SETLK): passed on by fork and by socket as flock(2) is, but it can be looked at (F_OFD_GETLK)
without being taken, even for a moment, from one who wants it. Of its two bytes the first is the lock; who
waits for the end waits on the second, and so is in nobody's way either. The file's content is the exit
status, once there is one: who waits has it open, and can read it even when the container is removed (--rm).
"""

from __future__ import annotations

import fcntl
import os
from _struct import pack, unpack

from estiva import fastjson
from estiva.engine.clock import rfc3339
from estiva.errors import Unavailable
from estiva.files import remove_tree
from estiva.paths import Paths
from estiva.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.store.database import Database, Transaction

KILLED = 137
_FLOCK = "hhqqi4x"  # struct flock on 64-bit machines: type, whence, start, length, pid
_RUNS, _WAIT = 0, 1  # the two bytes


def paths(plan: dict[str, Any]) -> Paths:
    return Paths(plan["root"], plan["run_root"])


_databases: dict[tuple[int, str], Database] = {}


def database(plan: dict[str, Any]) -> Database:
    """This process's own connection: one that came over a fork is never used."""
    key = (os.getpid(), plan["root"])
    if key not in _databases:
        from estiva.store.database import Database

        _databases[key] = Database(Paths(plan["root"], plan["run_root"]).database)
    return _databases[key]


def _lock(fd: int, command: int, kind: int, byte: int) -> int:
    """fcntl(2) with a struct flock; the type of lock that it tells (F_UNLCK: none is in the way)."""
    answer = fcntl.fcntl(fd, command, pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0))
    return int(unpack(_FLOCK, answer)[0])


def take(where: Paths, container_id: str, *, new: bool = False) -> int:
    """The container's lock, as an fd to keep open. Raises BlockingIOError while another has it.

    `new`: nobody knows of the container yet, so only a sweeper may have it, which lets it go.
    """
    run = where.run_container(container_id)
    while True:
        try:
            fd = os.open(run + "/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            try:
                os.makedirs(run, mode=0o700)
            except FileExistsError:
                pass  # made, or even removed again, by another
            continue
        try:
            _lock(fd, fcntl.F_OFD_SETLKW if new else fcntl.F_OFD_SETLK, fcntl.F_WRLCK, _RUNS)
            _lock(fd, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, _WAIT)
            # the folder may have been taken away, with the lock in it, between our open and our lock
            found = os.fstat(fd)
            if found.st_ino == os.stat(run + "/lock").st_ino:
                if found.st_size:
                    os.ftruncate(fd, 0)
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def held(where: Paths, container_id: str) -> bool:
    """Whether the container runs, or is being made, started, removed or swept."""
    try:
        fd = os.open(where.run_container(container_id) + "/lock", os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return _lock(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, _RUNS) != fcntl.F_UNLCK
    finally:
        os.close(fd)


def runs(where: Paths, live: dict[str, Any]) -> bool:
    """Whether the run whose state was `live` goes on; not so when the container has been started again."""
    return held(where, live["id"]) and _is_of(where, live)


def _is_of(where: Paths, live: dict[str, Any]) -> bool:
    now = state.read(where.run_container(live["id"]))
    return now is not None and state.same_run(now, live)


def await_end(where: Paths, container_id: str, live: dict[str, Any] | None = None) -> int | None:
    """Block until the monitor has settled everything and gone; the exit status, if it left one.

    `live`: only of the run whose state that was, and not of one that has begun since.
    """
    try:
        fd = os.open(where.run_container(container_id) + "/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # the state is read after the lock was opened: if it is still that run's, so is the lock
        if live is not None and not _is_of(where, live):
            return None
        _lock(fd, fcntl.F_OFD_SETLKW, fcntl.F_RDLCK, _WAIT)
        status = os.pread(fd, 16, 0)
        return int(status) if status else None
    finally:
        os.close(fd)


def link_name(run_root: str, name: str, container_id: str) -> None:
    """run/names/NAME -> ID: `exec NAME` finds a running container without the database."""
    link = f"{run_root}/names/{name}"
    try:
        os.symlink(container_id, link)
    except FileExistsError:
        os.unlink(link)
        os.symlink(container_id, link)


def unlink_name(run_root: str, name: str, container_id: str) -> bool:
    """False if the name has no link, or one to another container."""
    link = f"{run_root}/names/{name}"
    try:
        if os.readlink(link) == container_id:
            os.unlink(link)
            return True
    except OSError:
        pass
    return False


def release(plan: dict[str, Any], cgroup: Cgroup | None, endpoint: Any = None) -> None:
    """Everything of a run that is over: its processes, cgroup, network. The run folder stays, with the
    lock.
    """
    if cgroup is not None:
        end(cgroup)
    if plan["network"]["mode"] == "bridge":
        from estiva.network import bridge

        bridge.disconnect(database(plan), paths(plan), plan["id"], ports=plan["network"]["ports"])
    if plan["name"] and not unlink_name(plan["run_root"], plan["name"], plan["id"]):
        for name in os.listdir(f"{plan['run_root']}/names"):  # it may have been renamed while it ran
            unlink_name(plan["run_root"], name, plan["id"])


def end(cgroup: Cgroup) -> None:
    """Kill all in a cgroup and remove it. Raises EngineError."""
    from estiva.errors import EngineError

    for last in (False, True):
        try:
            cgroup.kill()
            cgroup.remove()
            return
        except EngineError:
            if last:
                raise  # else: the child of a monitor killed while it cloned came in after the kill


def settle(plan: dict[str, Any], outcome: dict[str, Any], *, failed: bool = False) -> None:
    """Write how a run ended into the container's row, or remove the container (--rm). Then the run folder
    goes.
    """
    where = paths(plan)
    if plan["ephemeral"]:
        pass
    elif plan["auto_remove"]:
        forget(where, database(plan), plan["id"])
    else:
        with database(plan).write(freeing=True) as transaction:
            rows = transaction.execute("SELECT record FROM containers WHERE id = ?", (plan["id"],)).fetchall()
            if rows:
                record = fastjson.loads(rows[0][0], what="the container's record")
                record["State"].update(outcome)
                if not failed:
                    record["State"]["FinishedAt"] = rfc3339()
                transaction.execute(
                    "UPDATE containers SET status = ?, record = ? WHERE id = ?",
                    ("created" if failed else "exited", fastjson.dumps(record), plan["id"]),
                )
    leave(where, plan["id"])


def leave(where: Paths, container_id: str) -> None:
    """Remove a container's run folder, whose lock the caller holds.

    It is renamed first: who comes now makes a new one, and never a lock in what is being removed.
    """
    aside = f"{where.run_containers}/.{os.urandom(8).hex()}"
    try:
        os.rename(where.run_container(container_id), aside)
    except FileNotFoundError:
        return
    remove_tree(aside)


def forget(where: Paths, db: Database, container_id: str, *, volumes: bool = True) -> None:
    """Remove a stopped container, whose lock the caller holds: its rows first, then its folder, so that
    nobody meets half of one; a folder without a row is swept.

    With `volumes`, its anonymous volumes too. Only where the disk is too full for that, and what was set
    aside is used up, the files go first.
    """
    try:
        with db.write(freeing=True) as transaction:
            anonymous = drop_rows(transaction, container_id, volumes)
    except Unavailable:
        remove_tree(where.container(container_id))
        with db.write() as transaction:
            anonymous = drop_rows(transaction, container_id, volumes)
    remove_tree(where.container(container_id))
    for name in anonymous:
        remove_tree(f"{where.volumes}/{name}")


def drop_rows(transaction: Transaction, container_id: str, volumes: bool) -> list[str]:
    anonymous: list[str] = []
    mine = transaction.execute("SELECT volume FROM container_volumes WHERE container = ?", (container_id,))
    names = [row[0] for row in mine.fetchall()]
    if names:
        transaction.execute("DELETE FROM container_volumes WHERE container = ?", (container_id,))
    for name in names if volumes else ():
        gone = transaction.execute(
            "DELETE FROM volumes WHERE name = ? AND anonymous = 1 AND NOT EXISTS"
            " (SELECT 1 FROM container_volumes WHERE volume = ?)",
            (name, name),
        )
        if gone.rowcount:
            anonymous.append(name)
    transaction.execute("DELETE FROM leases WHERE container = ?", (container_id,))
    transaction.execute("DELETE FROM containers WHERE id = ?", (container_id,))
    return anonymous


def reconcile(where: Paths, db: Database, container_id: str) -> bool:
    """End what a killed monitor left of a container and settle its row. False when it runs after all."""
    rebooted = not os.path.isdir(where.run_container(container_id))
    try:
        lock = take(where, container_id)
    except BlockingIOError:
        return False
    try:
        rows = db.read("SELECT record, status FROM containers WHERE id = ?", (container_id,))
        record = fastjson.loads(rows[0][0], what="the container's record") if rows else None
        left = state.read(where.run_container(container_id)) or {}
        host_config = (record or {}).get("HostConfig") or {}
        mode = host_config.get("NetworkMode") or "bridge"
        plan: dict[str, Any] = {
            "id": container_id,
            "root": where.root,
            "run_root": where.run_root,
            "name": (record or {}).get("Name", "").removeprefix("/") or left.get("name", ""),
            "network": {"mode": "bridge" if mode in ("bridge", "default") else mode, "ports": []},
            "auto_remove": bool(host_config.get("AutoRemove")),
            "ephemeral": record is None or rows[0][1] != "running",
        }
        from estiva.runtime.cgroup import Cgroup

        above = host_config.get("CgroupParent") or ""
        release(plan, Cgroup.open(left.get("cgroup") or cgroup_path(container_id, above)))
        if left:
            why, started = "the container's monitor was killed", {"StartedAt": left["started"]}
        else:
            why, started = "what started the container was killed", {}
            if rebooted:
                why = "the machine went down while the container ran"
        outcome = {"ExitCode": KILLED, "Error": why, **started}
        settle(plan, outcome, failed=not (left or rebooted))
    finally:
        os.close(lock)
    return True


def cgroup_path(container_id: str, above: str = "") -> str:
    """The cgroup of a container. `above` is HostConfig.CgroupParent: an absolute path, a path below ours, or
    the name of a systemd slice. Raises InvalidInput."""
    from estiva.runtime import cgroup

    if not above:
        return f"{cgroup.parent()}/{container_id}"
    if above.endswith(".slice") and "/" not in above:
        if "--" in above or above[0] == "-" or "-." in above or ":" in above:  # systemd.slice(5)
            from estiva.errors import InvalidInput, oneline

            raise InvalidInput(f"{oneline(above)} is not the name of a slice", hint="such as a-b.slice")
        return cgroup.resolve(f"{above}:estiva:{container_id}", container_id)
    inside = above if above[0] == "/" else f"{cgroup.parent()}/{above}"
    return cgroup.resolve(f"{inside}/{container_id}", container_id)


def dead(where: Paths, db: Database, container_id: str) -> bool:
    """As `reconcile_if_dead`, for those who look only: "dead" is all they say while the disk is too full to
    write down how it ended.
    """
    try:
        return reconcile_if_dead(where, db, container_id)
    except Unavailable:
        return True


def reconcile_if_dead(where: Paths, db: Database, container_id: str) -> bool:
    """Settle a container whose row says running while nobody holds its lock. True if that was so."""
    if held(where, container_id):
        return False
    # its row may have been settled between the reading of it and the look at the lock
    rows = db.read("SELECT status FROM containers WHERE id = ?", (container_id,))
    if not rows or rows[0][0] != "running":
        return True
    return reconcile(where, db, container_id)
