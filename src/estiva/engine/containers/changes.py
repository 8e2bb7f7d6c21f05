"""What a container changed on its filesystem: diff, commit, export, size. Works for running and stopped
ones.
"""

from __future__ import annotations

import os
import time

from estiva import fastjson
from estiva.engine.containers import folder
from estiva.engine.images import events
from estiva.engine.launch import start
from estiva.engine.state import based, eventlog, gate, lookup, runstate
from estiva.engine.state import record as records
from estiva.errors import Conflict, NotFound
from estiva.files import Lock
from estiva.runtime.cgroup import factory
from estiva.store import containers
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

    from estiva.engine import Engine
    from estiva.engine.state.config_types import Config
    from estiva.engine.state.types import Record
    from estiva.store.snapshots import Snapshot


def snapshot(engine: Engine, record: Record) -> Snapshot:
    """The container's read-write layer over its image's layers."""
    image = based.image_of(engine, record)
    folder.mend_stopped(engine, record, image)
    return engine.store.snapshots.prepare(image.chain, engine.paths.container(record["Id"]))


def diff(engine: Engine, ref: str) -> list[tuple[str, str]]:
    """[("A"|"C"|"D", "/path")] against the image, sorted by path."""
    record = lookup.resolve(engine, ref)
    with Whole(engine, record), Paused(engine, record, bool(record.get("States"))):
        return snapshot(engine, record).changes()


def size(engine: Engine, record: Record) -> int:
    """Bytes in the read-write layer; 0 when the container is removed at this moment."""
    try:
        return snapshot(engine, record).size()
    except FileNotFoundError:
        return 0


class Whole:
    """A block that reads a container's folder, in which it may be removed: that is told as such."""

    def __init__(self, engine: Engine, record: Record) -> None:
        self.record = record
        self.folder = engine.paths.container(record["Id"])

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (FileNotFoundError, NotFound)) and not os.path.isdir(self.folder):
            name = self.record["Name"].removeprefix("/")
            raise NotFound(f"container {name} was removed meanwhile") from None


class Paused:
    """Holds a running container still while its files are read, one such reader at a time; one that waits for
    its next run goes on waiting.

    The lock tells a reader at work from one that was killed: then a sweep lets the container go on.
    """

    def __init__(self, engine: Engine, record: Record, wanted: bool) -> None:
        self.reading: gate.Reading | None = None
        while record["State"]["Restarting"] and self.reading is None:
            self.reading = gate.Reading(engine.paths.container(record["Id"])).__enter__()
            if not containers.waits(engine.db, record["Id"]):
                self.reading.__exit__()
                self.reading = None
                time.sleep(lookup.LOOK_AGAIN)  # that run has begun, and is not there yet
                record = lookup.resolve(engine, record["Id"])
        still = record["State"]["Running"] and not record["State"]["Paused"] and wanted and not self.reading
        self.cgroup = factory.open(lookup.running_state(engine, record["Id"])["cgroup"]) if still else None
        self.run = engine.paths.run_container(record["Id"])
        self.lock = Lock(gate.still(self.run))

    def __enter__(self) -> None:
        if self.cgroup is not None:
            try:
                self.lock.__enter__()
            except FileNotFoundError:
                self.cgroup = None  # it has ended just now, and is as still as can be
                return
            try:
                with gate.Closed(self.run):
                    self.cgroup.freeze()
            except (NotFound, Conflict):  # likewise
                self.cgroup = None
                self.lock.__exit__(None, None, None)
            except BaseException:  # a signal, when it may stand still already
                self.__exit__()
                raise

    def __exit__(self, *exception: object) -> None:
        if self.reading is not None:
            self.reading.__exit__()
        if self.cgroup is not None:
            try:
                self.cgroup.thaw()
            except NotFound:
                pass  # it was killed meanwhile
            self.lock.__exit__(None, None, None)


def let_go(engine: Engine) -> Iterator[str]:
    """Let containers go on that a killed reader left frozen; which, in words."""
    for container_id in os.listdir(engine.paths.run_containers):
        live = runstate.read(engine.paths, container_id)
        if live is None or live.get("paused") or not factory.open(live["cgroup"]).frozen():
            continue
        try:
            with Lock(gate.still(engine.paths.run_container(container_id)), blocking=False):
                factory.open(live["cgroup"]).thaw()
        except (BlockingIOError, FileNotFoundError):
            continue  # somebody reads it now, or it has ended
        yield f"container {container_id[:12]}, frozen by a commit that was killed: goes on"


def commit(
    engine: Engine,
    ref: str,
    reference: str | None = None,
    *,
    author: str = "",
    message: str = "",
    changes: list[str] | None = None,
    pause: bool = True,
    over: Config | None = None,
) -> str:
    """A new image out of a container's read-write layer; its id. `changes` are Dockerfile instructions.
    `over`: what the image says in place of what the container does, key by key, as its own config would
    be completed from an image's.
    """
    from estiva.oci.reference import Reference

    kept = (
        "Env",
        "Cmd",
        "Entrypoint",
        "WorkingDir",
        "User",
        "Labels",
        "ExposedPorts",
        "Volumes",
        "StopSignal",
        "Healthcheck",
        "Shell",
    )
    if over:
        from estiva.engine.spec import judge

        judge.check_config({key: value for key, value in over.items() if key in kept})
    name = str(Reference.parse(reference)) if reference else None
    record = lookup.resolve(engine, ref)
    base = engine.store.images.resolve(record["Image"])
    config: dict[str, Any] = fastjson.loads(fastjson.dumps(base.config))
    ran: Any = records.merge(over, {"config": record["Config"]}) if over else record["Config"]
    if start.idles(record):
        ran = {**ran, "Cmd": None, "Entrypoint": None}  # the image's stay
    config["config"] = {**(config.get("config") or {}), **{key: ran[key] for key in kept if ran.get(key)}}
    if ran.get("Env"):
        config["config"]["Env"] = [pair for pair in ran["Env"] if "=" in pair]
    config["created"] = rfc3339()
    if author:
        config["author"] = author
    command = " ".join([record["Path"], *record["Args"]])
    config.setdefault("history", []).append(
        {"created": config["created"], "created_by": command, "author": author, "comment": message}
    )
    if changes:
        from estiva.builder.steps.changes import apply_changes

        config = apply_changes(config, changes)  # may raise, before a layer is made for nothing
    with engine.store.writing(), Whole(engine, record):
        with Paused(engine, record, pause or bool(record.get("States"))):
            layer = snapshot(engine, record).commit()
        config["rootfs"]["diff_ids"] = [*base.diff_ids, layer.diff_id]
        image = engine.store.images.add(fastjson.dumps(config).encode())
        if name:
            engine.store.images.tag(image.id, name)
            events.tagged(engine, image, [name])
    said = {"comment": message, "imageID": image.id, "imageRef": name or ""}
    eventlog.container(engine.paths, record, "commit", **said)
    return image.id


def export(engine: Engine, ref: str, out: IO[bytes]) -> None:
    """The container's whole filesystem as a tar stream, with what each has whatever its image is."""
    from estiva.engine.mounts import initlayer
    from estiva.store.layers.pack import write_tree

    record = lookup.resolve(engine, ref)
    with Whole(engine, record):
        rootfs = snapshot(engine, record).mount(readonly=True, beneath=[initlayer.provide(engine.paths)])
    try:
        write_tree(rootfs, out)
    finally:
        os.close(rootfs)
    eventlog.container(engine.paths, record, "export")
