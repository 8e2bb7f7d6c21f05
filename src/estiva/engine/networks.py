"""User verbs on networks, in the shapes of the Docker Engine API: create, listing, inspect, remove, prune,
reload. What connects containers to them is containers/networking.py.
"""

from __future__ import annotations

import os

from estiva.engine.spec import networks as judge
from estiva.errors import Conflict, EstivaError, InvalidInput, NotFound, brief
from estiva.network import ipam, networks, pools
from estiva.network.ipam import DEFAULT_NETWORK
from estiva.network.networks import BRIDGE, Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from estiva.engine import Engine
    from estiva.network.types import NetworkRecord, Subnet

    Used = list[tuple[str, pools.Range]]

FILTERS = ("name", "id", "driver", "type", "label", "scope", "dangling")
PRUNE_FILTERS = ("label", "label!", "until")


def create(engine: Engine, name: str, asked: judge.Asked) -> str:
    """Make a network; its id. Its bridge is made when a container first starts on it.

    Raises InvalidInput, Conflict (the name, or a subnet, which is named), Unsupported, Unavailable.
    """
    judge.check_name(name)
    network_id = os.urandom(32).hex()
    options = judge.options_of(asked)
    record: NetworkRecord = {
        "Subnets": judge.subnets_of(asked),
        "Bridge": "",
        "Internal": asked.internal,
        "EnableIPv6": asked.ipv6 or any(":" in words for words in asked.subnets),
        "Attachable": asked.attachable,
        "Options": options,
        "IPAMOptions": asked.ipam_options,
        "Labels": asked.labels,
    }
    if asked.driver == BRIDGE:
        record["Bridge"] = options.get(networks.BRIDGE_NAME) or f"br-{network_id[:12]}"
    elif not options.get("parent") and not asked.internal:
        record["Internal"] = True  # as Docker's: without a parent nothing leaves this machine
    from estiva.linux.net.netlink import Socket

    with Socket() as socket:
        machine = pools.in_use(socket)
    with engine.db.write() as transaction:
        others = networks.every(transaction)
        if any(other.name == name for other in others):
            raise Conflict(f"network with name {name} already exists", hint=f"`estiva network rm {name}`")
        for other in others:
            if record["Bridge"] and other.record["Bridge"] == record["Bridge"]:
                raise Conflict(f"bridge {record['Bridge']} is that of network {other.name}")
        used = _used(transaction, others)
        # macvlan and ipvlan share the subnet of their parent
        _settle_subnets(record, network_id, used, machine if asked.driver == BRIDGE else [])
        networks.add(transaction, network_id, name, asked.driver, record)
    return network_id


# ---- subnets


def _used(reader: ipam.Reader, others: Iterable[Network]) -> Used:
    """What networks of Estiva's have, by name."""
    used: Used = []
    for other in others:
        for subnet in other.record["Subnets"]:
            used.append((f"{subnet['Subnet']} of network {other.name}", pools.extent(subnet["Subnet"])))
    own = default_subnet(reader)
    if own:
        used.append((f"{own} of network bridge", pools.extent(own)))
    return used


def default_subnet(reader: ipam.Reader) -> str:
    """The subnet of the default bridge; "" before its first use."""
    rows = reader.read("SELECT value FROM meta WHERE key = ?", (f"network.{DEFAULT_NETWORK}.subnet",))
    return str(rows[0][0]) if rows else ""


def _settle_subnets(record: NetworkRecord, network_id: str, used: Used, machine: Used) -> None:
    """Refuse subnets that overlap with others, and choose those that were not given."""
    subnets = record["Subnets"]
    for subnet in subnets:
        whole = pools.extent(subnet["Subnet"])
        for what, other in (*used, *machine):
            if pools.overlap(whole, other):
                raise Conflict(
                    f"subnet {subnet['Subnet']} overlaps with {what}", hint="give another, or take that away"
                )
    if not any(":" not in subnet["Subnet"] for subnet in subnets):
        chosen: Subnet = {"Subnet": pools.choose([*used, *machine])}
        pools.complete(chosen)
        subnets.insert(0, chosen)
    if record["EnableIPv6"] and not any(":" in subnet["Subnet"] for subnet in subnets):
        local: Subnet = {"Subnet": pools.choose_local(network_id)}
        pools.complete(local)
        subnets.append(local)


# ---- looking


def listing(engine: Engine, filters: dict[str, list[str]] | None = None) -> list[dict[str, Any]]:
    """All networks by name, as `inspect` shows them without their containers. Filters: see FILTERS."""
    filters = filters or {}
    for key in filters:
        if key not in FILTERS:
            raise InvalidInput(f"invalid filter '{key}'", hint=f"one of {', '.join(FILTERS)}")
    for value in filters.get("type", ()):
        if value not in ("custom", "builtin"):
            raise InvalidInput(f"invalid filter 'type={brief(value, 60)}'", hint="custom or builtin")
    from estiva.engine.images.filters import truth

    for value in filters.get("dangling", ()):
        truth("dangling", value)
    busy = {row[0] for row in engine.db.read("SELECT DISTINCT network FROM endpoints")}
    shapes = [shape(network) for network in networks.every(engine.db)]
    shapes += [predefined(engine, name) for name in networks.PREDEFINED]
    return [one for one in sorted(shapes, key=lambda one: str(one["Name"])) if _fits(one, filters, busy)]


def _fits(item: dict[str, Any], filters: dict[str, list[str]], busy: set[str]) -> bool:
    from estiva.engine.images.filters import truth

    builtin = item["Name"] in networks.PREDEFINED
    for key, values in filters.items():
        if key == "name":
            fits = any(value in item["Name"] for value in values)
        elif key == "id":
            fits = any(item["Id"].startswith(value) for value in values)
        elif key == "driver":
            fits = item["Driver"] in values
        elif key == "type":
            fits = ("builtin" if builtin else "custom") in values
        elif key == "scope":
            fits = item["Scope"] in values
        elif key == "dangling":
            fits = any(truth("dangling", v) != (builtin or item["Id"] in busy) for v in values)
        else:
            labels = item["Labels"]
            pairs = [value.partition("=") for value in values]
            fits = all(k in labels and (not sep or labels[k] == v) for k, sep, v in pairs)
        if not fits:
            return False
    return True


def shape(network: Network) -> dict[str, Any]:
    """A network in Docker's words."""
    from estiva.timestamps import rfc3339

    record = network.record
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(int(network.created * 1e9)),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": record["EnableIPv6"],
        "IPAM": {
            "Driver": "default",
            "Options": record["IPAMOptions"],
            "Config": [{**subnet} for subnet in record["Subnets"]],
        },
        "Internal": record["Internal"],
        "Attachable": record["Attachable"],
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": record["Options"],
        "Labels": record["Labels"],
    }


def predefined(engine: Engine, name: str) -> dict[str, Any]:
    """bridge, host or none. Their ids are made of their names: there is nothing else of them."""
    from hashlib import sha256

    item: dict[str, Any] = {
        "Name": name,
        "Id": sha256(f"estiva {name}".encode()).hexdigest(),
        "Created": "0001-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": "null" if name == "none" else name,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }
    if name == networks.DEFAULT_NAME:
        subnet = default_subnet(engine.db)
        if subnet:
            gateway = ipam.Subnet(subnet.partition("/")[0]).gateway
            item["IPAM"]["Config"].append({"Subnet": subnet, "Gateway": gateway})
        item["Options"] = {
            "com.docker.network.bridge.default_bridge": "true",
            networks.ICC: "true",
            networks.MASQUERADE: "true",
            networks.BINDING: "0.0.0.0",
            networks.BRIDGE_NAME: ipam.bridge_name(),
            networks.MTU: "1500",
        }
    return item


def find(engine: Engine, ref: str) -> dict[str, Any]:
    """A network by name, id or the beginning of an id, in Docker's words. Raises NotFound."""
    name = "bridge" if ref == "default" else ref
    if name in networks.PREDEFINED:
        return predefined(engine, name)
    network = networks.find(engine.db, ref)
    if network is not None:
        return shape(network)
    for known in networks.PREDEFINED:
        item = predefined(engine, known)
        if len(ref) > 3 and item["Id"].startswith(ref):
            return item
    return shape(networks.get(engine.db, ref))


def inspect(engine: Engine, ref: str) -> dict[str, Any]:
    """The same, with the containers that run there."""
    item = find(engine, ref)
    where = DEFAULT_NETWORK if item["Name"] == networks.DEFAULT_NAME else item["Id"]
    from estiva.engine.state import runstate
    from estiva.store import containers

    for container_id, address in sorted(networks.leased_in(engine.db, where)):
        try:
            live = runstate.read(engine.paths, container_id)
        except EstivaError:
            live = None
        row = containers.get(engine.db, container_id)
        if live is None or row is None:
            continue
        network = live["network"]
        for place in network.get("places") or ():
            if place["network"] == where:
                item["Containers"][container_id] = {
                    "Name": live["name"],
                    "EndpointID": place["id"],
                    "MacAddress": place["mac"],
                    "IPv4Address": _with(place["address"], place["prefix"]),
                    "IPv6Address": _with(place["address6"], place["prefix6"]),
                }
        if not network.get("places") and where == DEFAULT_NETWORK:
            item["Containers"][container_id] = {
                "Name": live["name"],
                "EndpointID": endpoint_id(container_id),
                "MacAddress": network.get("mac", ""),
                "IPv4Address": _with(address, network.get("prefix", 0)),
                "IPv6Address": "",
            }
    return item


def endpoint_id(container_id: str) -> str:
    """Of a container on the default bridge, which has none of its own."""
    from hashlib import sha256

    return sha256(f"endpoint {container_id}".encode()).hexdigest()


def _with(address: str, prefix: int) -> str:
    return f"{address}/{prefix}" if address else ""


# ---- taking away


def remove(engine: Engine, ref: str, *, force: bool = False) -> None:
    """Remove a network, its bridge and its rules. Raises Conflict while containers run on it, which it names;
    NotFound unless `force`.
    """
    if ref in networks.PREDEFINED:
        raise Conflict(f"{ref} is a pre-defined network and cannot be removed")
    try:
        network = networks.get(engine.db, ref)
    except NotFound:
        if force:
            return
        raise
    settle_dead(engine, network)
    with engine.db.write(freeing=True) as transaction:
        networks.remove(transaction, networks.get(transaction, network.id))
    take_away(engine, network)


def settle_dead(engine: Engine, network: Network) -> None:
    """End what killed monitors left of containers on it."""
    from estiva.engine.state import teardown

    for container_id, _ in networks.leased_in(engine.db, network.id):
        teardown.reconcile_if_dead(engine.paths, engine.db, container_id)


def take_away(engine: Engine, network: Network) -> None:
    """The bridge and the rules of a network whose row has gone."""
    from estiva.engine.state import published
    from estiva.network import plug

    walls = published.firewalls(engine.paths, engine.db)
    plug.remove_network(engine.paths, engine.db, network, walls.own)


def prune(engine: Engine, filters: dict[str, list[str]] | None = None) -> list[str]:
    """Remove the networks that no container belongs to; their names. `filters`: see PRUNE_FILTERS. Raises
    InvalidInput.
    """
    from estiva.engine.state.prune_filters import Pruned

    wanted = Pruned(filters or {}, PRUNE_FILTERS)
    gone = []
    for network in networks.every(engine.db):
        if not wanted.takes(network.created, network.record["Labels"]):
            continue
        with engine.db.write(freeing=True) as transaction:
            if networks.members(transaction, network.id) or networks.leased_in(transaction, network.id):
                continue
            networks.remove(transaction, network)
        take_away(engine, network)
        gone.append(network.name)
    return gone


def reload(engine: Engine) -> list[str]:
    """Make the firewall of all networks anew where something is missing; what was, in words."""
    from estiva.engine.containers import sweep

    return sweep.mend_network(engine) + sweep.mend_rules(engine)
