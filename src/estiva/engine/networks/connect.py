"""Containers put on networks and taken off them: `network connect` and `network disconnect`.

Of one that does not run only its rows change, for its next start. Of one that runs, in this order, so that
who is killed in between can do it again, and a sweep finds the rest at the container's end:

    connect      row and addresses; interface and routes; state.json; published ports; /etc/hosts
    disconnect   ports; interface and routes; state.json; /etc/hosts; row and addresses

One at a time for a container, and none while it is being paused: they close its gate (state/gate.py). Its
monitor need not know.
"""

from __future__ import annotations

import os
import time

from estiva.engine.networks import naming, upkeep
from estiva.engine.spec import endpoints
from estiva.engine.state import eventlog, gate, lookup, published, runstate
from estiva.engine.state.life import halted
from estiva.engine.state.net import addresses
from estiva.engine.state.net.endpoint_shape import places_of
from estiva.errors import Conflict, EngineError, EstivaError, NotFound, reason
from estiva.files import Lock, read_bounded
from estiva.network import networks, plug
from estiva.network.ipam import DEFAULT_NETWORK
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.types import Network, Record, RunState
    from estiva.network.types import EndpointRecord, Place

LIMIT = 1 << 20  # bytes of a container's /etc/hosts


def connect(engine: Engine, network: str, container: str, endpoint: dict[str, Any]) -> None:
    """Put a container on a network. `endpoint`: Docker's EndpointConfig, see spec/endpoints.py.

    Raises NotFound, Conflict (it is on that network; an address is another's), InvalidInput, EngineError.
    """
    record = lookup.resolve(engine, container)
    _refuse_shared(engine, record, network)
    if record["HostConfig"].get("Profile"):
        raise Conflict(f"network connect can't be used with --profile {record['HostConfig']['Profile']}")
    from estiva.oci import rules

    rules.check(endpoint, endpoints.ENDPOINT, "EndpointConfig")
    network_id, wished = endpoints.judge(engine, "bridge" if network == "default" else network, endpoint)
    wished.setdefault("Name", networks.DEFAULT_NAME)
    while True:
        with engine.db.write() as transaction:
            status = containers.status(transaction, record["Id"])
            if not status:
                raise NotFound(f"container {container} was removed just now")
            if status != "running" or containers.waits(transaction, record["Id"]):
                _refuse_twice(engine, transaction, record, network_id, wished["Name"])
                if network_id != DEFAULT_NETWORK:
                    networks.get(transaction, network_id)
                _belong(transaction, network_id, record["Id"], wished)
                return
        try:
            live = lookup.running_state(engine, record["Id"])
        except Conflict:
            halted.refuse(engine.paths, record["Id"], container)
            time.sleep(lookup.LOOK_AGAIN)  # it has ended meanwhile, and its row is still to say so
            continue
        with _alone(engine, live) as now:
            _connect_running(engine, record, now, network_id, wished)
        return


def _refuse_shared(engine: Engine, record: Record, network: str) -> None:
    mode, name = record["HostConfig"]["NetworkMode"], record["Name"][1:]
    if network in ("host", "none"):
        raise Conflict(f"container cannot be connected to network {network}", hint="only at its start")
    left = mode == networks.NONE and networks.NONE in networks.belongings(engine.db, record["Id"])
    if not addresses.is_private(mode) and not left:
        off = f"`estiva network disconnect none {name}` takes it off that" if mode == networks.NONE else ""
        raise Conflict(
            f"container {name} cannot be connected to network {network}: its network mode is"
            f" {mode.partition(':')[0]}",
            hint=off,
        )


def _refuse_twice(
    engine: Engine, reader: networks.Transaction, record: Record, network_id: str, name: str
) -> None:
    known = networks.belongings(reader, record["Id"])
    there = network_id in known and not known[network_id].get("Detached")
    default = network_id == DEFAULT_NETWORK and record["HostConfig"]["NetworkMode"] == "bridge"
    if there or (default and network_id not in known):
        raise Conflict(f"container {record['Name'][1:]} is on network {name} already")


def _belong(
    transaction: networks.Transaction, network_id: str, container_id: str, wished: EndpointRecord
) -> None:
    known = networks.belongings(transaction, container_id)
    last = max((one.get("Position", 0) for one in known.values()), default=0)
    networks.belong(transaction, network_id, container_id, {**wished, "Position": last + 1})


def _say(engine: Engine, action: str, place: Place, container_id: str) -> None:
    line = eventlog.network(action, place["name"], place["network"], place["driver"], container_id)
    eventlog.append(engine.paths, line)


class _alone:
    """A running container whose network nobody else changes meanwhile; its run state, read anew. Raises
    Conflict when that run is over."""

    def __init__(self, engine: Engine, live: RunState) -> None:
        self.engine = engine
        self.live = live
        self.gate = gate.Closed(engine.paths.run_container(live["id"]))

    def __enter__(self) -> RunState:
        self.gate.__enter__()
        now = runstate.read(self.engine.paths, self.live["id"])
        if now is None or not runstate.same(now, self.live):
            self.gate.__exit__()
            raise Conflict(f"container {self.live['id'][:12]} has ended")
        return now

    def __exit__(self, *_: object) -> None:
        self.gate.__exit__()


def _connect_running(
    engine: Engine, record: Record, live: RunState, network_id: str, wished: EndpointRecord
) -> None:
    places = places_of(live)
    if any(place["network"] == network_id for place in places):
        raise Conflict(f"container {record['Name'][1:]} is on network {wished['Name']} already")
    with engine.db.write() as transaction:
        if containers.status(transaction, record["Id"]) != "running":
            raise Conflict(f"container {record['Name'][1:]} has ended")
        _belong(transaction, network_id, record["Id"], wished)
        place = addresses.place_in(transaction, record["Id"], network_id, wished)
    before = plug.primary(places)
    walls = published.firewalls(engine.paths, engine.db)
    try:
        plug.remove_strays(live["pid"], place, places)
        networks.name_interfaces([place], plug.interfaces(live["pid"]))
        places = [*places, place]
        networks.elect(places)
        plug.plug(engine.db, engine.paths, record["Id"], live["pid"], places, place, walls)
    except BaseException as error:
        with engine.db.write(freeing=True) as transaction:
            networks.leave(transaction, network_id, record["Id"])
        if isinstance(error, OSError):
            raise _told(error, record) from error
        raise
    _write(engine, live, places)
    _move_ports(engine, live, before, plug.primary(places))
    _edit_hosts(engine, record, live["id"], added=place, removed=None)
    upkeep.relay_of(engine, live, mend=True)  # which finds the container where it is now
    _say(engine, "connect", place, live["id"])
    if addresses.embedded(places) and not addresses.embedded(places_of(live)):
        naming.begin(engine, record)


def disconnect(engine: Engine, network: str, container: str, *, force: bool = False) -> None:
    """Take a container off a network; with `force` also off one that has gone, and of a container whose run
    is gone. Raises NotFound, Conflict.
    """
    record = lookup.resolve(engine, container)
    known = networks.belongings(engine.db, record["Id"])
    network_id = _meant(engine, network, known, force)
    mode = record["HostConfig"]["NetworkMode"]
    by_mode = network_id == {"bridge": DEFAULT_NETWORK, "none": networks.NONE}.get(mode)
    mine = network_id in known and not known[network_id].get("Detached")
    if not mine and not (by_mode and network_id not in known):
        raise NotFound(f"container {record['Name'][1:]} is not connected to network {network}")
    while record["State"]["Restarting"]:
        if _forget(engine, record["Id"], network_id, by_mode=by_mode, waits=True):
            _say_left(engine, network_id, record["Id"])
            return
        time.sleep(lookup.LOOK_AGAIN)  # it is being started
        record = lookup.resolve(engine, record["Id"])
    if record["State"]["Running"]:
        try:
            with _alone(engine, lookup.running_state(engine, record["Id"])) as live:
                _disconnect_running(engine, record, live, network_id, by_mode=by_mode)
            return
        except Conflict:
            if not force and lookup.resolve(engine, record["Id"])["State"]["Running"]:
                raise
    _forget(engine, record["Id"], network_id, by_mode=by_mode)
    _say_left(engine, network_id, record["Id"])


def _say_left(engine: Engine, network_id: str, container_id: str) -> None:
    """Of one that does not run; of a network that has gone there is nothing to say."""
    if network_id in (DEFAULT_NETWORK, networks.NONE):
        name = networks.DEFAULT_NAME if network_id == DEFAULT_NETWORK else network_id
        eventlog.append(engine.paths, eventlog.network("disconnect", name, container_id=container_id))
    elif (left := networks.find(engine.db, network_id)) is not None:
        line = eventlog.network("disconnect", left.name, left.id, left.driver, container_id)
        eventlog.append(engine.paths, line)


def _meant(engine: Engine, network: str, known: dict[str, EndpointRecord], force: bool) -> str:
    if network in ("bridge", "default"):
        return DEFAULT_NETWORK
    if network == networks.NONE:
        return network
    if network == "host":
        raise Conflict("container cannot be disconnected from network host", hint="only at its start")
    found = networks.find(engine.db, network)
    if found is not None:
        return found.id
    for network_id, record in known.items():  # of one that has gone
        if force and network in (record.get("Name"), network_id):
            return network_id
    return networks.get(engine.db, network).id


def _forget(
    engine: Engine, container_id: str, network_id: str, *, by_mode: bool, waits: bool = False
) -> bool:
    """The rows. That it is not there, though `by_mode` it would be, must be said. False where it no longer
    `waits` for its next run, and nothing is done."""
    with engine.db.write(freeing=True) as transaction:
        if waits and not containers.waits(transaction, container_id):
            return False
        networks.leave(transaction, network_id, container_id)
        if by_mode:
            name = networks.DEFAULT_NAME if network_id == DEFAULT_NETWORK else network_id
            networks.belong(transaction, network_id, container_id, {"Name": name, "Detached": True})
    return True


def _disconnect_running(
    engine: Engine, record: Record, live: RunState, network_id: str, *, by_mode: bool
) -> None:
    places = places_of(live)
    place = next((one for one in places if one["network"] == network_id), None)
    if place is not None:
        before = plug.primary(places)
        rest = [one for one in places if one is not place]
        old = {**place}
        networks.elect(rest)
        try:
            _move_ports(engine, live, before, plug.primary(rest))
            plug.unplug(live["pid"], rest, place)
        except OSError as error:
            raise _told(error, record) from error
        _write(engine, live, rest)
        _edit_hosts(engine, record, live["id"], added=None, removed=old)
        upkeep.relay_of(engine, live, mend=True)
        _say(engine, "disconnect", place, live["id"])
    elif network_id == networks.NONE:
        eventlog.append(engine.paths, eventlog.network("disconnect", network_id, container_id=live["id"]))
    _forget(engine, record["Id"], network_id, by_mode=by_mode)


def _told(error: OSError, record: Record) -> EstivaError:
    return EngineError(
        f"network of container {record['Name'][1:]}: {error.filename or 'netlink'}: {reason(error)}"
    )


def _write(engine: Engine, live: RunState, places: list[Place]) -> None:
    """The new places in state.json, and what is said of the one with the default route."""
    main = plug.primary(places)
    network: Network = {
        "address": main["address"] if main else "",
        "prefix": main["prefix"] if main else 0,
        "gateway": main["gateway"] if main and main["default"] else "",
        "mac": main["mac"] if main else "",
        "ports": live["network"].get("ports", []),
        "places": places,
    }
    run = engine.paths.run_container(live["id"])
    with Lock(runstate.writing(run)):
        now = runstate.read_in(run)
        if now is None or not runstate.same(now, live):
            raise Conflict(f"container {live['id'][:12]} has ended")
        runstate.write(run, {**now, "network": network})


def _move_ports(engine: Engine, live: RunState, before: Any, after: Any) -> None:
    """Published ports come from the place with the default route."""
    ports = live["network"].get("ports") or []
    if not ports or (before and after and before["id"] == after["id"]):
        return
    from estiva.network import firewall, rules

    if before is not None:
        gone = {before["address"], before["address6"]}
        where: list[Any] = [rules.table(engine.paths)]
        if before["network"] == DEFAULT_NETWORK:
            where = [firewall.at(before["bridge"], address) for address in gone if address]
        for table in where:
            firewall.unpublish(table, lambda address: address not in gone)
    if after is not None and plug.publishes(after):
        walls = published.firewalls(engine.paths, engine.db)
        plug.publish(engine.db, engine.paths, after, ports, walls)


def _edit_hosts(
    engine: Engine, record: Record, container_id: str, *, added: Place | None, removed: Any
) -> None:
    """The container's own lines in its /etc/hosts. It is written in place: the file itself is mounted."""
    path = f"{engine.paths.container(container_id)}/hosts"
    try:
        text = read_bounded(path, LIMIT).decode("utf-8", "surrogateescape")
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (OSError, EstivaError):
        return  # the user has mounted another there, or the container has written more than anybody reads
    try:
        gone = {removed["address"], removed["address6"]} if removed else set()
        lines = [line for line in text.splitlines() if (line.split() or [""])[0] not in gone]
        if added is not None:
            names = _names(record)
            lines += [f"{one}\t{names}" for one in (added["address"], added["address6"]) if one]
        data = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def _names(record: Record) -> str:
    config = record["Config"]
    hostname = config.get("Hostname") or record["Id"][:12]
    domain = config.get("Domainname")
    return f"{hostname}.{domain} {hostname}" if domain else hostname
