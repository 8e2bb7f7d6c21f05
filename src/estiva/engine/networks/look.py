"""`network ls` and `network inspect`, in the shapes of the Docker Engine API."""

from __future__ import annotations

from estiva import settings
from estiva.engine.state import eventlog, runstate
from estiva.engine.state.net.endpoint_shape import endpoint_id
from estiva.errors import EstivaError, InvalidInput, brief
from estiva.network import ipam, networks
from estiva.network.default import dual
from estiva.network.ipam import DEFAULT_NETWORK
from estiva.network.networks import Network
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine

FILTERS = ("name", "id", "driver", "type", "label", "scope", "dangling")


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
            "Options": record.get("IPAMOptions"),
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
    """bridge, host or none: there is nothing else of them."""
    network_id, driver = eventlog.PREDEFINED[name]
    item: dict[str, Any] = {
        "Name": name,
        "Id": network_id,
        "Created": "0001-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": driver,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [] if name == networks.DEFAULT_NAME else None,
        },
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
        known, _ = settings.look()
        subnet = ipam.default_subnet(engine.db)
        if subnet is not None:
            part = ipam.asked(subnet, known)[1] if known else None
            within = {"IPRange": str(part)} if part is not None and subnet.covers(part) else {}
            config: dict[str, Any] = {"Subnet": str(subnet), **within, "Gateway": subnet.gateway}
            way = known.get("default-gateway")
            if way and way != subnet.gateway:
                config["AuxiliaryAddresses"] = {dual.WAY: way}
            item["IPAM"]["Config"].append(config)
        six = dual.shown(engine.db, known)
        if six is not None:
            item["IPAM"]["Config"].append({**six})
        item["EnableIPv6"] = known.get("ipv6", False)
        item["Options"] = {
            "com.docker.network.bridge.default_bridge": "true",
            networks.ICC: "true" if known.get("icc", True) else "false",
            networks.MASQUERADE: "true",
            networks.BINDING: known.get("ip", "0.0.0.0"),
            networks.BRIDGE_NAME: ipam.bridge_name(),
            networks.MTU: str(known.get("mtu", 1500)),
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
    for container_id, address in sorted(networks.leased_in(engine.db, where)):
        try:
            live = runstate.read(engine.paths, container_id)
        except EstivaError:
            live = None
        row = containers.get(engine.db, container_id)
        if live is None or row is None:
            continue
        name = eventlog.known(container_id, row[2]).get("name") or live["name"]  # from its start
        network = live["network"]
        for place in network.get("places") or ():
            if place["network"] == where:
                item["Containers"][container_id] = {
                    "Name": name,
                    "EndpointID": place["id"],
                    "MacAddress": place["mac"],
                    "IPv4Address": _with(place["address"], place["prefix"]),
                    "IPv6Address": _with(place["address6"], place["prefix6"]),
                }
        if not network.get("places") and where == DEFAULT_NETWORK:
            item["Containers"][container_id] = {
                "Name": name,
                "EndpointID": endpoint_id(container_id),
                "MacAddress": network.get("mac", ""),
                "IPv4Address": _with(address, network.get("prefix", 0)),
                "IPv6Address": "",
            }
    return item


def _with(address: str, prefix: int) -> str:
    return f"{address}/{prefix}" if address else ""
