"""What a lost database knew, as far as the rest of the state tells it (`system check --repair`).

A database that is made where there are containers, volumes or layers already is marked so (`lost` in meta,
store/database.py): nothing is swept then, for all of it would be without a row. Volumes and running
containers come back, but for labels and options that stood in the database alone; layers that are their tar
too, so that a pull finds them. What stopped containers wrote is put aside.
"""

from __future__ import annotations

import os
import time

from estiva import fastjson, files
from estiva.engine.state import locks, record, runstate
from estiva.errors import EstivaError, InvalidInput
from estiva.linux import fs, procinfo
from estiva.network import ipam, networks
from estiva.network.subnet import Subnet
from estiva.oci import digest as digests
from estiva.store import containers
from estiva.store.database import LOST, DatabaseDamaged
from estiva.store.volumes import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiva.engine import Engine
    from estiva.engine.state.types import MountPoint, Record, RunState


def lost(engine: Engine) -> list[str]:
    """A line for people if the database was lost and nobody has adopted anything since."""
    if not is_lost(engine):
        return []
    if _needed(engine):
        return [
            "the database was lost, and containers run on layers that can't be adopted meanwhile: run"
            " `estiva system check --repair` again once they have ended"
        ]
    return [
        f"the database was lost: `estiva system check --repair` adopts what is left below {engine.paths.root}"
    ]


def is_lost(engine: Engine) -> bool:
    return bool(engine.db.read("SELECT 1 FROM meta WHERE key = ?", (LOST,)))


def adopt(engine: Engine) -> list[str]:
    """Adopt what there is, if the database was lost; what was done, in words."""
    done: list[str] = []
    try:
        containers.every(engine.db)
        for table in ("images", "names", "layers", "blobs", "volumes", "meta"):
            engine.db.read(f"SELECT * FROM {table}")
    except DatabaseDamaged:
        done.append(_put_aside(engine))
    if is_lost(engine):
        done += [*_volumes(engine), *_running(engine), *_layers(engine)]
        if not _needed(engine):
            done += [*_stopped(engine), *_states(engine)]
            with engine.db.write() as transaction:
                transaction.execute("DELETE FROM meta WHERE key = ?", (LOST,))
    return done


def _put_aside(engine: Engine) -> str:
    """A file that is no database is in nobody's way under another name."""
    engine.close_database()
    path = engine.paths.database
    aside = f"{_lost_folder(engine)}/estiva.db-{int(time.time())}"
    for suffix in ("-wal", "-shm"):
        try:
            os.rename(path + suffix, aside + suffix)
        except FileNotFoundError:
            pass
    os.rename(path, aside)
    return f"the database was damaged: it is in {aside} now, and a new one was begun"


def _lost_folder(engine: Engine) -> str:
    files.make_directory(engine.paths.root + "/lost", exist_ok=True)
    return engine.paths.root + "/lost"


def _volumes(engine: Engine) -> Iterator[str]:
    paths = engine.paths
    with files.Lock(paths.lock("volumes")):
        for name in sorted(os.listdir(paths.volumes)):
            try:
                path = f"{paths.volumes}/{check_name(name)}"
            except InvalidInput:
                continue
            if name.endswith(".gone") or not os.path.isdir(path + "/_data"):
                continue
            anonymous = len(name) == 64 and digests.is_hex(name)
            with engine.db.write() as transaction:
                added = transaction.execute(
                    "INSERT OR IGNORE INTO volumes (name, created, anonymous, labels) VALUES (?, ?, ?, '{}')",
                    (name, os.stat(path).st_mtime, int(anonymous)),
                ).rowcount
            if added:
                yield f"volume {name}: adopted"


def _running(engine: Engine) -> Iterator[str]:
    for container_id in sorted(os.listdir(engine.paths.run_containers)):
        if containers.status(engine.db, container_id) or not locks.held(engine.paths, container_id):
            continue
        try:
            live = runstate.read(engine.paths, container_id)
            if live is None or not os.path.isdir(engine.paths.container(container_id)):
                continue  # a step of a build, or it is being made
            made = _record(engine, live)
            _insert(engine, made, live)
        except (EstivaError, KeyError, TypeError) as error:
            yield f"container {container_id[:12]} runs, and can't be adopted: {error}"
            continue
        yield f"container {container_id[:12]} ({live['name']}), which runs: adopted"


def _record(engine: Engine, live: RunState) -> Record:
    process = live["process"]
    user = process.get("user") or {}
    made = record.new(
        live["id"],
        live["name"] or live["id"][:12],
        None,
        {
            "Image": "",
            "Cmd": list(process["args"]),
            "Env": list(process.get("env") or ()),
            "User": f"{user.get('uid', 0)}:{user.get('gid', 0)}",
            "WorkingDir": process.get("cwd") or "/",
            "Tty": bool(process.get("terminal")),
            "Labels": {},
        },
        {
            "NetworkMode": _mode(live),
            "LogConfig": {"Type": "json-file", "Config": {}},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        },
        _mounts(engine, live["pid"]),
    )
    made["State"]["StartedAt"] = live["started"]
    return made


def _mode(live: RunState) -> str:
    """Its network mode, as far as what it has tells."""
    network = live.get("network") or {}
    places = network.get("places")
    return places[0]["name"] if places else "bridge" if network else "none"


def _mounts(engine: Engine, pid: int) -> list[MountPoint]:
    """The volumes that a container has mounted. What its init's mountinfo (proc(5)) says is the container's
    word, who may mount what is called alike: a volume is known by the inode that is found there.
    """
    found: list[MountPoint] = []
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(1 << 22).splitlines()
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return found
    try:
        for line in lines:
            _, _, _, inside, target, options, *_ = line.split(" ")
            inside, target = procinfo.unescape(inside), procinfo.unescape(target)
            name = inside.removesuffix("/_data").rpartition("/")[2]
            source = f"{engine.paths.volumes}/{name}/_data"
            if not inside.endswith("/_data") or not name or not _same(root, target, source):
                continue
            point: MountPoint = {
                "Type": "volume", "Name": name, "Source": source, "Destination": target, "Driver": "local",
                "Mode": "", "RW": "ro" not in options.split(","), "Propagation": "",
            }  # fmt: skip
            found.append(point)
    finally:
        os.close(root)
    return found


def _same(root: int, target: str, source: str) -> bool:
    """Whether `target` below the root is the host's folder `source`."""
    try:
        fd = fs.open_in_root(root, target, os.O_PATH, follow=False)
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(source))
        finally:
            os.close(fd)
    except OSError:
        return False


def _insert(engine: Engine, made: Record, live: RunState) -> None:
    name = made["Name"].removeprefix("/")
    volumes = [point["Name"] for point in made["Mounts"]]
    with engine.db.write() as transaction:
        if containers.named(transaction, name):  # another of that name was made since
            name = live["id"][:12]
            made["Name"] = f"/{name}"
        text = fastjson.dumps(made)
        containers.add(transaction, live["id"], name, None, "running", text, volumes)
        network = live.get("network") or {}
        for place in network.get("places") or ():
            networks.adopt_in(transaction, live["id"], place)
        if network.get("address") and "places" not in network:
            subnet = Subnet(network["address"], network["prefix"], network["gateway"])
            ipam.adopt_in(transaction, live["id"], network["address"], subnet)


def _layers(engine: Engine) -> Iterator[str]:
    """Layers of the erofs driver are their tar too, which proves itself."""
    layers = engine.store.layers
    needed = set(_needed(engine))
    for name in sorted(os.listdir(engine.paths.layers)):
        tar = f"{engine.paths.blobs}/sha256/{name}"
        if not digests.valid(f"sha256:{name}") or layers.find(f"sha256:{name}") or not os.path.isfile(tar):
            continue
        if name in needed:
            continue  # it would be put in the place of what containers run on
        try:
            layers.apply_tar(tar, f"sha256:{name}")
        except (EstivaError, OSError):
            continue  # it is fetched again when its image is
        yield f"layer sha256:{name[:12]}: adopted"


def _needed(engine: Engine) -> list[str]:
    """Layers of the dir driver that running containers may lie on, without a row."""
    if not containers.running(engine.db):
        return []
    layers = engine.store.layers
    return [
        name
        for name in os.listdir(engine.paths.layers)
        if os.path.isdir(f"{engine.paths.layers}/{name}/fs") and not layers.find(f"sha256:{name}")
    ]


def _stopped(engine: Engine) -> Iterator[str]:
    paths = engine.paths
    for name in sorted(os.listdir(paths.containers)):
        if containers.status(engine.db, name) or locks.held(paths, name):
            continue
        if os.path.isdir(f"{paths.containers}/{name}/upper") and os.listdir(
            f"{paths.containers}/{name}/upper"
        ):
            aside = f"{_lost_folder(engine)}/{name}"
            os.rename(f"{paths.containers}/{name}", aside)
            yield f"container {name[:12]}, which did not run: what it wrote is in {aside}/upper"


def _states(engine: Engine) -> Iterator[str]:
    """What snapshots held; who runs on it goes on."""
    from estiva.store import states

    known = states.identifiers(engine.db)
    try:
        names = sorted(set(os.listdir(engine.paths.states)) - known)
    except FileNotFoundError:
        return
    for name in names:
        if os.path.isdir(states.folder(engine.paths, name) + "/fs"):
            aside = f"{_lost_folder(engine)}/{name}"
            os.rename(states.folder(engine.paths, name), aside)
            yield f"snapshot {name[:12]}: what it held is in {aside}/fs"
