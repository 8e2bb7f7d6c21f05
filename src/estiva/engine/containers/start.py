"""`create`, `start` and `run`: from what the user asked to a plan for the monitor.

create   image -> merged config -> mount points -> row (status created)
start    row -> plan -> monitor
run      both at once, with one row written instead of two
"""

from __future__ import annotations

import os
import time

from estiva.engine.containers.create import prepare
from estiva.engine.launch import launch, plan
from estiva.engine.state import locks, teardown
from estiva.errors import (
    Conflict,
    InvalidInput,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.images.find import Progress
    from estiva.store.images import Image


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
            from estiva.engine.mounts import chown

            chown.give(engine, made, image)
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
        teardown.forget(engine.paths, engine.db, made["Id"])
    else:
        with engine.db.write(freeing=True) as transaction:
            transaction.execute("UPDATE containers SET status = 'created' WHERE id = ?", (made["Id"],))
            transaction.execute("DELETE FROM leases WHERE container = ?", (made["Id"],))
    locks.leave(engine.paths, made["Id"])


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
    from estiva.cli.container.cidfile import CidFile

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
    from estiva.cli.container import foreground

    return foreground.attend(lambda: go(engine, made, image, lock, address, stdio), config, sig_proxy)


def start(
    engine: Engine, ref: str, *, attach: bool = False, stdin: bool = False, sig_proxy: bool = True
) -> int:
    """`estiva start`: 0, or the exit status when attached. Starting a running container does nothing."""
    from estiva.engine.state import lookup

    while True:
        made = lookup.resolve(engine, ref)
        try:
            lock = locks.take(engine.paths, made["Id"])
            break
        except BlockingIOError:
            if made["State"]["Paused"]:
                raise Conflict(
                    f"cannot start the paused container {ref}", hint=f"`estiva unpause {ref}` lets it go on"
                ) from None
            if made["State"]["Running"]:
                return 0
            time.sleep(lookup.LOOK_AGAIN)  # it is being made or removed, or has ended just now
    address = ""
    try:
        image = engine.store.images.resolve(made["Image"])
        with engine.db.write() as transaction:
            transaction.execute("UPDATE containers SET status = 'running' WHERE id = ?", (made["Id"],))
            if made["HostConfig"]["NetworkMode"] == "bridge":
                from estiva.network import ipam

                address = ipam.reserve_in(transaction, made["Id"])
    except BaseException:
        locks.leave(engine.paths, made["Id"])
        os.close(lock)
        raise
    made["Config"]["AttachStdout"] = made["Config"]["AttachStderr"] = True
    if not stdin and attach:
        made["Config"] = {**made["Config"], "OpenStdin": False}
    return attend(engine, made, image, lock, address, not attach, sig_proxy)
