"""What killed processes left behind: found, ended, removed (`system check`, `system prune`).

    frozen       by a commit that was killed: let go on
    containers   a row that says "running" while nobody holds its lock: processes killed, row settled
    ended        that were there for their program alone, with a monitor that was killed: removed
    run folders  without a holder: of a build's step, or of a container that was being made or removed
    folders      of containers without a row; rows without a folder get a new one
    snapshots    of which one half was made; those that nothing stands on
    volumes      anonymous ones of containers whose row never came
    names        links to containers that do not run
    network      addresses, published ports and veths of containers that do not run
    cgroups      with processes of ours whose run folder has vanished; empty ones
    builds       scratch directories and secrets
    the store    store/upkeep/leftovers.py

Each is told by a lock that its maker holds from before it exists: nothing has to grow old first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from estiva import fastjson, timestamps
from estiva.engine.containers import changes, control, folder, listing, logs
from estiva.engine.containers.snapshots import taken
from estiva.engine.state import based, eventlog, locks, names, runstate, starters, teardown
from estiva.engine.state import record as records
from estiva.engine.state.life import reconcile
from estiva.engine.state.prune_filters import FILTERS, Pruned
from estiva.errors import Conflict, EstivaError, NotFound, StateError
from estiva.files import remove_tree
from estiva.store import containers

if TYPE_CHECKING:
    from estiva.engine import Engine

    Part = Callable[[Engine], Iterator[str]]  # what it has done, in words


PRUNE_FILTERS = (*FILTERS, "name", "id")


def sweep(engine: Engine, *more: Part) -> tuple[list[str], list[str]]:
    """End and remove what killed processes left behind: (what was done, what could not be done), in words.
    `more` is of what stands above: networks/upkeep.py: network.
    """
    parts: tuple[Part, ...] = (
        changes.let_go,
        _running,
        _ended,
        _run_folders,
        _folders,
        taken.sweep,
        _unborn,
        _lost_folders,
        _names,
        *more,
        _cgroups,
        _builds,
        _store,
    )
    done: list[str] = []
    failed: list[str] = []
    engine.paths.prepare()
    for part in parts:
        try:
            for line in part(engine):
                done.append(line)
        except (EstivaError, OSError) as error:
            failed.append(f"sweeping {part.__name__.strip('_').replace('_', ' ')}: {error}")
    return done, failed


def _running(engine: Engine) -> Iterator[str]:
    paths, db = engine.paths, engine.db
    for container_id, name in containers.running(db):
        if not locks.held(paths, container_id) and _reconciled(engine, container_id):
            yield f"container {container_id[:12]} ({name}), whose monitor was killed: ended"


def _reconciled(engine: Engine, container_id: str) -> bool:
    """reconcile.reconcile, but for one whose row is damaged: the check names it, `rm -f` removes it."""
    try:
        return reconcile.reconcile(engine.paths, engine.db, container_id)
    except StateError:
        return False


def _ended(engine: Engine) -> Iterator[str]:
    """With --rm a row says "exited" only as long as a monitor waits for the end of a program's block."""
    paths, db = engine.paths, engine.db
    for container_id, status, text in containers.every(db):
        try:
            record = records.sound(container_id, text) if status == "exited" else None
        except EstivaError:
            continue  # the check tells what is wrong with it
        goes = record is not None and record["HostConfig"].get("AutoRemove")
        if goes and teardown.remove_ended(paths, db, container_id, left=True):
            yield f"container {container_id[:12]}, which had ended and whose monitor was killed: removed"


def _run_folders(engine: Engine) -> Iterator[str]:
    paths = engine.paths
    for container_id in os.listdir(paths.run_containers):
        path = f"{paths.run_containers}/{container_id}"
        if container_id.startswith("."):  # life.leave
            remove_tree(path)
        elif not os.path.isdir(path) or os.path.islink(path):
            remove_tree(path)
            yield f"{path}, which is no run folder: removed"
        elif not locks.held(paths, container_id) and _reconciled(engine, container_id):
            yield f"run folder of container {container_id[:12]}: removed"


def _folders(engine: Engine) -> Iterator[str]:
    """A container's folder comes after its lock and goes after its row, with the lock held."""
    paths, db = engine.paths, engine.db
    for name in os.listdir(paths.containers):
        container_id = name.removesuffix(teardown.GONE)
        if name != container_id:
            if folder.finish_removal(engine, container_id, f"{paths.containers}/{name}"):
                yield f"container {container_id[:12]}, whose removal was cut short: removed"
            continue
        if locks.held(paths, container_id) or _row(engine, container_id):
            continue
        if not os.path.isdir(paths.container(container_id)):
            remove_tree(paths.container(container_id))
            yield f"{paths.container(container_id)}, which is no folder of a container: removed"
            continue
        try:
            lock = locks.take(paths, container_id)
        except BlockingIOError:
            continue
        try:
            there = os.path.lexists(paths.container(container_id))
            if there and not _row(engine, container_id):
                teardown.forget_left(paths, db, container_id)
                yield f"folder of container {container_id[:12]}, which has no row: removed"
            locks.leave(paths, container_id)
        finally:
            os.close(lock)


def _unborn(engine: Engine) -> Iterator[str]:
    """Volumes of a container that was being made: its lock comes before them, its row after them."""
    paths, db = engine.paths, engine.db
    for container_id in containers.unborn(db):
        try:
            lock = locks.take(paths, container_id)
        except BlockingIOError:
            continue
        try:
            if not _row(engine, container_id):
                teardown.forget_left(paths, db, container_id)
                yield f"volumes of container {container_id[:12]}, which was not made: removed"
            locks.leave(paths, container_id)
        finally:
            os.close(lock)


def _lost_folders(engine: Engine) -> Iterator[str]:
    """A power cut may take a folder and leave the row."""
    for container_id, status, text in containers.every(engine.db):
        if status != "running" and not os.path.isdir(engine.paths.container(container_id) + "/work"):
            try:
                record = fastjson.stored(text, what=f"the record of container {container_id[:12]}")
                mended = folder.mend_stopped(engine, record, based.image_of(engine, record))
            except EstivaError:
                continue  # the check tells what is wrong with it
            if mended:
                yield f"container {container_id[:12]} had lost its folder: it has a new one"


def _row(engine: Engine, container_id: str) -> str:
    """The status of a container's row, "" without one."""
    return containers.status(engine.db, container_id)


def _names(engine: Engine) -> Iterator[str]:
    paths = engine.paths
    for name in os.listdir(paths.run_names):
        try:
            target = os.readlink(f"{paths.run_names}/{name}")
        except FileNotFoundError:
            continue
        except OSError:
            remove_tree(f"{paths.run_names}/{name}")
            yield f"{paths.run_names}/{name}, which is no link: removed"
            continue
        if not locks.held(paths, target):
            names.unlink_name(paths.run_root, name, target)
            yield f"link of container name {name}: removed"


def _cgroups(engine: Engine) -> Iterator[str]:
    from estiva.runtime import cgroup
    from estiva.runtime.cgroup import factory

    paths = engine.paths
    above = cgroup.parent()
    for name in cgroup.children(above):
        if len(name) != 64 or locks.held(paths, name):
            continue
        group = factory.open(f"{above}/{name}")
        if not any(_ours(engine, pid) for pid in group.processes()):
            continue  # empty, or of another state root
        try:
            lock = locks.take(paths, name)
        except BlockingIOError:
            continue
        try:
            teardown.end(group)
            locks.leave(paths, name)
        finally:
            os.close(lock)
        yield f"processes of container {name[:12]}, which nobody watched: killed"
    live = set(os.listdir(paths.run_containers))
    for name in cgroup.sweep(above, live):
        yield f"empty cgroup of container {name[:12]}: removed"


def _ours(engine: Engine, pid: int) -> bool:
    """Whether a process has a root filesystem with its read-write layer below our state root."""
    root = engine.paths.root
    for char, code in (("\\", "\\134"), (" ", "\\040"), ("\t", "\\011"), ("\n", "\\012"), (",", "\\054")):
        root = root.replace(char, code)
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            # in a user namespace the source is the upper directory; runtime/rootfs/idmap.py
            return any(f"upperdir={root}/" in line or f" overlay {root}/" in line for line in file)
    except OSError:
        return False


def _builds(engine: Engine) -> Iterator[str]:
    from estiva.builder.files import workspace

    for path in workspace.sweep(engine.paths):
        yield f"{path} of a build that was killed: removed"


def _store(engine: Engine) -> Iterator[str]:
    from estiva.store.upkeep import leftovers

    yield from leftovers.sweep(engine.store)


def check(engine: Engine) -> list[str]:
    """What is wrong with the containers' state, in words; empty when all is well.

    Others may be at work: what is found is looked at again, in the order that they go by.
    """
    problems = []
    paths, db = engine.paths, engine.db
    for container_id, status, text in containers.every(db):
        said = f"container {container_id[:12]}"
        try:
            record = records.sound(container_id, text)
        except EstivaError as error:
            problems.append(f"{error}: `estiva rm -f` removes it")
            continue
        try:
            if status == "running" and runstate.read(paths, container_id) is None:
                problems += starters.problems(paths, container_id)
            gone = logs.lost(paths, container_id) if status == "running" else 0
            if gone:
                problems.append(f"{said} has lost {max(gone, 1)} or more bytes of its log: is the disk full?")
        except EstivaError as error:
            problems.append(f"{said} runs, but {error}: `estiva rm -f` removes it")
        if not os.path.isdir(paths.container(container_id) + "/upper") and _row(engine, container_id):
            problems.append(f"{said} has no read-write layer")
        if status == "running" and _stale(engine, container_id):
            problems.append(f"{said} is said to run but does not")
        image = record["Image"]
        lost = image and not db.read("SELECT 1 FROM images WHERE id = ?", (image,))
        if lost and _row(engine, container_id):
            problems.append(f"{said} has lost its image {image[:19]}")
    problems += taken.check(engine)
    for address, container_id in db.read("SELECT address, container FROM leases"):
        if not locks.held(paths, container_id) and db.read(
            "SELECT 1 FROM leases WHERE address = ?", (address,)
        ):
            problems.append(
                f"address {address} is kept for container {container_id[:12]}, which does not run"
            )
    return problems


def _stale(engine: Engine, container_id: str) -> bool:
    """Whether nobody holds the lock of a container whose row says, also after that look, that it runs."""
    return not locks.held(engine.paths, container_id) and _row(engine, container_id) == "running"


def prune(engine: Engine, filters: dict[str, list[str]] | None = None) -> tuple[list[str], int]:
    """Remove every stopped container: (ids, bytes freed). `filters`: see PRUNE_FILTERS. Raises
    InvalidInput.
    """
    given = filters or {}
    wanted = Pruned({key: given[key] for key in given if key not in ("id", "name")}, PRUNE_FILTERS)
    listed = {key: given[key] for key in given if key in ("id", "name")}
    removed, freed = [], 0
    for record in listing.listing(engine, all=True, filters=listed):
        if record["State"]["Running"]:
            continue
        if wanted.takes(timestamps.seconds(record["Created"]), record["Config"].get("Labels")):
            size = changes.size(engine, record)
            try:
                removed.append(control.remove(engine, record["Id"]))
            except (Conflict, NotFound):
                continue  # somebody was faster
            freed += size
    eventlog.write(engine.paths, "container", "prune", "", {"reclaimed": str(freed)})
    return removed, freed
