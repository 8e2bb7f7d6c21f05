"""`system reset`: all that an engine has made on this machine is taken away, its state root last.

    1  the root is Estiva's and bound to this run root, nobody stores images, serves its registry or has
       something mounted in it; else nothing is touched
    2  the mark `reset` is written into the root: a reset that is killed from here on can be run again
    3  containers with their anonymous volumes, what killed processes left, those without a readable row
    4  the bridge with its firewall table, the empty cgroup above all containers, the mounts of layers
    5  the run root; the database; all else of the state root by the names that Estiva gives, then the mark

What else somebody has put into the two roots stays, and they with it. A step that fails is told, and the rest
is done: the mark stays then.
"""

from __future__ import annotations

import os

from estiva import fastjson, files
from estiva.errors import Conflict, EstivaError, InvalidInput, NotFound, StateError, oneline, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine

MARK = "reset"
DATABASE = ("estiva.db", "estiva.db-wal", "estiva.db-shm")
ROOT = (
    "estiva.db.migrate", "estiva.db.queue", "estiva.db.reserve", "blobs", "cache", "containers", "events.log",
    "events.log.1", "fixups",
    "ingest", "initlayer", "layers", "lost", "manifests", "registry", "states", "volumes", "writing.lock",
)  # fmt: skip
SOCKET = ".socket"  # of the resolver: network/dns/handover.py
RUN_ROOT = ("build", "containers", "events.lost", "layers", "names")
PATIENCE = 30.0  # seconds for the monitor of a killed container to go


def look(engine: Engine) -> dict[str, Any]:
    """What a reset would take away. Raises NotFound without a state root, Conflict where it may not be done.

    Returns {"containers", "running", "images", "volumes", "bytes": of all, -1 each where the database can't
    be read, "bridge": its name, or "", "registry": the folder of a registry of its own, or ""}.
    """
    paths = engine.paths
    again = _check(engine)
    found: dict[str, Any] = dict.fromkeys(("containers", "running", "images", "volumes"), -1)
    found["bridge"] = again.get("bridge", "")
    if os.path.exists(paths.database):
        try:
            _count(engine, found)
        except (EstivaError, OSError):
            pass  # damaged: it goes as it is
    from estiva.store.upkeep.usage import disk

    found["bytes"] = disk(paths.root)
    found["registry"] = registry if os.path.isdir(registry := paths.root + "/registry") else ""
    return found


def _count(engine: Engine, found: dict[str, Any]) -> None:
    from estiva.network import ipam
    from estiva.store import containers

    rows = containers.every(engine.db)
    found["containers"] = len(rows)
    found["running"] = sum(1 for row in rows if row[1] == "running")
    found["images"] = len(engine.store.images.list(all=True))
    found["volumes"] = len(engine.store.volumes.list())
    if engine.db.read("SELECT 1 FROM meta WHERE key LIKE 'network.%' LIMIT 1"):
        found["bridge"] = ipam.bridge_name()


def _check(engine: Engine) -> dict[str, Any]:
    """Step 1: what the mark of an earlier reset says, {} without one."""
    paths = engine.paths
    if not os.path.isdir(paths.root):
        raise NotFound(f"there is nothing to reset: {paths.root} is not there")
    marked: dict[str, Any] = {}
    if not os.listdir(paths.root):
        return marked  # by a reset that was killed before its very last step, or new
    try:
        marked = fastjson.stored(
            files.read_bounded(f"{paths.root}/{MARK}", 1 << 16).decode(), what="the mark"
        )
    except (OSError, ValueError, EstivaError):
        whole = all(
            os.path.isdir(path) for path in (paths.blobs + "/sha256", paths.containers, paths.volumes)
        )
        if not whole or not os.path.islink(paths.root + "/run"):
            raise InvalidInput(
                f"{paths.root} is not a state root of Estiva's", hint="--root DIR before the verb says which"
            ) from None
    bound = marked.get("run_root") or os.readlink(paths.root + "/run")
    if bound != paths.run_root:
        raise Conflict(
            f"{paths.root} is in use with the run root {bound}",
            hint=f"give --run-root {bound} before the verb",
        )
    for place in _mounted(paths.root):
        raise Conflict(
            f"{oneline(place)} is mounted in {paths.root}", hint=f"umount {oneline(place)}, if it may go"
        )
    for place in _mounted(paths.run_root):
        if not place.startswith(paths.run_layers + "/"):
            raise Conflict(
                f"{oneline(place)} is mounted in {paths.run_root}", hint=f"umount {oneline(place)}"
            )
    _free(paths.root + "/registry/lock", f"{paths.root}/registry is being served", "stop the server first")
    return marked


def _free(lock: str, message: str, hint: str) -> None:
    """Raises Conflict while somebody holds the lock of a file."""
    if os.path.exists(lock):
        try:
            with files.Lock(lock, blocking=False):
                pass
        except BlockingIOError:
            raise Conflict(message, hint=hint) from None


def _mounted(folder: str) -> list[str]:
    """The mount points below a folder: proc_pid_mountinfo(5)."""
    from estiva.linux.procinfo import unescape

    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        places = [unescape(line.split(" ")[4]) for line in file]
    return [place for place in places if place.startswith(folder + "/")]


def reset(engine: Engine) -> list[str]:
    """Do it; what could not be done, and what was kept because it is not Estiva's, in words.

    Raises as `look` does, before anything is touched.
    """
    found = look(engine)
    paths = engine.paths
    told: list[str] = []
    try:
        writing = files.Lock(paths.root + "/writing.lock", blocking=False).__enter__()
    except BlockingIOError:
        raise Conflict(
            "another command is storing images", hint="wait until it has ended, or end it"
        ) from None
    try:
        mark = fastjson.dumps({"run_root": paths.run_root, "bridge": found["bridge"]})
        files.atomic_write(f"{paths.root}/{MARK}", mark.encode())
        told += _containers(engine)
        told += _machine(engine, found["bridge"])
        engine.close_database()
        if not told:
            told += _folders(paths.run_root, RUN_ROOT, (".lock", SOCKET))
        if not told:
            told += _folders(paths.root, DATABASE)
            told += _folders(paths.root, ROOT)
        if not told:
            for name in ("run", MARK):
                _unlink(f"{paths.root}/{name}")
    finally:
        writing.__exit__(None, None, None)
    if told:
        return told
    return [
        f"kept: {oneline(place)}, which is not Estiva's"
        for root in (paths.run_root, paths.root)
        for place in _empty(root)
    ]


def _containers(engine: Engine) -> list[str]:
    """Step 3."""
    from estiva.engine.containers import control, sweep
    from estiva.engine.networks import upkeep
    from estiva.store import containers

    told = []
    if os.path.exists(engine.paths.database):
        try:
            engine.paths.prepare()
            for row in containers.every(engine.db):
                try:
                    control.remove(engine, row[0], force=True, volumes=True)
                except NotFound:
                    pass  # of itself
                except (EstivaError, OSError) as error:
                    told.append(f"container {row[0][:12]}: {error}")
            _, failed = sweep.sweep(engine, upkeep.network)
            if not told and not failed:
                return []
        except (StateError, OSError):
            pass  # damaged: by the run state alone
    told = []
    for container_id in _names(engine.paths.run_containers):
        try:
            _kill(engine, container_id)
        except (EstivaError, OSError) as error:
            told.append(f"container {container_id[:12]}: {error}")
    return told


def _kill(engine: Engine, container_id: str) -> None:
    """End a container of which nothing is known but its run folder, and its monitor with it."""
    import time

    from estiva.engine.state import locks, runstate, teardown
    from estiva.engine.state.cgroup import cgroup_path
    from estiva.engine.state.life import reconcile
    from estiva.runtime.cgroup import factory

    live = reconcile.left_of(engine.paths, container_id)
    group = factory.open((live and live.get("cgroup")) or cgroup_path(container_id))
    end = time.monotonic() + PATIENCE
    while True:
        teardown.kill_all(group)
        teardown.end_init(live)
        if live:
            runstate.end_stopped_monitor(live)
        if not locks.held(engine.paths, container_id):
            break
        if time.monotonic() > end:
            raise Conflict("its monitor does not end")
        time.sleep(0.05)
    group.remove()


def _machine(engine: Engine, bridge: str) -> list[str]:
    """Step 4."""
    told = []
    if bridge:
        try:
            _network(bridge)
        except (EstivaError, OSError) as error:
            told.append(f"the network {bridge}: {error}")
    try:
        if os.path.exists(engine.paths.database):
            _own_networks(engine)
    except (EstivaError, OSError) as error:
        told.append(f"networks: {error}")
    from estiva.runtime.cgroup.layout import layout, parent

    places = layout()
    for mount in (*places.mounts, *([places.hybrid] if places.hybrid else ())):
        try:
            os.rmdir(mount + parent())
        except OSError:
            pass  # not there, or another engine's containers are in it
    from estiva.linux import mount as linux_mount

    for place in reversed(_mounted(engine.paths.run_layers)):
        try:
            linux_mount.umount2(place, linux_mount.MNT_DETACH)
        except OSError as error:
            told.append(f"{oneline(place)} can't be unmounted: {reason(error)}")
    return told


def _network(bridge: str) -> None:
    """Take the bridge away, if nobody else's containers are plugged into it."""
    from estiva.linux.net import netlink
    from estiva.network import bridge as networks

    with netlink.Socket() as socket:
        link = socket.link(bridge)
        if link is not None and any(port.master == link.index for port in socket.links()):
            return
    networks.remove_all()


def _own_networks(engine: Engine) -> None:
    from estiva.network import bridges, networks

    try:
        if networks.any_there(engine.db):
            bridges.remove_all(engine.paths, engine.db)
    except StateError:
        bridges.remove_listed(engine.paths)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _folders(folder: str, known: tuple[str, ...], suffixes: tuple[str, ...] = ()) -> list[str]:
    """Remove what Estiva has made in a root; what could not be removed, in words."""
    told = []
    for name in _names(folder):
        aside = name.endswith(".tmp") and name.split(".", 1)[0] in (*known, MARK)  # of a killed atomic_write
        if name in known or aside or name.endswith(suffixes):
            try:
                files.remove_tree(f"{folder}/{name}")
            except OSError as error:
                told.append(f"{oneline(f'{folder}/{name}')} can't be removed: {reason(error)}")
    return told


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _empty(root: str) -> list[str]:
    """Remove a root with nothing left in it; what is in it otherwise. A mount point stays, empty."""
    try:
        os.rmdir(root)
    except OSError:
        return [f"{root}/{name}" for name in sorted(_names(root))]
    return []
