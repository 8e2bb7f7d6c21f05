"""Networks of one's own, who belongs to them: every statement on the tables `networks` and `endpoints`.

    networks     what there is: name, driver, and a record in Docker's words (types.py)
    endpoints    to which of them a container belongs, also while it does not run, and what it has asked for
                 there
    leases       the addresses of those that run (pools.take)

`places_in` is what a start takes: in the transaction that says "running", an address of each of its networks.
The default bridge has no row in `networks`. It is the network of every container with that mode, unless an
endpoint row says otherwise; such a row, under ipam.DEFAULT_NETWORK, also holds what was asked for there.
A network that has gone leaves the endpoints of stopped containers: their next start names it.
"""

from __future__ import annotations

import os
import time

from estiva import fastjson
from estiva.errors import Conflict, InvalidInput, NotFound, StateError, Unavailable, brief
from estiva.network import ipam
from estiva.network.ipam import DEFAULT_NETWORK
from estiva.network.pools import Pool, number, take, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    from estiva.network.ipam import Reader
    from estiva.network.types import EndpointRecord, NetworkRecord, Place, Read, Subnet

    class Transaction(Reader, ipam.Transaction, Protocol): ...


DEFAULT_NAME, NONE = "bridge", "none"
PREDEFINED = ("bridge", "host", NONE)
BRIDGE, MACVLAN, IPVLAN = "bridge", "macvlan", "ipvlan"
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
BINDING = "com.docker.network.bridge.host_binding_ipv4"
BRIDGE_NAME = "com.docker.network.bridge.name"
MTU = "com.docker.network.driver.mtu"
PREFIX = "com.docker.network.container_iface_prefix"
IFNAME = "com.docker.network.endpoint.ifname"
HEX = frozenset("0123456789abcdef")

_KINDS = {
    **dict.fromkeys(("Options", "IPAMOptions", "Labels"), dict),
    **dict.fromkeys(("Adopted", "Internal", "EnableIPv6", "Attachable"), bool),
    "Subnets": list,
    "Bridge": str,
}
_ABSENT: dict[str, object] = {"IPAMOptions": {}}  # what a record may be without: nobody has given any


class Network:
    """One row. Raises StateError when its record can't be read."""

    __slots__ = ("id", "name", "driver", "created", "record")

    def __init__(self, network_id: str, name: str, driver: str, created: float, stored: str) -> None:
        self.id = network_id
        self.name = name
        self.driver = driver
        self.created = created
        record: Any = fastjson.stored(stored, what=f"the record of network {name}")
        for key, kind in _KINDS.items():
            if not isinstance(record, dict) or not isinstance(record.get(key, _ABSENT.get(key)), kind):
                raise StateError(
                    f"the record of network {name} is damaged: {key} is missing or no {kind.__name__}"
                )
        self.record: NetworkRecord = record

    def pools(self, bits: int) -> list[Pool]:
        """Its subnets of IPv4 (32) or IPv6 (128); a bridge has one."""
        subnets = self.record["Subnets"]
        return [Pool(subnet) for subnet in subnets if (":" in subnet["Subnet"]) == (bits == 128)]

    def pool(self, bits: int, address: str = "") -> Pool | None:
        """The subnet that an address is of, else the first."""
        found = self.pools(bits)
        return next((pool for pool in found if address and pool.holds(address)), found[0] if found else None)

    def option(self, name: str, default: str = "") -> str:
        """A driver option as it was given."""
        return self.record["Options"].get(name) or default

    def truth(self, name: str, default: bool) -> bool:
        """A driver option that is yes or no."""
        word = self.option(name).lower()
        return word in ("1", "t", "true") if word else default


_ROWS = "SELECT id, name, driver, created, record FROM networks"


# ---- networks


def every(reader: Reader) -> list[Network]:
    """All, by name."""
    return [Network(*row) for row in reader.read(f"{_ROWS} ORDER BY name")]


def subnets(reader: Reader) -> list[tuple[str, Subnet]]:
    """Those of all, with the network's name."""
    return [(network.name, subnet) for network in every(reader) for subnet in network.record["Subnets"]]


def find(reader: Reader, ref: str) -> Network | None:
    """By name, id, or the beginning of an id. Raises InvalidInput when that fits several."""
    rows = reader.read(f"{_ROWS} WHERE id = ? OR name = ? ORDER BY id = ? DESC LIMIT 1", (ref, ref, ref))
    if not rows and ref and HEX.issuperset(ref):
        rows = reader.read(f"{_ROWS} WHERE id >= ? AND id < ? LIMIT 2", (ref, ref + "g"))
        if len(rows) > 1:
            raise InvalidInput(f"network {ref} is ambiguous: it is the beginning of several ids")
    return Network(*rows[0]) if rows else None


def get(reader: Reader, ref: str) -> Network:
    """As `find`. Raises NotFound."""
    found = find(reader, ref)
    if found is None:
        raise NotFound(f"network {brief(ref, 80)} not found", hint="`estiva network ls` lists them all")
    return found


def any_there(reader: Reader) -> bool:
    """Whether there is a network of one's own."""
    return bool(reader.read("SELECT 1 FROM networks LIMIT 1"))


def add(transaction: Transaction, network_id: str, name: str, driver: str, record: NetworkRecord) -> None:
    """A new one. Raises Conflict when the name is taken."""
    cursor = transaction.execute(
        "INSERT OR IGNORE INTO networks (id, name, driver, created, record) VALUES (?, ?, ?, ?, ?)",
        (network_id, name, driver, time.time(), fastjson.dumps(record)),
    )
    if cursor.rowcount != 1:
        raise Conflict(f"network with name {name} already exists", hint=f"`estiva network rm {name}`")


def remove(transaction: Transaction, network: Network) -> None:
    """Take a network away, that nobody is on."""
    transaction.execute("DELETE FROM networks WHERE id = ?", (network.id,))
    keys = (f"network.{network.id}.next", f"network.{network.id}.next6")
    transaction.execute("DELETE FROM meta WHERE key IN (?, ?)", keys)


# ---- endpoints


def belongings(reader: Reader, container_id: str) -> dict[str, EndpointRecord]:
    """The endpoints of a container, by the network's id, in the order of its interfaces."""
    rows = reader.read("SELECT network, record FROM endpoints WHERE container = ?", (container_id,))
    found = {str(network): endpoint_record(text) for network, text in rows}
    return dict(sorted(found.items(), key=lambda item: item[1].get("Position", 0)))


def has_any(reader: Reader, container_id: str) -> bool:
    """Whether a container has endpoint rows."""
    return bool(reader.read("SELECT 1 FROM endpoints WHERE container = ? LIMIT 1", (container_id,)))


def belonging_of_each(reader: Reader, read: Read | None = None) -> dict[str, dict[str, EndpointRecord]]:
    """`belongings` of every container that has some; `read` in place of `endpoint_record`."""
    found: dict[str, dict[str, EndpointRecord]] = {}
    for container_id, network, stored in reader.read("SELECT container, network, record FROM endpoints"):
        found.setdefault(container_id, {})[network] = (read or endpoint_record)(stored)
    return found


def members(reader: Reader, network_id: str) -> list[str]:
    """The ids of the containers that belong to a network."""
    rows = reader.read("SELECT container FROM endpoints WHERE network = ?", (network_id,))
    return [str(container) for (container,) in rows]


def leased_in(reader: Reader, network_id: str) -> list[tuple[str, str]]:
    """(container, address) of those that run on a network."""
    rows = reader.read("SELECT container, address FROM leases WHERE network = ?", (network_id,))
    return [(str(container), str(address)) for container, address in rows]


def belong(transaction: Transaction, network_id: str, container_id: str, record: EndpointRecord) -> None:
    """A container belongs to a network from now on."""
    transaction.execute(
        "INSERT OR REPLACE INTO endpoints (network, container, record) VALUES (?, ?, ?)",
        (network_id, container_id, fastjson.dumps(record)),
    )


def leave(transaction: Transaction, network_id: str, container_id: str) -> None:
    """A container does not belong to a network any more; its addresses there are free."""
    both = (network_id, container_id)
    transaction.execute("DELETE FROM endpoints WHERE network = ? AND container = ?", both)
    transaction.execute("DELETE FROM leases WHERE network = ? AND container = ?", both)


def endpoint_record(stored: str) -> EndpointRecord:
    """A row's. Raises StateError."""
    record: EndpointRecord = fastjson.stored(stored, what="the record of an endpoint")
    return record


# ---- what a start takes


def places_in(transaction: Transaction, container_id: str, *, default: bool) -> list[Place]:
    """Lease a container its addresses, inside an open write transaction; `default`: the default bridge is its
    network mode.

    Raises NotFound when a network has gone, Conflict and Unavailable as pools.take and ipam.reserve_in do.
    """
    known = belongings(transaction, container_id)
    if default and DEFAULT_NETWORK not in known:
        known = {DEFAULT_NETWORK: {"Name": DEFAULT_NAME}, **known}
    places = []
    for network_id, record in known.items():
        if not record.get("Detached"):
            places.append(place_in(transaction, container_id, network_id, record))
    name_interfaces(places)
    elect(places)
    return places


def place_in(transaction: Transaction, container_id: str, network_id: str, record: EndpointRecord) -> Place:
    """One of them: see `places_in`. It has no interface's name yet."""
    place = _blank(network_id, record)
    if network_id == DEFAULT_NETWORK:
        from estiva.network.default import dual

        dual.fill(transaction, place, container_id, lambda: subnets(transaction))
    else:
        network = find(transaction, network_id)
        if network is None:
            raise NotFound(
                f"network {place['name'] or network_id[:12]} not found: it was removed",
                hint="`estiva network disconnect -f` takes the container out of it",
            )
        _fill(transaction, place, container_id, network, record)
    if not place["mac"]:
        address = place["address"].split(".")
        place["mac"] = "02:e5:" + ":".join(f"{int(part):02x}" for part in address)
    return place


def _blank(network_id: str, record: EndpointRecord) -> Place:
    return {
        "network": network_id,
        "name": record.get("Name", DEFAULT_NAME),
        "driver": BRIDGE,
        "id": os.urandom(32).hex(),
        "interface": record.get("DriverOpts", {}).get(IFNAME) or "eth",
        "named": IFNAME in record.get("DriverOpts", {}),
        "bridge": "",
        "mode": "",
        "address": "",
        "prefix": 0,
        "gateway": "",
        "address6": "",
        "prefix6": 0,
        "gateway6": "",
        "locals": record.get("LinkLocal", []),
        "mac": record.get("MacAddress") or "",
        "mtu": 0,
        "isolated": False,
        "internal": False,
        "default": False,
        "position": record.get("Position", 0),
        "priority": record.get("GwPriority", 0),
    }


def empty_place(network: Network) -> Place:
    """A place that no container has, at the gateway: for who makes the bridge before a container comes."""
    place = _blank(network.id, {"Name": network.name})
    _describe(place, network)
    place["address"], place["address6"] = place["gateway"], place["gateway6"]
    return place


def _describe(place: Place, network: Network) -> None:
    """What a place has of its network."""
    place["name"], place["driver"] = network.name, network.driver
    place["internal"] = network.record["Internal"]
    place["isolated"] = not network.truth(ICC, True)
    place["mtu"] = int(network.option(MTU, "0"))
    place["bridge"] = network.record["Bridge"] or network.option("parent")
    place["mode"] = network.option(f"{network.driver}_mode")
    if not place["named"]:
        place["interface"] = network.option(PREFIX, "eth")
    for bits, suffix in ((32, ""), (128, "6")):
        pool = network.pool(bits)
        if pool is not None:
            part: Any = place
            part["prefix" + suffix], part["gateway" + suffix] = pool.prefix, pool.gateway


def _fill(
    transaction: Transaction, place: Place, container_id: str, network: Network, record: EndpointRecord
) -> None:
    """The place in a network that has a row."""
    _describe(place, network)
    held = [one for where, one in ipam.leases(transaction, container_id) if where == network.id]
    for bits, suffix, wish in ((32, "", "IPv4"), (128, "6", "IPv6")):
        pools = network.pools(bits)
        if not pools:
            continue
        wished = str(record.get(wish) or "")
        address = next((one for one in held if (":" in one) == (bits == 128)), "")
        if not address:
            address = _take(transaction, network, container_id, pools, wished)
        pool = network.pool(bits, address) or pools[0]
        part: Any = place
        part["address" + suffix], part["prefix" + suffix] = address, pool.prefix
        part["gateway" + suffix] = pool.gateway


def _take(
    transaction: Transaction, network: Network, container_id: str, pools: list[Pool], wished: str
) -> str:
    """An address of the first of the pools that has one, or the one that is wished. Raises as `take` does."""
    if wished:
        pools = [pool for pool in pools if pool.holds(wished)] or pools[:1]
    for pool in pools[:-1]:
        try:
            return take(transaction, network.id, network.name, pool, container_id, wished)
        except Unavailable:
            pass  # the next one
    return take(transaction, network.id, network.name, pools[-1], container_id, wished)


def adopt_in(transaction: Transaction, container_id: str, place: Place) -> None:
    """Lease a running container the addresses that it has, and add the network, where the database that knew
    of both was lost: as far as the place tells of it.
    """
    if place["network"] == DEFAULT_NETWORK:
        from estiva.network.default import dual

        dual.adopt_in(transaction, container_id, place)
        return
    subnets: list[Subnet] = []
    part: Any = place
    for suffix in ("", "6"):
        address, prefix = part["address" + suffix], part["prefix" + suffix]
        if not address:
            continue
        bits, value = number(address)
        base = text(bits, value >> (bits - prefix) << (bits - prefix))
        subnets.append({"Subnet": f"{base}/{prefix}", "Gateway": part["gateway" + suffix]})
        sql = "INSERT OR IGNORE INTO leases (network, address, container) VALUES (?, ?, ?)"
        transaction.execute(sql, (place["network"], address, container_id))
    parent = place["driver"] != BRIDGE
    options = {"parent": place["bridge"], f"{place['driver']}_mode": place["mode"]} if parent else {}
    if place["isolated"]:
        options[ICC] = "false"
    record: NetworkRecord = {
        "Subnets": subnets,
        "Bridge": "" if parent else place["bridge"],
        "Adopted": False,
        "Internal": place["internal"],
        "EnableIPv6": bool(place["address6"]),
        "Attachable": False,
        "Options": options,
        "Labels": {},
    }
    if find(transaction, place["network"]) is None:
        add(transaction, place["network"], place["name"], place["driver"], record)
    wished: EndpointRecord = {"Name": place["name"], "Position": place["position"]}
    belong(transaction, place["network"], container_id, wished)


def name_interfaces(places: Iterable[Place], taken: Iterable[str] = ()) -> None:
    """Give each that was not given a name the next free number after its prefix. Raises Conflict."""
    names = set(taken)
    for place in places:
        if place["named"]:
            if place["interface"] in names:
                raise Conflict(f"two interfaces can't be called {place['interface']}")
            names.add(place["interface"])
    for place in places:
        if place["named"]:
            continue
        number = 0
        while f"{place['interface']}{number}" in names:
            number += 1
        place["interface"] += str(number)
        names.add(place["interface"])


def elect(places: list[Place]) -> Place | None:
    """Say where the default route goes: the highest priority, then the first name of those with a way out.
    The one that it is; None where there is no way out."""
    out = [place for place in places if place["gateway"] and not place["internal"]]
    chosen = min(out, key=lambda place: (-place["priority"], place["name"]), default=None)
    for place in places:
        place["default"] = place is chosen
    return chosen
