"""The anatomy of a container or an image: each part is looked at by its own module, once."""

from __future__ import annotations

from estiva.engine.containers import inspect
from estiva.engine.explain import why
from estiva.engine.images import lookup as images
from estiva.engine.state import runstate
from estiva.errors import EstivaError, Missing, NotFound, reason
from estiva.runtime import state as process_state
from estiva.speech import say
from estiva.store import containers
from estiva.view import layers, limits, mounts, namespaces, network, processes, rights
from estiva.view.seen import Seen, clean
from estiva.view.shapes import Anatomy, Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from estiva.engine import Engine
    from estiva.engine.state.types import Record, RunState
    from estiva.store.images import Image

    T = TypeVar("T")
    D = TypeVar("D")

WORDS = 100  # of a command, variables, ports


def of(engine: Engine, ref: str) -> Anatomy:
    """Of a container, or else of an image, by what people call it. Raises NotFound, InvalidInput."""
    try:
        record = inspect.inspect(engine, ref)
    except Missing:
        try:
            image = images.resolve(engine, ref)
        except NotFound:
            raise Missing(
                "container or image", ref, hint="`estiva ps -a` and `estiva images` list them"
            ) from None
        return of_image(engine, image)
    return of_container(engine, record)


def of_container(engine: Engine, record: Record) -> Anatomy:
    """By what `inspect` has told of it: alive if it runs still."""
    image = engine.store.images.find(record["Image"]) if record["Image"] else None
    parts: dict[str, Any] = {}
    if record["State"]["Running"]:
        live = runstate.read(engine.paths, record["Id"])
        if live is not None:
            parts = _alive(engine, record, live)
    config = record["Config"]
    return _made(
        kind="container",
        id=record["Id"],
        name=record["Name"].removeprefix("/"),
        status=record["State"]["Status"],
        image=clean(config["Image"]),
        created=record["Created"],
        told=tuple(why.of(record)),
        layers=layers.gather(engine, image) if image is not None else (),
        writable=layers.writable(engine.paths.container(record["Id"])),
        config=_config(dict(config), [record["Path"], *record["Args"]]),
        **{"mounts": mounts.planned(record), **parts},
    )


def of_image(engine: Engine, image: Image) -> Anatomy:
    """Of an image, with the containers that are made from it."""
    names = engine.store.images.names(image.id)
    config: dict[str, Any] = image.config.get("config") or {}
    users = [
        clean(name or container_id[:12], 100)
        for container_id, name, _ in containers.having(engine.db, image.id)
    ]
    return _made(
        kind="image",
        id=image.id,
        name=clean(", ".join(names)),
        status="",
        image=image.id,
        created=clean(str(image.config.get("created") or ""), 40),
        layers=layers.gather(engine, image),
        config=_config(config, [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]),
        containers=tuple(users[:WORDS]),
    )


_NONE: dict[str, Any] = {
    "told": (),
    "pid": 0,
    "processes": (),
    "process_count": 0,
    "users": (),
    "groups": (),
    "namespaces": (),
    "network": None,
    "cgroup": None,
    "rights": None,
    "mounts": (),
    "writable": None,
    "containers": (),
    "unseen": (),
}


def _made(**parts: Any) -> Anatomy:
    return Anatomy(**{**_NONE, **parts})


def _config(config: dict[str, Any], command: list[str]) -> Config:
    def texts(values: Any) -> tuple[str, ...]:
        return tuple(clean(str(value)) for value in list(values or ())[:WORDS])

    return Config(
        command=texts(command),
        user=clean(str(config.get("User") or "")),
        directory=clean(str(config.get("WorkingDir") or "/")),
        environment=texts(str(each).partition("=")[0] for each in config.get("Env") or ()),
        exposed=texts(config.get("ExposedPorts")),
        volumes=texts(config.get("Volumes")),
    )


def _alive(engine: Engine, record: Record, live: RunState) -> dict[str, Any]:
    """The parts that a running container has. What it ended meanwhile has none of them."""
    try:
        with Seen(live["pid"]) as init:
            if not process_state.alive(live["pid"], live["start_time"]):
                return {}
            return _Look(engine, record, live, init).parts()
    except ProcessLookupError:
        return {}


class _Look:
    """One look at a running container; `unseen` gathers what could not be looked at."""

    def __init__(self, engine: Engine, record: Record, live: RunState, init: Seen) -> None:
        self.engine = engine
        self.record = record
        self.live = live
        self.init = init
        self.unseen: list[str] = []

    def parts(self) -> dict[str, Any]:
        record, live, init = self.record, self.live, self.init
        nobody: tuple[Any, int] = ((), 0)
        running, number = self._part(say("processes"), lambda: processes.gather(live, init), nobody)
        users = self._part(say("users"), lambda: processes.mappings(init, "uid_map"), ())
        groups = self._part(say("groups"), lambda: processes.mappings(init, "gid_map"), ())
        mounted = self._part(say("mounts"), lambda: mounts.gather(record, init), ())
        net = self._part(say("network"), lambda: network.gather(record, live, init), None)
        names = tuple(interface.name for interface in net.interfaces[:10]) if net is not None else ()
        hostname = net.hostname if net is not None else ""
        facts = namespaces.facts(init, number, len(mounted), hostname, names, users, live["cgroup"])
        return {
            "pid": live["pid"],
            "processes": running,
            "process_count": number,
            "users": users,
            "groups": groups,
            "namespaces": self._part(
                say("namespaces"), lambda: namespaces.gather(self.engine, live, init, facts), ()
            ),
            "network": net,
            "cgroup": self._part(say("limits"), lambda: limits.gather(live), None),
            "rights": self._part(say("rights"), lambda: rights.gather(record, live, init), None),
            "mounts": mounted,
            "unseen": tuple(self.unseen),
        }

    def _part(self, name: str, look: Callable[[], T], otherwise: D) -> T | D:
        try:
            return look()
        except EstivaError as error:
            self.unseen.append(f"{name}: {clean(str(error))}")
        except OSError as error:
            self.unseen.append(f"{name}: {reason(error)}")
        except ValueError:
            self.unseen.append(say("{name}: what the kernel tells can't be understood", name=name))
        return otherwise
