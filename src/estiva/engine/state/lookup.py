"""The containers that exist: found by what people call them, with their live state."""

from __future__ import annotations

import os
import time

from estiva.engine.state import locks, runstate
from estiva.engine.state import record as records
from estiva.errors import Conflict, InvalidInput, Missing, NotFound, StateError
from estiva.runtime import state
from estiva.store import containers
from estiva.timestamps import ZERO, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.config_types import Config
    from estiva.engine.state.types import Network, Record, RunState, State

LONG = 5.0  # seconds, after which a start that goes on is looked at
LOOK_AGAIN = 0.005  # seconds between looks at a container that is on its way from one state to another
HEX = frozenset("0123456789abcdef")


def resolve(engine: Engine, ref: str) -> Record:
    """The record of a container by name, id or the beginning of its id, settled if its monitor was killed.

    Raises NotFound, or InvalidInput when the beginning fits several.
    """
    name = ref.removeprefix("/")
    rows = containers.find(engine.db, name)
    if not rows and name and HEX.issuperset(name):
        rows = containers.find_beginning(engine.db, name)
        if len(rows) > 1:
            raise InvalidInput(f"{ref} is the beginning of several container ids", hint="give more of the id")
    container_id, status, text = settled(engine, *rows[0]) if rows else ("", "", "")
    if not status:
        raise Missing("container", ref, hint="`estiva ps -a` lists them all")
    return load(engine, container_id, status, text)


def find_damaged(engine: Engine, ref: str) -> str:
    """The id of a container by name, id or the beginning of its id, whose record can't be read; "" else."""
    name = ref.removeprefix("/")
    rows = containers.find(engine.db, name)
    if not rows and name and HEX.issuperset(name):
        rows = containers.find_beginning(engine.db, name)
    if len(rows) != 1:
        return ""
    try:
        records.sound(rows[0][0], rows[0][2])
    except StateError:
        return rows[0][0]
    return ""


def settled(engine: Engine, container_id: str, status: str, text: str) -> tuple[str, str, str]:
    """A row, its container ended first if the monitor was killed; the status is "" if that removed it."""
    if status == "running" and _dead(engine, container_id):
        _, status, text = containers.get(engine.db, container_id) or ("", "", "")
        if status == "running" and not locks.held(engine.paths, container_id):
            status = "dead"
    return container_id, status, text


def _dead(engine: Engine, container_id: str) -> bool:
    """Whether nobody holds the lock of one whose row says that it runs; it is settled then, if it can be."""
    if locks.held(engine.paths, container_id):
        return False
    from estiva.engine.state.life import reconcile

    return reconcile.dead(engine.paths, engine.db, container_id)


def load(engine: Engine, container_id: str, status: str, text: str) -> Record:
    """A record with its live State filled in."""
    record = records.sound(container_id, text)
    try:
        live = runstate.read(engine.paths, container_id) if status in ("running", "dead") else None
    except StateError:
        live = None  # whoever needs it is told; the check names it
    paused = bool(live and live.get("paused"))
    again = status == "running" and live is None and _restarting(engine, record)
    halted = _halted(live) if live and status == "running" else 0
    if halted:
        status, paused = "exited", False
    record["State"] = {
        "Status": "restarting" if again else "paused" if paused and status == "running" else status,
        "Running": status == "running",
        "Paused": paused and status == "running",
        "Restarting": again,
        "OOMKilled": False,
        "Dead": False,
        "Pid": live["pid"] if live and status == "running" else 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": ZERO,
        "FinishedAt": ZERO,
        **(_of_run(live, record) if live else record["State"]),
    }
    if status == "running" and not live and not again:  # it is being started, or its run state is damaged
        record["State"]["StartedAt"] = record["State"].get("Began") or record["Created"]
    for ours in ("Began", "Stopped"):
        record["State"].pop(ours, None)  # type: ignore[misc]
    if record["Config"].get("Healthcheck") and (status == "running" or record["State"]["StartedAt"] != ZERO):
        from estiva.engine.state.life import health

        health.fill(engine.paths, record, live)
    if status == "dead":
        ended = locks.left(engine.paths, container_id)
        if ended is not None:  # nobody could write that down
            record["State"]["Status"], record["State"]["ExitCode"] = "exited", ended[0]
            record["State"]["FinishedAt"] = rfc3339(ended[1])
    elif live and halted:
        from estiva.engine.state.life import halted as halting

        record["State"].update(halting.outcome(engine.paths, live, halted))
    elif live and live.get("network"):
        record["NetworkSettings"] = network_settings(live["network"], record["Config"])
    return record


def _halted(live: RunState) -> int:
    """The monitor of a run that has ended and does not say so; 0 else."""
    if state.alive(live["pid"], live["start_time"]):
        return 0
    from estiva.engine.state.life import halted

    return halted.monitor(live)


def _of_run(live: RunState, record: Record) -> State:
    """What a State says of a run that goes on, and of the one before it."""
    return {"StartedAt": live["started"], "FinishedAt": record["State"].get("FinishedAt", ZERO)}


def _restarting(engine: Engine, record: Record) -> bool:
    """Whether a container without a run state waits to be started again by its restart policy."""
    run = engine.paths.run_container(record["Id"])
    return os.path.lexists(run + "/restarting.json") and not os.path.lexists(run + "/state.json")


def network_settings(network: Network, config: Config) -> dict[str, Any]:
    """NetworkSettings of a running container."""
    exposed = config.get("ExposedPorts") or ()
    if "places" in network:
        from estiva.engine.state.net import endpoint_shape

        places = network["places"]
        published = network["ports"] if endpoint_shape.publishes(places) else []
        ports = docker_shape(published, exposed if places else ())
        return {"Ports": ports, **endpoint_shape.running(places)}
    ports = docker_shape(network["ports"], exposed)
    endpoint = {
        "IPAddress": network["address"],
        "IPPrefixLen": network["prefix"],
        "Gateway": network["gateway"],
        "MacAddress": network["mac"],
    }
    return {"Ports": ports, "Networks": {"bridge": endpoint}, **endpoint}


def is_alive(engine: Engine, container_id: str) -> bool:
    """Whether the container runs now."""
    return locks.held(engine.paths, container_id)


def running_state(engine: Engine, ref: str) -> RunState:
    """The run state (pid and so on) of a running container. Raises NotFound, Conflict."""
    waiting = appearing(engine, ref)
    while True:
        try:
            next(waiting)
        except StopIteration as end:
            live: RunState = end.value
            return live
        time.sleep(LOOK_AGAIN)


def appearing(engine: Engine, ref: str) -> Generator[None, None, RunState]:
    """`running_state` as a task: yields while it is being started. Raises EngineError too, where who starts
    it is stopped."""
    looked = time.monotonic()
    while (live := running_state_now(engine, ref)) is None:
        yield
        if time.monotonic() > looked + LONG:
            from estiva.engine.state import starters

            starters.refuse(engine.paths, resolve(engine, ref)["Id"])
            looked = time.monotonic()
    return live


def running_state_now(engine: Engine, ref: str, *, strict: bool = True) -> RunState | None:
    """As `running_state`; None while it is being started. Not `strict`: None also while it waits for that,
    and the run state of one that has ended, but whose monitor is stopped."""
    record = resolve(engine, ref)
    if strict:
        refuse_restarting(record)
    if record["State"]["Running"]:
        return runstate.read(engine.paths, record["Id"])
    if record["State"]["Status"] == "exited" and locks.held(engine.paths, record["Id"]):
        from estiva.engine.state.life import halted

        if strict:
            halted.refuse(engine.paths, record["Id"], record["Name"].removeprefix("/"))
        elif (live := runstate.read(engine.paths, record["Id"])) is not None and halted.monitor(live):
            return live
    raise Conflict(f"container {ref} is not running", hint=f"`estiva start {ref}` starts it")


def refuse_restarting(record: Record) -> None:
    """Raises Conflict while nothing runs in it."""
    if record["State"]["Restarting"]:
        name = record["Name"].removeprefix("/")
        raise Conflict(
            f"container {name} is restarting, wait until the container is running",
            hint=f"`estiva logs {name}` may tell why it ends, `estiva stop {name}` leaves it at that",
        )


def resolve_if_there(engine: Engine, container_id: str) -> Record | None:
    try:
        return resolve(engine, container_id)
    except NotFound:
        return None


def docker_shape(
    published: list[dict[str, str]], exposed: Iterable[str]
) -> dict[str, list[dict[str, str]] | None]:
    """NetworkSettings.Ports of what was published; None for what is only exposed."""
    table: dict[str, list[dict[str, str]]] = {}
    for port in published:
        table.setdefault(f"{port['ContainerPort']}/{port['Protocol']}", []).append(
            {"HostIp": port["HostIp"] or "0.0.0.0", "HostPort": str(port["HostPort"])}
        )
    keys = {*table, *(key if "/" in key else f"{key}/tcp" for key in exposed)}
    return {key: table.get(key) for key in sorted(keys)}
