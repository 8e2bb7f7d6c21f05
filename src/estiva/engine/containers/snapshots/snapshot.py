"""Snapshots of containers: what one has written becomes a state, from which others are made.

    it does not run, or only our own init does    nothing is copied: its upper directory is the state, and it
                                                  goes on with a fresh one above it (taken.py)
    else                                          a copy, with the container frozen meanwhile

A state (store/states.py) stands on the states that its container stood on. There may be MOST of them: at
the next, all are joined into one, whose files are those that the others have.
"""

from __future__ import annotations

import os

from estiva import files
from estiva.engine.containers import changes, folder
from estiva.engine.containers.snapshots import memory as processes
from estiva.engine.containers.snapshots import taken
from estiva.engine.mounts import initlayer
from estiva.engine.state import based, eventlog, gate, locks, lookup, names, runstate
from estiva.errors import Conflict, EngineError, InvalidInput, NotFound, Unsupported
from estiva.runtime.cgroup import factory
from estiva.runtime.rootfs import reroot
from estiva.runtime.rootfs.rootfs import Rootfs
from estiva.store import states
from estiva.store.layers.mounts import OVERLAY_OPTIONS
from estiva.store.snapshots import make_upper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import Record, RunState
    from estiva.store.images import Image
    from estiva.store.states import State

MOST = 64  # states below each other, of the 500 lowerdirs that overlayfs takes
TRIES = 50  # where the container starts or ends just then


class Made:
    """A state, and the hold on it: one without a name stays until `release`, however few stand on it."""

    def __init__(self, engine: Engine, state: State, hold: int) -> None:
        self.engine = engine
        self.state = state
        self.hold = hold

    def release(self) -> None:
        if self.hold >= 0:
            fd, self.hold = self.hold, -1
            let_go(fd)


def let_go(hold: int) -> None:
    """Close the fd that holds a state's folder, of which a fork of the program would have a copy."""
    from estiva.engine.launch import forks

    forks.fds.discard(hold)
    os.close(hold)


def create(engine: Engine, ref: str, name: str | None = None, *, memory: bool = False) -> Made:
    """Make a snapshot of a container; with `memory`, its processes too. Raises NotFound, Conflict,
    InvalidInput, Unsupported."""
    record = lookup.resolve(engine, ref)
    if memory:
        processes.check(record)
    if name is not None:
        name = check_name(engine, name)
    for _ in range(TRIES):
        with changes.Whole(engine, record):
            made = (
                _running(engine, record, name, memory)
                if record["State"]["Running"]
                else _stopped(engine, record, name)
            )
        if made is not None:
            eventlog.container(
                engine.paths, record, "snapshot", snapshot=made.state.id, snapshotName=name or ""
            )
            return made
        record = lookup.resolve(engine, record["Id"])
        if memory:
            processes.check(record)
    raise Conflict(
        f"container {record['Name'].removeprefix('/')} is being started or ended", hint="try again"
    )


def check_name(engine: Engine, name: str) -> str:
    """A name that may be given. Raises InvalidInput, Conflict."""
    try:
        name = names.check(name)
    except InvalidInput as error:
        error.message = error.message.replace("container name", "snapshot name")
        raise
    if name.lower() != name:
        raise InvalidInput(
            f'invalid snapshot name "{name}"', hint="it is used where an image's name is: no capital letters"
        )
    taken_by = states.find(engine.db, name)
    if taken_by is not None and taken_by.name == name:
        raise Conflict(
            f'the name "{name}" is in use by snapshot {taken_by.id[:12]}',
            hint=f"`estiva snapshot rm {name}` removes it",
        )
    if engine.store.images.find(name) is not None:
        raise Conflict(
            f'the name "{name}" is an image\'s', hint="a container could not be made from the snapshot by it"
        )
    return name


def _place(engine: Engine) -> tuple[int, str]:
    """(fd that holds it, id) of a new state's folder."""
    try:
        os.mkdir(engine.paths.states, 0o700)
    except FileExistsError:
        pass
    hold, aside = files.new_directory(engine.paths.states, ".new")
    state_id = os.urandom(32).hex()
    os.rename(aside, states.folder(engine.paths, state_id))
    from estiva.engine.launch import forks

    forks.fds.add(hold)
    return hold, state_id


def _made(engine: Engine, state_id: str, hold: int) -> Made:
    return Made(engine, states.resolve(engine.db, state_id), hold)


def _stopped(engine: Engine, record: Record, name: str | None) -> Made | None:
    try:
        lock = locks.take(engine.paths, record["Id"])
    except BlockingIOError:
        return None
    try:
        image = based.image_of(engine, record)
        folder.mend(engine, record, image)
        hold, state_id = _place(engine)
        try:
            if len(image.states) >= MOST:
                _copy(engine, record, state_id, image.states, name)
            else:
                _ahead(engine, record, state_id)
                taken.keep(engine, record, state_id, name)
                taken.settle(engine.paths, record["Id"], state_id)
            return _made(engine, state_id, hold)
        except BaseException:
            _undo(engine, record, state_id, hold)
            raise
    finally:
        locks.let_go(engine.paths, record["Id"], lock)


def _undo(engine: Engine, record: Record, state_id: str, hold: int) -> None:
    """As far as nothing has come of it: else it is for `recover`."""
    if states.find(engine.db, state_id) is None:
        ahead = taken.next_folder(engine.paths, record["Id"], state_id)
        if not taken.mounted(engine.paths, record["Id"], ahead):
            files.remove_tree(ahead)
        files.remove_tree(states.folder(engine.paths, state_id))
    let_go(hold)


def _ahead(engine: Engine, record: Record, state_id: str) -> str:
    """The container's next read-write layer, empty."""
    ahead = taken.next_folder(engine.paths, record["Id"], state_id)
    files.make_directory(ahead)
    make_upper(ahead + "/upper", engine.paths.container(record["Id"]) + "/upper")
    os.mkdir(ahead + "/work", 0o700)
    return ahead


def _running(engine: Engine, record: Record, name: str | None, memory: bool) -> Made | None:
    live = runstate.read(engine.paths, record["Id"])
    if live is None or not locks.held(engine.paths, record["Id"]):
        return None
    run = engine.paths.run_container(record["Id"])
    try:
        with files.Lock(gate.still(run)):
            for _ in taken.recover(engine, record["Id"]):
                pass
            record = lookup.resolve(engine, record["Id"])
            hold, state_id = _place(engine)
            try:
                done = False
                with gate.Closed(run):
                    if not memory and (done := _reroot(engine, record, live, state_id)):
                        _keep(engine, record, state_id, name)
                if not done:
                    with Still(engine, run, live):
                        if memory:
                            processes.keep(engine, record, live, state_id)
                        image = based.image_of(engine, record)
                        _copy(engine, record, state_id, image.states, name, memory)
                return _made(engine, state_id, hold)
            except BaseException:
                _undo(engine, record, state_id, hold)
                raise
    except (FileNotFoundError, Conflict) as error:
        if isinstance(error, Conflict) and locks.held(engine.paths, record["Id"]):
            raise
        return None  # it has ended


def _keep(engine: Engine, record: Record, state_id: str, name: str | None) -> None:
    """It has its new root already: so the rows come, without the name if that can't be."""
    try:
        taken.keep(engine, record, state_id, name)
    except Conflict:
        taken.keep(engine, record, state_id, None)
        raise
    finally:
        taken.settle(engine.paths, record["Id"], state_id)


class Still:
    """A block in which a container that runs is frozen. The caller has the lock gate.still."""

    def __init__(self, engine: Engine, run: str, live: RunState) -> None:
        self.run = run
        self.cgroup = factory.open(live["cgroup"])
        self.thaws = False

    def __enter__(self) -> None:
        with gate.Closed(self.run):
            self.freeze()

    def freeze(self) -> None:
        """By who has closed its gate."""
        now = runstate.read_in(self.run)
        if now is not None and not now.get("paused"):
            self.cgroup.freeze()
            self.thaws = True

    def __exit__(self, *exception: object) -> None:
        if self.thaws:
            try:
                self.cgroup.thaw()
            except NotFound:
                pass  # it was killed meanwhile


def _reroot(engine: Engine, record: Record, live: RunState, state_id: str) -> bool:
    """Give a container in which only our own init runs a fresh read-write layer over the one that it has.
    False, with all as it was, where that can't be."""
    image = based.image_of(engine, record)
    if (
        not _alone(record, live)
        or len(image.states) >= MOST
        or not os.listdir(engine.paths.container(record["Id"]) + "/upper")
    ):
        return False  # of what is empty, a copy is as cheap, and the container does not stand on it
    still = Still(engine, engine.paths.run_container(record["Id"]), live)
    still.freeze()  # what an agent executes meanwhile would write to a root that is given up again
    try:
        return _alone(record, live) and _over(engine, record, live, state_id, image)
    finally:
        still.__exit__()


def _alone(record: Record, live: RunState) -> bool:
    """Whether only our own init runs in it."""
    mine = record["HostConfig"].get("Init")
    return bool(mine) and factory.open(live["cgroup"]).processes() == [live["pid"]]


def _over(engine: Engine, record: Record, live: RunState, state_id: str, image: Image) -> bool:
    """`_reroot` of one that stands still."""
    ahead = _ahead(engine, record, state_id)
    volatile = (("volatile", ""),) if record["HostConfig"].get("AutoRemove") else ()
    held: list[int] = []
    try:
        with engine.store.layers.mount(image.chain) as lowers:
            below = [
                engine.paths.container(record["Id"]) + "/upper",
                *lowers,
                initlayer.provide(engine.paths),
            ]
            rootfs = Rootfs(below, ahead + "/upper", ahead + "/work", options=(*OVERLAY_OPTIONS, *volatile))
            if live.get("root"):
                held.append(os.open(f"/proc/{live['pid']}/ns/user", os.O_RDONLY | os.O_CLOEXEC))
                rootfs.namespace, rootfs.owner = held[0], (live["root"][0], live["root"][1])
            done = reroot.reroot(live["pid"], rootfs)
    except reroot.Lost:
        factory.open(live["cgroup"]).kill()
        name = record["Name"].removeprefix("/")
        raise EngineError(f"container {name} was ended: its root filesystem was lost in a snapshot") from None
    except Unsupported:
        done = False  # of id-mapped layers
    finally:
        for fd in held:
            os.close(fd)
    if not done:
        files.remove_tree(ahead)
    return done


def _copy(
    engine: Engine,
    record: Record,
    state_id: str,
    below: list[str],
    name: str | None,
    memory: bool = False,
) -> None:
    """A state that is a copy of what the container has written; its row. Of too many, all in one."""
    from estiva.store.layers.merge import merge

    target = states.folder(engine.paths, state_id) + "/fs"
    os.mkdir(target, 0o700)
    sources = [engine.paths.container(record["Id"]) + "/upper"]
    if len(below) >= MOST:
        sources += [engine.store.layers.mounts.state(word) for word in reversed(below)]
        below = []
    merge(sources, target, copied=1)
    about = taken.about(record, below, copied=True)
    if memory:
        about["memory"] = processes.about(record)
    with engine.db.write() as transaction:
        states.add(transaction, state_id, name, record["Image"], about)


# --- what is there ---------------------------------------------------------------------------------------


def listing(engine: Engine) -> list[State]:
    """Those that have a name, newest first."""
    return states.every(engine.db)


def resolve(engine: Engine, word: str) -> State:
    """One by its name, its id or 12 digits of that. Raises NotFound."""
    return states.resolve(engine.db, word)


def collect(engine: Engine) -> None:
    """Remove those that nobody needs any more."""
    if states.needed(engine.db):
        states.collect(engine.paths, engine.db)


def remove(engine: Engine, word: str) -> State:
    """Take a snapshot's name away; its files go with the last container and snapshot that stands on it."""
    with engine.db.write(freeing=True) as transaction:
        state = states.resolve(transaction, word)
        states.unname(transaction, state.id)
    states.collect(engine.paths, engine.db)
    eventlog.write(engine.paths, "snapshot", "remove", state.id, {"name": state.name})
    return state


def size(engine: Engine, state: State) -> int:
    """Bytes on the disk of what it holds itself."""
    from estiva.store.upkeep.usage import disk

    return disk(states.folder(engine.paths, state.id) + "/fs") + disk(states.memory(engine.paths, state.id))


def inspect(engine: Engine, word: str) -> dict[str, object]:
    """All that is known of one. Raises NotFound."""
    from estiva.store.layers.mounts import STATE
    from estiva.timestamps import rfc3339

    state = states.resolve(engine.db, word)
    return {
        "Id": state.id,
        "Name": state.name,
        "Created": rfc3339(int(state.created * 1e9)),
        "Image": state.image,
        "Container": state.about["container"],
        "Copied": state.about["copied"],
        "Memory": "memory" in state.about,
        "StandsOn": [below.removeprefix(STATE) for below in state.about["below"]],
        "UsedBy": states.users(engine.db, state.id),
        "Size": size(engine, state),
        "Config": state.about["config"],
    }
