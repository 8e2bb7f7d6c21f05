"""What a container had written becomes a state: the second half of a snapshot, and what a killed one left.

    containers/ID/next-STATE/   upper, work: the container's next read-write layer, empty, made first
    row                         the state, and the container's record, which stands on it from here on
    settle                      upper -> states/STATE/fs, next-STATE/upper -> upper, and work likewise; the
                                rest goes with the state one day: to remove folders may take long (ext4)

A container that runs has been given its new root (runtime/rootfs/reroot.py) before the row. So `next-STATE`
tells whoever comes after a kill what there is to do: `recover`, which is called before a container's folder
is used, and by the sweep.
"""

from __future__ import annotations

import os

from estiva import fastjson, files
from estiva.engine.launch.start import idles
from estiva.engine.state import gate, locks, runstate
from estiva.runtime.cgroup import factory
from estiva.store import containers, states
from estiva.store.layers.mounts import STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.types import Record
    from estiva.paths import Paths
    from estiva.store.states import About

NEXT = "next-"
# of a container's Config, what those made from its snapshot get of it, as from an image's config
KEPT = ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes", "StopSignal",
        "Healthcheck", "Shell")  # fmt: skip


def next_folder(paths: Paths, container_id: str, state_id: str) -> str:
    return f"{paths.container(container_id)}/{NEXT}{state_id}"


def about(record: Record, below: list[str], *, copied: bool = False) -> About:
    """A state's record: see store/states.py."""
    ran: Any = record["Config"]
    kept = {key: ran[key] for key in KEPT if ran.get(key)}
    if idles(record):
        del kept["Cmd"]
    elif kept.get("Cmd") or kept.get("Entrypoint"):
        kept.setdefault("Entrypoint", None)
    made: About = {"below": below, "config": kept, "container": record["Id"], "copied": copied}
    if profile := record["HostConfig"].get("Profile"):
        made["profile"] = profile
    return made


def keep(engine: Engine, record: Record, state_id: str, name: str | None) -> None:
    """Write the rows: the state, on which the container stands from now on. Raises Conflict, Unavailable."""
    container_id = record["Id"]
    with engine.db.write() as transaction:
        row = containers.get(transaction, container_id)
        if row is None:
            from estiva.errors import NotFound

            raise NotFound(f"container {record['Name'].removeprefix('/')} was removed just now")
        now: Record = fastjson.stored(row[2], what=f"the record of container {container_id[:12]}")
        below = list(now.get("States") or ())
        states.add(transaction, state_id, name, now["Image"], about(now, below))
        now["States"] = [*below, STATE + state_id]
        containers.set_record(transaction, container_id, fastjson.dumps(now))
        states.use(transaction, container_id, now["States"])


def settle(paths: Paths, container_id: str, state_id: str) -> None:
    """The renames that the rows ask for; again after a kill at any of them."""
    own, ahead = paths.container(container_id), next_folder(paths, container_id, state_id)
    place = states.folder(paths, state_id)
    files.make_directory(place, exist_ok=True)
    if not os.path.lexists(place + "/fs"):
        os.rename(own + "/upper", place + "/fs")
    if os.path.lexists(ahead + "/upper"):
        os.rename(ahead + "/upper", own + "/upper")
    if os.path.lexists(ahead + "/work"):
        if os.path.lexists(own + "/work") and not os.path.lexists(ahead + "/old"):
            os.rename(own + "/work", ahead + "/old")
        os.rename(ahead + "/work", own + "/work")
    if os.path.lexists(ahead):
        os.rename(ahead, place + "/old")


def unfinished(paths: Paths, container_id: str) -> list[str]:
    """The states whose snapshots of a container have begun, and not ended."""
    try:
        names = os.listdir(paths.container(container_id))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name.removeprefix(NEXT) for name in names if name.startswith(NEXT)]


def recover(engine: Engine, container_id: str) -> Iterator[str]:
    """Finish, or undo, what killed processes have begun; in words. The caller holds the container's lock, or
    that of who holds it still (gate.still)."""
    for state_id in unfinished(engine.paths, container_id):
        row = containers.get(engine.db, container_id)
        if row is None:
            return  # it goes whole
        record: Record = fastjson.stored(row[2], what=f"the record of container {container_id[:12]}")
        ahead = next_folder(engine.paths, container_id, state_id)
        if STATE + state_id not in (record.get("States") or ()):
            found = mounted(engine.paths, container_id, ahead)
            if found == "both":
                live = runstate.read(engine.paths, container_id)
                if live is not None:
                    factory.open(live["cgroup"]).kill()
                yield f"container {container_id[:12]}, left between two roots by a killed snapshot: ended"
                continue  # the next sweep finds that it does not run
            if not found and not _written(ahead + "/upper"):
                files.remove_tree(ahead)
                yield f"snapshot of container {container_id[:12]} that was killed: undone"
                continue
            keep(engine, record, state_id, None)
        settle(engine.paths, container_id, state_id)
        yield f"snapshot of container {container_id[:12]} that was killed: finished"


def mounted(paths: Paths, container_id: str, ahead: str) -> str:
    """Whether the container runs on its next read-write layer: "", "next", or "both" where its root is that
    and the old one, one over the other."""
    live = runstate.read(paths, container_id) if locks.held(paths, container_id) else None
    if live is None:
        return ""
    try:
        with open(f"/proc/{live['pid']}/mountinfo", "rb", buffering=0) as file:
            tops = [line for line in file.read().splitlines() if line.split()[4] == b"/"]
    except OSError:
        return ""
    name = os.fsencode("/" + os.path.basename(ahead) + "/upper")
    if not any(name in line for line in tops):
        return ""
    return "next" if len(tops) == 1 else "both"


def _written(upper: str) -> bool:
    try:
        return bool(os.listdir(upper))
    except FileNotFoundError:
        return True  # it has been renamed: after the row


def sweep(engine: Engine) -> Iterator[str]:
    """Recover all containers, and remove states that nobody needs; in words."""
    for container_id in os.listdir(engine.paths.containers):
        if not unfinished(engine.paths, container_id):
            continue
        try:
            with files.Lock(gate.still(engine.paths.run_container(container_id)), blocking=False):
                yield from recover(engine, container_id)
        except BlockingIOError:
            continue  # somebody is at it
        except FileNotFoundError:  # it does not run
            try:
                lock = locks.take(engine.paths, container_id)
            except BlockingIOError:
                continue
            try:
                yield from recover(engine, container_id)
            finally:
                locks.let_go(engine.paths, container_id, lock)
    for state_id in states.collect(engine.paths, engine.db):
        yield f"snapshot {state_id[:12]}, which nothing stood on: removed"


def check(engine: Engine) -> list[str]:
    """What is wrong with states, in words."""
    problems = []
    known = {state.id: state for state in states.every(engine.db, all=True)}
    for state in known.values():
        said = f"snapshot {state.name or state.id[:12]}"
        if not os.path.isdir(states.folder(engine.paths, state.id) + "/fs") and states.find(
            engine.db, state.id
        ):
            owner = state.about["container"]
            if state.id not in unfinished(engine.paths, owner):
                problems.append(f"{said} has lost its files: `estiva snapshot rm {state.name or state.id}`")
        for word in state.about["below"]:
            if word.removeprefix(STATE) not in known:
                problems.append(f"{said} stands on snapshot {word[len(STATE) :][:12]}, which is not here")
        if engine.store.images.find(state.image) is None and states.find(engine.db, state.id):
            problems.append(f"{said} has lost its image {state.image[:19]}")
    return problems
