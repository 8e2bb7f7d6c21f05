"""A container out of what the user asked: image -> merged config -> mount points -> folder and row.

create    a container that does not run yet
prepare   one that is about to run: its lock is held, its address taken, and `Start` goes on from there
"""

from __future__ import annotations

import os

from estiva import fastjson, settings
from estiva.engine.containers import folder
from estiva.engine.images.find import allow_refetch, find_beginning, find_image
from estiva.engine.launch import launch
from estiva.engine.launch.start import Start
from estiva.engine.mounts import points as mount_points
from estiva.engine.spec import judge, oci_config
from estiva.engine.state import eventlog, locks, names, record, teardown
from estiva.engine.state.net import addresses
from estiva.errors import EngineError, EstivaError, NameTaken, NotFound, Unsupported
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.images.find import Progress
    from estiva.engine.mounts.others import Others
    from estiva.engine.state.config_types import Config, HostConfig
    from estiva.engine.state.net.addresses import Taken
    from estiva.engine.state.types import Record
    from estiva.network.types import EndpointRecord
    from estiva.store.database import Transaction
    from estiva.store.images import Image

    Wished = dict[str, EndpointRecord]  # by the network's id


ATTEMPTS = 8  # invented names


def create(
    engine: Engine,
    config: dict[str, Any],
    host_config: dict[str, Any],
    *,
    name: str | None = None,
    pull: str = "missing",
    platform: str | None = None,
    progress: Progress = None,
    networking: dict[str, Any] | None = None,
) -> Record:
    """Make a container that does not run yet; its record. Raises for a bad option, image, name or mount.

    `config` and `host_config` are Docker's Config and HostConfig; both are completed in place. `networking`:
    its NetworkingConfig.EndpointsConfig, see spec/endpoints.py. `pull`: missing, always or never. `platform`:
    as `--platform`, for the image.
    """
    made, _, lock, _ = make(
        engine, config, host_config, name, pull, platform, progress, "created", networking=networking
    )
    locks.leave(engine.paths, made["Id"])
    launch.close_lock(engine, lock)
    return made


def prepare(
    engine: Engine,
    config: dict[str, Any],
    host_config: dict[str, Any],
    *,
    name: str | None = None,
    pull: str = "missing",
    platform: str | None = None,
    progress: Progress = None,
    begins: Callable[[], object] | None = None,
    networking: dict[str, Any] | None = None,
) -> Start:
    """Make a container that starts now, as `create` does but in one transaction with its address. `begins` is
    called when the image is there and before anything is made.
    """
    made, image, lock, address = make(
        engine, config, host_config, name, pull, platform, progress, "running", begins, networking
    )
    return Start(engine, made, lock, address, image)


def _warn(engine: Engine, defaults: dict[str, Any], progress: Callable[[Any], object]) -> None:
    """Of what the settings want for the default bridge, and is not done yet."""
    from estiva.network.default import dual

    for line in dual.unheeded(engine.db, defaults):
        progress({"id": "", "status": "warning", "message": line})


def make(
    engine: Engine,
    config: dict[str, Any],
    host_config: dict[str, Any],
    name: str | None,
    pull: str,
    platform: str | None,
    progress: Progress,
    status: str,
    begins: Callable[[], object] | None = None,
    networking: dict[str, Any] | None = None,
) -> tuple[Record, Image, int, Taken]:
    """(record, image, lock, addresses): the container as a row, with its folder. Undone on error."""
    asked, host = judged(engine, config, host_config)
    if host.get("NetworkMode") in (None, "", "default"):
        host["NetworkMode"] = "bridge"
    wished: Wished = {}
    if networking or host["NetworkMode"] not in ("bridge", "none", "host"):
        from estiva.engine.spec import endpoints

        wished = endpoints.settle(engine, asked, host, networking or {}, progress)
    if os.geteuid():
        raise Unsupported("containers can only be run by root, yet", hint="use sudo")
    name = names.check(name) if name else None
    if platform:
        from estiva.oci.platform import Platform

        Platform.parse(platform)
    if progress is not None:
        judge.warn(host, progress)
        if status == "running" and host["NetworkMode"] == "bridge" and (defaults := settings.read()):
            _warn(engine, defaults, progress)
    if oci_config.special(host):
        from estiva.engine.spec import namespaces

        namespaces.settle(engine, asked, host, starts=status == "running")
    image = beginning(engine, asked, host, pull, platform, progress)
    if pull != "never":
        allow_refetch(engine)
    known = others_of(engine, host, pull, progress)
    merged = record.merge(asked, image.config)
    if host.get("Profile"):
        from estiva.engine.spec import profile

        profile.place(merged, host)
    if merged.get("HealthcheckOnFailureAction"):
        from estiva.engine.state.life import health

        health.check_action(merged)
    if begins is not None:
        begins()
    container_id = launch.new_id(engine, host if status == "running" else None)
    lock = -1
    try:
        made = record.new(container_id, name or "", image, merged, host, [])
        oci_config.make(made, [], {})  # what this machine lacks is found out before anything is written
        if name and (merged.get("Volumes") or host.get("Binds") or host.get("Mounts")):
            refuse_taken(engine, name)
        lock = launch.take_lock(engine, container_id)
        points = made["Mounts"] = mount_points.plan(merged, host, engine.store.volumes, container_id, known)
        folder.make(engine, container_id, image, durable=status == "created")
        volumes = [point["Name"] for point in points if point.pop("Made", False)]
        fresh = [point for point in points if point.pop("New", False)]
        address = insert(engine, made, name, status, wished)
        folder.fill(engine, fresh, image)
        eventlog.append(
            engine.paths,
            *(eventlog.line("volume", "create", volume, {"driver": "local"}) for volume in volumes),
            eventlog.line("container", "create", container_id, eventlog.about(made)),
        )
    except BaseException as error:
        if lock >= 0:
            unmake(engine, container_id, lock)
        else:
            launch.give_up(engine, container_id)
        # until the row is there, another may remove the image and its layers with it
        if isinstance(error, (OSError, EstivaError)) and engine.store.images.find(image.id) is None:
            raise removed(asked["Image"]) from None
        raise
    return made, image, lock, address


def beginning(
    engine: Engine, asked: Config, host: HostConfig, pull: str, platform: str | None, progress: Progress
) -> Image:
    """The image; of a snapshot with processes, `asked` and `host` become as those are."""
    image = find_beginning(engine, asked["Image"], pull, platform, progress)
    if image.memory:
        from estiva.engine.containers.snapshots import memory

        memory.begin(engine, image, asked, host)
    return image


def others_of(engine: Engine, host: HostConfig, pull: str, progress: Progress) -> Others | None:
    """What the mounts name of other containers and images; a missing image is pulled."""
    if not host.get("Mounts") and not host.get("VolumesFrom"):
        return None
    from estiva.engine.mounts import others

    def image(ref: str) -> str:  # an id can't be pulled, so "always" is for the container's own
        return find_image(engine, ref, "never" if pull == "never" else "missing", None, progress).id

    return others.Others(engine, host, image)


def judged(engine: Engine, config: dict[str, Any], host_config: dict[str, Any]) -> tuple[Config, HostConfig]:
    """What is asked for, and what the snapshot that it is made from, and the settings file, say of the rest.
    Raises InvalidInput, Conflict."""
    if not host_config.get("Profile") and os.path.isdir(engine.paths.states):
        from estiva.engine.images import standing

        if inherited := standing.profile(engine, config.get("Image")):
            host_config["Profile"] = inherited
    defaults = settings.read()
    if defaults:
        from estiva.engine.spec import preset

        preset.fill(host_config, defaults)
    return judge.check(config, host_config)


def unmake(engine: Engine, container_id: str, lock: int) -> None:
    """Undo what `make` did, as far as that can be done: the first error is the one to tell."""
    undone = True
    try:
        teardown.forget(engine.paths, engine.db, container_id)
    except (OSError, EstivaError):
        undone = False  # a sweep finds what is left
    try:
        if undone or engine.direct:  # else this program's spawner sees to it
            locks.leave(engine.paths, container_id)
    except OSError:
        undone = False
    launch.give_up(engine, container_id, undone)
    launch.close_lock(engine, lock)


def insert(engine: Engine, made: Record, name: str | None, status: str, wished: Wished) -> Taken:
    """Write the row, with a name that nobody has, and take addresses if it starts now."""
    volumes = {point["Name"] for point in made["Mounts"] if point["Type"] == "volume"}
    for attempt in range(ATTEMPTS):
        chosen = name or names.invent(attempt)
        with engine.db.write() as transaction:
            taken = containers.named(transaction, chosen)
            gone = missing_volumes(transaction, volumes) if volumes else ()
            if not taken and not gone:
                return write_row(transaction, made, chosen, status, wished)
        for volume in gone:  # removed since it was found: made again, and from now on the container's
            engine.store.volumes.create(volume, user=made["Id"])
        if not taken:
            continue
        # a container whose monitor was killed may be a --rm one, and give the name back
        dead = taken[1] == "running" and settled_if_dead(engine, taken[0])
        if name is not None and (attempt > 0 or not dead):
            raise in_use(chosen, taken[0])
    raise EngineError("no free name was found", hint="give one with --name")


def missing_volumes(reader: Transaction, volumes: set[str]) -> list[str]:
    """Loaded when there are some."""
    from estiva.store.volumes import gone

    return gone(reader, volumes)


def settled_if_dead(engine: Engine, container_id: str) -> bool:
    """Rare, so what it takes is loaded then."""
    from estiva.engine.state.life import reconcile

    return reconcile.reconcile_if_dead(engine.paths, engine.db, container_id)


def in_use(name: str, container_id: str) -> NameTaken:
    return NameTaken(
        f'the name "{name}" is in use by container {container_id[:12]}',
        name,
        container_id,
        hint=f"`estiva rm {name}` removes it, `estiva rename` frees the name",
    )


def refuse_taken(engine: Engine, name: str) -> None:
    """Raise Conflict while no volume has been made yet; `insert` is what decides."""
    taken = containers.named(engine.db, name)
    if taken and (taken[1] != "running" or locks.held(engine.paths, taken[0])):
        raise in_use(name, taken[0])


def write_row(transaction: Transaction, made: Record, name: str, status: str, wished: Wished) -> Taken:
    """The rows of a container; what it gets of its networks if it starts now."""
    made["Name"] = "/" + name
    needed = {made["Image"]: made["Config"]["Image"]}
    needed.update((point["ImageId"], point["Source"]) for point in made["Mounts"] if point["Type"] == "image")
    for image_id, called in needed.items():
        if not transaction.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone():
            raise removed(called)
    if "UsernsMode" in made["HostConfig"]:
        from estiva.engine.spec import userns

        if userns.wants_range(made["HostConfig"]):
            userns.allocate(transaction, made)
    volumes = [point["Name"] for point in made["Mounts"] if point["Type"] == "volume"]
    if status == "running":
        made["State"]["Began"] = made["Created"]
    if "States" in made:
        from estiva.store import states

        states.use(transaction, made["Id"], made["States"])
    containers.add(transaction, made["Id"], name, made["Image"], status, fastjson.dumps(made), volumes)
    mode = made["HostConfig"]["NetworkMode"]
    if wished:
        from estiva.network import networks

        for network_id, endpoint in wished.items():
            networks.belong(transaction, network_id, made["Id"], endpoint)
    if status != "running":
        return ""
    return addresses.take_in(transaction, made["Id"], mode, fresh=not wished)


def removed(image: str) -> NotFound:
    return NotFound(f"image {image} was removed just now")
