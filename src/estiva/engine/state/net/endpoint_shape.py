"""NetworkSettings.Networks in Docker's words: what a container has of its networks, and what it has asked
for. Loaded only for containers in networks of one's own, and by inspect.
"""

from __future__ import annotations

from estiva.engine.state import eventlog
from estiva.engine.state import record as records
from estiva.network.ipam import DEFAULT_NETWORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import Record
    from estiva.network.types import EndpointRecord, Place


def endpoint_id(container_id: str) -> str:
    """Of a container on the default bridge alone, which has none of its own."""
    from hashlib import sha256

    return sha256(f"endpoint {container_id}".encode()).hexdigest()


def running(places: list[Place]) -> dict[str, Any]:
    """The keys of NetworkSettings of a container that runs: Networks, and what old clients look for, which is
    of the default bridge alone."""
    shapes = {place["name"]: shape(place) for place in places}
    own = (
        "IPAddress", "IPPrefixLen", "Gateway", "MacAddress", "EndpointID",
        "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway",
    )  # fmt: skip
    bridge = shapes.get("bridge") or dict.fromkeys(own, "") | {"IPPrefixLen": 0, "GlobalIPv6PrefixLen": 0}
    return {"Networks": shapes, **{key: bridge[key] for key in own}}


def complete(record: Record) -> None:
    """Fill in Networks of one that is looked at: every key of an endpoint, and the ids on the networks that
    have no rows, which Docker's asks for when a container starts."""
    mode = record["HostConfig"].get("NetworkMode") or "bridge"
    shown = record["NetworkSettings"].setdefault("Networks", {} if ":" in mode else {mode: {}})
    begun = records.has_run(record)
    for name, endpoint in shown.items():
        for key, value in records.ENDPOINT_DEFAULTS.items():
            endpoint.setdefault(key, value)
        if begun and name in eventlog.PREDEFINED:
            endpoint["NetworkID"] = eventlog.PREDEFINED[name][0]
            if record["State"]["Running"]:
                endpoint["EndpointID"] = endpoint["EndpointID"] or endpoint_id(record["Id"])


def publishes(places: list[Place]) -> bool:
    """Whether one of a running container's networks publishes its ports."""
    from estiva.network import plug

    main = plug.primary(places)
    return main is not None and plug.publishes(main)


def places_of(live: Any) -> list[Place]:
    """What a running container has of networks, by its run state; there the default bridge alone is told in
    other words."""
    network = live["network"]
    if "places" in network:
        places: list[Place] = network["places"]
        return places
    if not network.get("address"):
        return []
    from estiva.network import ipam, links

    return [
        {
            "network": DEFAULT_NETWORK,
            "name": "bridge",
            "driver": "bridge",
            "id": endpoint_id(live["id"]),
            "interface": links.INTERFACE,
            "named": False,
            "bridge": ipam.bridge_name(),
            "mode": "",
            "address": network["address"],
            "prefix": network["prefix"],
            "gateway": network["gateway"],
            "address6": "",
            "prefix6": 0,
            "gateway6": "",
            "mac": network["mac"],
            "mtu": 0,
            "isolated": False,
            "internal": False,
            "default": True,
            "position": 0,
            "priority": 0,
        }
    ]


def shape(place: Place) -> dict[str, Any]:
    """One of Networks."""
    out = not place["internal"]
    return {
        "NetworkID": "" if place["network"] == DEFAULT_NETWORK else place["network"],
        "EndpointID": place["id"],
        "Gateway": place["gateway"] if out else "",
        "IPAddress": place["address"],
        "IPPrefixLen": place["prefix"],
        "IPv6Gateway": place["gateway6"] if out else "",
        "GlobalIPv6Address": place["address6"],
        "GlobalIPv6PrefixLen": place["prefix6"],
        "MacAddress": place["mac"],
    }


def wished(
    networks: dict[str, Any], belongings: dict[str, EndpointRecord], container_id: str, name: str
) -> None:
    """Complete Networks with what was asked for, and with networks that it belongs to and is not in now."""
    for network_id, record in belongings.items():
        called = record.get("Name") or "bridge"
        if record.get("Detached"):
            networks.pop(called, None)
            continue
        entry = networks.setdefault(called, {})
        own: dict[str, Any] = {
            key: record.get(wish)
            for key, wish in (("IPv4Address", "IPv4"), ("IPv6Address", "IPv6"))
            if record.get(wish)
        }
        if network_id != DEFAULT_NETWORK:
            entry.setdefault("NetworkID", network_id)
            aliases = record.get("Aliases") or []
            entry["DNSNames"] = list(dict.fromkeys([name, *aliases, container_id[:12]]))
        if record.get("LinkLocal"):
            own["LinkLocalIPs"] = record["LinkLocal"]
        entry["IPAMConfig"] = own if "IPv4" in record or own else None
        entry["Aliases"] = record.get("Aliases")
        links = [
            ":".join((holder[:12] if len(holder) == 64 else holder, alias))
            for holder, alias in record.get("Links") or ()
        ]
        entry["Links"] = record.get("Linked") or links or None
        entry["DriverOpts"] = record.get("DriverOpts")
        if record.get("GwPriority"):
            entry["GwPriority"] = record["GwPriority"]
        if record.get("MacAddress") and not entry.get("MacAddress"):
            entry["MacAddress"] = record["MacAddress"]
