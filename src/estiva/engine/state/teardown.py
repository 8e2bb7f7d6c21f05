"""How a run ends, however it ends, and how a container goes: processes, cgroup, network, rows, folders.

The monitor does it for its own container; for one whose monitor was killed, whoever meets it (`reconcile`).
"""

from __future__ import annotations

import os

from estiva import fastjson
from estiva.engine.state import eventlog, runstate
from estiva.engine.state import record as records
from estiva.engine.state.cgroup import cgroup_path
from estiva.engine.state.locks import leave, lingers, take
from estiva.engine.state.names import unlink_name
from estiva.errors import EngineError, NotFound, StateError, Unavailable
from estiva.files import remove_tree
from estiva.linux import procinfo
from estiva.paths import Paths
from estiva.store import containers
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from estiva.engine.state.types import Ending, Plan, RunState, State
    from estiva.network.firewall import Published
    from estiva.runtime.cgroup import Cgroup
    from estiva.store.database import Database, Transaction

KILLED = 137
UNKILLABLE = 10  # seconds
GONE = ".gone"  # ends the name of the folder of a container whose files went before its rows
PATIENCE = 30.0  # seconds for the monitor of a killed container to go


_paths: dict[tuple[str, str], Paths] = {}  # a monitor's own, and asked for at every step of an end


def paths(plan: Ending) -> Paths:
    roots = plan["root"], plan["run_root"]
    known = _paths.get(roots)
    if known is None:
        _paths.clear()
        known = _paths[roots] = Paths(*roots)
    return known


def binds_the_host(plan: Plan) -> bool:
    """Whether a place of the host's outside our root is mounted in it: others could be waiting for that."""
    sources = [entry["source"] for entry in plan["config"]["mounts"] if entry["type"] == "bind"]
    return not all(source.startswith(plan["root"] + "/") for source in sources)


# by process and path: the connection, and which file it is to
_databases: dict[tuple[int, str], tuple[Database, tuple[int, int]]] = {}


def database(plan: Ending) -> Database:
    """This process's own connection: one that came over a fork is never used, nor one to a file that is not
    there any more."""
    path = paths(plan).database
    key = (os.getpid(), path)
    known = _databases.get(key)
    if known is None or known[1] != _identity(path):
        from estiva.store.database import Database

        if known is not None:
            known[0].close()
        _databases[key] = known = Database(path), _identity(path)
    return known[0]


def close_databases() -> None:
    """Before a fork that uses one: SQLite closes a connection's fds when the last one to its file goes, and
    in the child their numbers are those of other fds by then."""
    for process, path in list(_databases):
        if process == os.getpid():
            _databases.pop((process, path))[0].close()


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def release(plan: Ending, cgroup: Cgroup | None, endpoint: Any = None) -> None:
    """Everything of a run that is over: its processes, cgroup, network. The run folder stays, with the
    lock.
    """
    if cgroup is not None:
        end(cgroup)
    disconnect(plan, endpoint)
    unlink_names(plan)


def disconnect(plan: Ending, endpoint: Any = None) -> None:
    """Out of its networks; then the sockets that hold its ports on the host go, before anybody can see that
    the run is over and ask for them."""
    _unplug(plan)
    for port in endpoint.sockets if endpoint is not None else ():
        port.close()


def _unplug(plan: Ending) -> None:
    """One of mode none may have been put on networks while it ran."""
    if os.path.lexists(paths(plan).run_container(plan["id"]) + "/ports"):
        from estiva.engine.state.net import relays

        relays.end(paths(plan), plan["id"])
    mode = plan["network"]["mode"]
    if mode == "host" or ":" in mode:
        return
    from estiva.network import ipam

    leases = ipam.leases(database(plan), plan["id"])
    if leases:
        others = containers.in_netns_of_others(database(plan))
        if others:
            from estiva.engine.state.net import sharers

            sharers.unplug(paths(plan), database(plan), plan["id"], others)
    default = [address for network, address in leases if network == ipam.DEFAULT_NETWORK]
    if len(leases) > len(default):
        from estiva.engine.state import published
        from estiva.network import plug

        walls = published.firewalls(paths(plan), database(plan))
        plug.disconnect(database(plan), paths(plan), plan["id"], walls)
    if default:
        from estiva.network import bridge

        bridge.disconnect(
            database(plan),
            paths(plan),
            plan["id"],
            addresses=default,
            published=published_by(plan),
        )


def published_by(plan: Ending) -> Published:
    """What tells the published ports of all that run, should the firewall have to be made anew. Who has
    flushed it has flushed that of other networks too."""

    def look() -> list[tuple[str, list[dict[str, str]]]]:
        from estiva.engine.state import published

        published.mend_own(paths(plan), database(plan))
        return published.published(paths(plan), database(plan))

    return look


def unlink_names(plan: Ending) -> None:
    """The link that `exec NAME` finds it by. One of that name which has come since is left."""
    if plan["name"] and not unlink_name(plan["run_root"], plan["name"], plan["id"]):
        for name in os.listdir(f"{plan['run_root']}/names"):  # it may have been renamed while it ran
            unlink_name(plan["run_root"], name, plan["id"])


def end(cgroup: Cgroup) -> None:
    """Kill all in a cgroup and remove it. Raises EngineError."""
    for last in (False, True):
        try:
            cgroup.kill()
            cgroup.remove()
            return
        except EngineError:
            if last:
                raise  # else: the child of a monitor killed while it cloned came in after the kill


def kill_all(cgroup: Cgroup) -> None:
    """Kill all in a cgroup, which a monitor that is still there may remove meanwhile. Raises EngineError."""
    try:
        cgroup.kill()
    except NotFound:
        pass


def end_init(live: RunState | None) -> None:
    """Kill the init of a run that nobody watches, by pid and start time, and wait until it is dead: its pid
    namespace, network namespace and veth go with it, also where somebody has moved its processes out of their
    cgroup. One that waits in the kernel is left after UNKILLABLE seconds.
    """
    pidfd = runstate.opened(live["pid"], live["start_time"]) if live else -1
    if pidfd < 0:
        return
    try:
        procinfo.kill(pidfd, UNKILLABLE)
    finally:
        os.close(pidfd)


def kept(where: Paths, container_id: str) -> bool:
    """Whether a --rm one stays after this run: it is being restarted (life/restarts.py)."""
    return os.path.lexists(where.run_container(container_id) + "/kept")


def settle(
    plan: Ending,
    outcome: State,
    *,
    failed: bool = False,
    said: Iterable[str] = (),
    may: bool = False,
    forced: bool = False,
) -> float | None:
    """Write how a run ended into the container's row, or remove the container (--rm), and what is `said` of
    its end into the event log. A start that `failed` leaves one that has run before exited, as it was.
    Then the run folder goes, unless the caller, who `may`, is to start it again: in so many seconds
    (restarts.decide).
    """
    where = paths(plan)
    delay = None
    if plan["ephemeral"]:
        pass
    elif plan["auto_remove"]:
        eventlog.append(where, *said)
        said = ()
        forget(where, database(plan), plan["id"], about=plan.get("about"))
    else:
        with database(plan).write(freeing=True) as transaction:
            row = containers.get(transaction, plan["id"])
            try:
                record = records.sound(plan["id"], row[2]) if row else None
            except StateError:  # all that can still be said of it
                record = None
                containers.set_status(transaction, plan["id"], "created" if failed else "exited")
            if record is not None:
                record["State"].pop("Began", None)
                record["State"].pop("Exit", None)
                if not failed:
                    record["State"]["FinishedAt"] = rfc3339()
                record["State"].update(outcome)
                if plan["network"].get("address"):
                    record["Address"] = plan["network"]["address"]
                status = "exited" if records.has_run(record) or not failed else "created"
                if os.path.lexists(where.run_container(plan["id"]) + "/stopped"):
                    record["State"]["Stopped"] = True
                if may and not failed and (forced or record["HostConfig"].get("RestartPolicy")):
                    from estiva.engine.state.life import restarts

                    delay = restarts.decide(where, record, forced=forced)
                    status = status if delay is None else "running"
                containers.set_record(transaction, plan["id"], fastjson.dumps(record), status)
    eventlog.append(where, *said)
    if delay is None:
        leave(where, plan["id"])
    return delay


def forget(
    where: Paths,
    db: Database,
    container_id: str,
    *,
    volumes: bool = True,
    about: dict[str, str] | None = None,
) -> None:
    """Remove a stopped container, whose lock the caller holds: its rows first, then its folder, so that
    nobody meets half of one; a folder without a row is swept.

    With `volumes`, its anonymous volumes too. It is `about` something that the event log knows if it was ever
    created (eventlog.about).
    """
    anonymous = forget_rows(where, db, container_id, volumes=volumes)
    if about is not None:
        eventlog.append(where, *eventlog.removed(container_id, about, anonymous))
    forget_files(where, container_id, anonymous)


def forget_left(where: Paths, db: Database, container_id: str) -> None:
    """`forget` what a killed process left, which may have been a monitor until just now: with its cgroup."""
    from estiva.runtime.cgroup import factory

    end(factory.open(cgroup_path(container_id)))
    forget(where, db, container_id)


def forget_rows(where: Paths, db: Database, container_id: str, *, volumes: bool = True) -> list[str]:
    """The first half of `forget`: nobody finds it any more. The volumes that `forget_files` is to remove.

    Where the disk is too full to write even that, what the container has written goes first, if it is enough
    to make room, under a name that tells the sweep what was meant. Raises Unavailable.
    """
    try:
        with db.write(freeing=True) as transaction:
            gone = remove_rows(transaction, container_id, volumes)
        if os.path.isdir(where.states):
            collect_states(where, db)
        return gone
    except Unavailable:
        from estiva.store.reserve import SIZE
        from estiva.store.volumes import tree_size

        folder = where.container(container_id)
        if tree_size(folder) < 4 * SIZE:
            raise  # it would be lost in vain
        os.rename(folder, folder + GONE)
        for name in os.listdir(folder + GONE):
            remove_tree(f"{folder}{GONE}/{name}")
        with db.write() as transaction:
            return remove_rows(transaction, container_id, volumes)


def collect_states(where: Paths, db: Database) -> None:
    """Some may have been there for what has just been removed alone."""
    from estiva.store import states

    if states.needed(db):
        states.collect(where, db)


def forget_files(where: Paths, container_id: str, volumes: list[str]) -> None:
    """The second half: who is killed before it leaves what is swept."""
    remove_tree(where.container(container_id))
    remove_tree(where.container(container_id) + GONE)
    for name in volumes:
        remove_tree(f"{where.volumes}/{name}")


def remove_rows(transaction: Transaction, container_id: str, volumes: bool) -> list[str]:
    """All rows of a container; the names of its anonymous volumes, whose rows went with them."""
    from estiva.network import ipam

    ipam.forget_in(transaction, container_id)
    return containers.remove(transaction, container_id, volumes=volumes)


def remove_ended(where: Paths, db: Database, container_id: str, *, left: bool = False) -> bool:
    """Remove a container that has ended, unless it has gone or others have started it again; one that is
    `left`, unless somebody else is to do that. Whether it was removed."""
    if not containers.status(db, container_id):
        return False
    try:
        lock = take(where, container_id)
    except BlockingIOError:
        return False
    try:
        row = containers.get(db, container_id)
        if left and (row is None or row[1] != "exited" or lingers(where, container_id)):
            leave(where, container_id)
            return False
        forget(where, db, container_id, about=eventlog.known(container_id, row[2] if row else ""))
        leave(where, container_id)
        return True
    finally:
        os.close(lock)


def undo(where: Paths, container_id: str) -> None:
    """Remove what was made of a container that no monitor came to have; the caller holds its lock. One that
    has been set back to created stays."""
    from estiva.runtime.cgroup import factory
    from estiva.store.database import Database

    db = Database(where.database)
    try:
        row = containers.get(db, container_id)
        if row is None or row[1] == "running":
            record = records.sound(container_id, row[2]) if row else None
            above = ((record.get("HostConfig") or {}).get("CgroupParent") or "") if record else ""
            end(factory.open(cgroup_path(container_id, above)))
            forget(where, db, container_id, about=eventlog.known(container_id, row[2]) if row else None)
        leave(where, container_id)
    finally:
        db.close()
