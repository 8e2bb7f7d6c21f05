"""`create`, `start` and `run`: from what the user asked to a plan for the monitor.

create   image -> merged config -> mount points -> row (status created)
start    row -> plan -> monitor
run      both at once, with one row written instead of two
"""

from __future__ import annotations

import os
import time

from estiva import fastjson
from estiva.engine import launch, life, mounts, names, plan, record, spec
from estiva.errors import (
    Conflict,
    Denied,
    EngineError,
    EstivaError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine import Engine
    from estiva.store.database import Transaction
    from estiva.store.images import Image

    Progress = Callable[[dict[str, Any]], object] | None

ATTEMPTS = 8  # invented names


def find_image(engine: Engine, ref: str, pull: str, platform: str | None, progress: Progress) -> Image:
    """The image of a run. `pull`: missing, always or never. Raises NotFound and what a pull raises."""
    if pull not in ("missing", "always", "never"):
        raise InvalidInput(f"invalid --pull: {pull}", hint="always, missing or never")
    image = engine.store.images.find(ref) if pull != "always" else None
    if image is not None and platform:
        from estiva.oci.platform import Platform

        if not Platform.parse(platform).accepts(Platform.of(image.config)):
            image = None
    if image is None:
        if pull == "never":
            what = f"{ref} for {platform}" if platform else ref
            ask = f"--platform {platform} {ref}" if platform else ref
            raise NotFound(f"no such image: {what}", hint=f"`estiva pull {ask}` fetches it")
        from estiva.engine import images

        try:
            image = images.pull(engine, ref, platform=platform, progress=progress)
        except (NotFound, Denied, Unavailable) as error:
            what = f"image {ref}" if pull == "always" else f"image {ref} is not here and"
            error.message = f"{what} can't be pulled: {error.message}"
            raise
    return image


def create(
    engine: Engine,
    config: dict[str, Any],
    host_config: dict[str, Any],
    *,
    name: str | None = None,
    pull: str = "missing",
    platform: str | None = None,
    progress: Progress = None,
    cidfile: str = "",
) -> dict[str, Any]:
    """Make a container that does not run yet; its record. Raises for a bad option, image, name or mount."""
    if not cidfile:
        return prepare(engine, config, host_config, name, pull, platform, progress, "created")[0]
    from estiva.engine.cidfile import CidFile

    with CidFile(cidfile) as file:
        made = prepare(engine, config, host_config, name, pull, platform, progress, "created")[0]
        try:
            file.write(made["Id"])
        except BaseException:
            life.forget(engine.paths, engine.db, made["Id"])
            raise
    return made


def prepare(
    engine: Engine,
    config: dict[str, Any],
    host_config: dict[str, Any],
    name: str | None,
    pull: str,
    platform: str | None,
    progress: Progress,
    status: str,
) -> tuple[dict[str, Any], Image, int, str]:
    """(record, image, lock or -1, address or ""): the container as a row, with its folder. Undone on
    error.
    """
    if os.geteuid():
        raise Unsupported("containers can only be run by root, yet", hint="use sudo")
    name = names.check(name) if name else None
    if platform:
        from estiva.oci.platform import Platform

        Platform.parse(platform)
    host_config.setdefault("NetworkMode", "bridge")
    if host_config["NetworkMode"] == "default":
        host_config["NetworkMode"] = "bridge"
    if spec.special(host_config):
        from estiva.engine import sharing

        sharing.settle(engine, config, host_config, starts=status == "running")
    image = find_image(engine, config["Image"], pull, platform, progress)
    config = record.merge(config, image.config)
    container_id = os.urandom(32).hex()
    made = record.new(container_id, name or "", image, config, host_config, [])
    spec.make(made, [], {})  # every option is checked before anything is written
    if host_config.get("PortBindings"):
        from estiva.engine import ports

        ports.wanted(config, host_config)
    if name and (config.get("Volumes") or host_config.get("Binds") or host_config.get("Mounts")):
        refuse_taken(engine, name)
    points = made["Mounts"] = mounts.plan(config, host_config, engine.store.volumes)
    lock = -1
    try:
        lock = life.take(engine.paths, container_id, new=True)
        directory = engine.paths.container(container_id)
        os.mkdir(directory, 0o700)
        engine.store.snapshots.prepare(image.diff_ids, directory)
        address = insert(engine, made, name, status)
        fill_volumes(engine, made, image)
    except BaseException as error:
        try:
            mounts.undo(points, engine.store.volumes)
            life.forget(engine.paths, engine.db, container_id)
        except (OSError, EstivaError):
            pass  # the first error is the one to tell; a sweep finds what is left
        life.leave(engine.paths, container_id)
        if lock >= 0:
            os.close(lock)
        # until the row is there, another may remove the image and its layers with it
        if isinstance(error, (OSError, EstivaError)) and engine.store.images.find(image.id) is None:
            raise removed(made) from None
        raise
    if status != "running":
        life.leave(engine.paths, container_id)
        os.close(lock)
        lock = -1
    return made, image, lock, address


def insert(engine: Engine, made: dict[str, Any], name: str | None, status: str) -> str:
    """Write the row, with a name that nobody has, and take an address if it starts now on the bridge."""
    for attempt in range(ATTEMPTS):
        chosen = name or names.invent(attempt)
        with engine.db.write() as transaction:
            taken = transaction.execute(
                "SELECT id, status FROM containers WHERE name = ?", (chosen,)
            ).fetchone()
            if not taken:
                return write_row(transaction, made, chosen, status)
        # a container whose monitor was killed may be a --rm one, and give the name back
        dead = taken[1] == "running" and life.reconcile_if_dead(engine.paths, engine.db, taken[0])
        if name is not None and (attempt > 0 or not dead):
            raise in_use(chosen, taken[0])
    raise EngineError("no free name was found", hint="give one with --name")


def in_use(name: str, container_id: str) -> Conflict:
    return Conflict(
        f'the name "{name}" is in use by container {container_id[:12]}',
        hint=f"`estiva rm {name}` removes it, `estiva rename` frees the name",
    )


def refuse_taken(engine: Engine, name: str) -> None:
    """Raise Conflict while no volume has been made yet; `insert` is what decides."""
    for container_id, status in engine.db.read("SELECT id, status FROM containers WHERE name = ?", (name,)):
        if status != "running" or life.held(engine.paths, container_id):
            raise in_use(name, container_id)


def write_row(transaction: Transaction, made: dict[str, Any], name: str, status: str) -> str:
    """The rows of a container; its address, if it gets one."""
    made["Name"] = "/" + name
    if not transaction.execute("SELECT 1 FROM images WHERE id = ?", (made["Image"],)).fetchone():
        raise removed(made)
    if "UsernsMode" in made["HostConfig"]:
        from estiva.engine import userns

        if userns.wants_range(made["HostConfig"]):
            userns.allocate(transaction, made)
    transaction.execute(
        "INSERT INTO containers (id, name, image, status, created, record) VALUES (?, ?, ?, ?, ?, ?)",
        (made["Id"], name, made["Image"], status, time.time(), fastjson.dumps(made)),
    )
    for point in made["Mounts"]:
        if point["Type"] == "volume":
            transaction.execute(
                "INSERT OR IGNORE INTO container_volumes VALUES (?, ?)", (made["Id"], point["Name"])
            )
    if status == "running" and made["HostConfig"]["NetworkMode"] == "bridge":
        from estiva.network import leases

        return leases.reserve_in(transaction, made["Id"])
    return ""


def removed(made: dict[str, Any]) -> NotFound:
    return NotFound(f"image {made['Config']['Image']} was removed just now")


def fill_volumes(engine: Engine, made: dict[str, Any], image: Image) -> None:
    """Copy what the image has at a new volume's place into it, as Docker does."""
    fresh = [point for point in made["Mounts"] if point.pop("New", False)]
    if not fresh:
        return
    from estiva.engine.copyup import copy_up

    rootfs = engine.store.snapshots.view(image.diff_ids)
    try:
        for point in fresh:
            copy_up(rootfs, point["Destination"], point["Source"])
    finally:
        os.close(rootfs)


def go(
    engine: Engine,
    made: dict[str, Any],
    image: Image,
    lock: int,
    address: str,
    stdio: tuple[int, int, int],
    *,
    idle: bool = False,
    detach: bool = False,
) -> launch.Launched:
    """Launch a prepared container whose lock is held. The caller waits with `Launched.started`.

    An `idle` one has no command: its init only waits, for what is executed in it later. With `detach` nobody
    listens after the start.
    """
    try:
        if any("Chown" in point for point in made["Mounts"]):
            from estiva.engine import ownership

            ownership.give(engine, made, image)
        lowerdirs = engine.store.layers.mount(image.diff_ids)
        wanted = plan.make(engine, made, list(lowerdirs), address)
        wanted["detach"] = detach
        if idle:
            wanted["config"]["process"]["args"] = []
        launched = launch.launch(engine, wanted, stdio, lock)
        launched.lowerdirs = lowerdirs
        return launched
    except BaseException:
        unstart(engine, made)
        raise
    finally:
        os.close(lock)


def unstart(engine: Engine, made: dict[str, Any]) -> None:
    """A start that failed before a monitor took over: back to created, or gone (--rm)."""
    if made["HostConfig"].get("AutoRemove"):
        life.forget(engine.paths, engine.db, made["Id"])
    else:
        with engine.db.write(freeing=True) as transaction:
            transaction.execute("UPDATE containers SET status = 'created' WHERE id = ?", (made["Id"],))
            transaction.execute("DELETE FROM leases WHERE container = ?", (made["Id"],))
    life.leave(engine.paths, made["Id"])


def run(
    engine: Engine,
    config: dict[str, Any],
    host_config: dict[str, Any],
    *,
    name: str | None = None,
    detach: bool = False,
    pull: str = "missing",
    platform: str | None = None,
    progress: Progress = None,
    cidfile: str | None = None,
    sig_proxy: bool = True,
) -> tuple[str, int]:
    """`estiva run`: (id, exit status). Detached: as soon as the command runs, with status 0."""
    if config.get("Tty") and config.get("OpenStdin") and not detach and not os.isatty(0):
        raise InvalidInput("the input device is not a tty", hint="leave out -t when input comes from a pipe")
    if not cidfile:
        made, image, lock, address = prepare(
            engine, config, host_config, name, pull, platform, progress, "running"
        )
        return made["Id"], attend(engine, made, image, lock, address, detach, sig_proxy)
    from estiva.engine.cidfile import CidFile

    with CidFile(cidfile) as file:
        made, image, lock, address = prepare(
            engine, config, host_config, name, pull, platform, progress, "running"
        )
        try:
            file.write(made["Id"])
        except BaseException:
            unstart(engine, made)
            os.close(lock)
            raise
    return made["Id"], attend(engine, made, image, lock, address, detach, sig_proxy)


def attend(
    engine: Engine, made: dict[str, Any], image: Image, lock: int, address: str, detach: bool, sig_proxy: bool
) -> int:
    """Launch and, unless detached, stay with the container until it ends."""
    config = made["Config"]
    if detach:
        go(engine, made, image, lock, address, (-1, -1, -1), detach=True).started()
        return 0
    stdio = (
        0 if config.get("OpenStdin") else -1,
        1 if config.get("AttachStdout", True) else -1,
        2 if config.get("AttachStderr", True) else -1,
    )
    if config.get("Tty") and os.isatty(1):
        from estiva.linux import tty

        made["HostConfig"]["ConsoleSize"] = tty.window_size(1)
    from estiva.engine import attach

    return attach.attend(lambda: go(engine, made, image, lock, address, stdio), config, sig_proxy)


def start(
    engine: Engine, ref: str, *, attach: bool = False, stdin: bool = False, sig_proxy: bool = True
) -> int:
    """`estiva start`: 0, or the exit status when attached. Starting a running container does nothing."""
    from estiva.engine import containers

    while True:
        made = containers.resolve(engine, ref)
        try:
            lock = life.take(engine.paths, made["Id"])
            break
        except BlockingIOError:
            if made["State"]["Paused"]:
                raise Conflict(
                    f"cannot start the paused container {ref}", hint=f"`estiva unpause {ref}` lets it go on"
                ) from None
            if made["State"]["Running"]:
                return 0
            time.sleep(containers.LOOK_AGAIN)  # it is being made or removed, or has ended just now
    address = ""
    try:
        image = engine.store.images.resolve(made["Image"])
        with engine.db.write() as transaction:
            transaction.execute("UPDATE containers SET status = 'running' WHERE id = ?", (made["Id"],))
            if made["HostConfig"]["NetworkMode"] == "bridge":
                from estiva.network import leases

                address = leases.reserve_in(transaction, made["Id"])
    except BaseException:
        life.leave(engine.paths, made["Id"])
        os.close(lock)
        raise
    made["Config"]["AttachStdout"] = made["Config"]["AttachStderr"] = True
    if not stdin and attach:
        made["Config"] = {**made["Config"], "OpenStdin": False}
    return attend(engine, made, image, lock, address, not attach, sig_proxy)
