"""The networks of one's own that a container is to be on: NetworkingConfig.EndpointsConfig of the Docker
Engine API, judged, and the names in it looked up. Loaded only for a container that asks for such.

    {NETWORK: {"Aliases", "Links", "IPAMConfig": {"IPv4Address", "IPv6Address", "LinkLocalIPs"}, "MacAddress",
               "DriverOpts", "GwPriority"}}
"""

from __future__ import annotations

from estiva.errors import Conflict, InvalidInput, NotFound, Unsupported, brief
from estiva.network import links, networks, pools
from estiva.network.ipam import DEFAULT_NETWORK, hardware_address
from estiva.network.networks import IFNAME
from estiva.oci import rules
from estiva.oci.rules import EACH, EACH_SAID, ONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.config_types import Config, HostConfig
    from estiva.network.ipam import Reader
    from estiva.network.networks import Network
    from estiva.network.types import EndpointRecord

    Tell = Callable[[dict[str, Any]], object] | None

_STRINGS = ["string"]
# what a client may send back of what `inspect` has told is not an order
_TOLD = dict.fromkeys(
    ("EndpointID", "Gateway", "GlobalIPv6Address", "IPAddress", "IPv6Gateway", "NetworkID"), "string"
)
ENDPOINT: dict[str, Any] = {
    ONLY: None,
    "Aliases": _STRINGS,
    "DNSNames": _STRINGS,
    "DriverOpts": {EACH_SAID: "string"},
    "GwPriority": "int64",
    "IPAMConfig": {
        ONLY: None,
        "IPv4Address": "string",
        "IPv6Address": "string",
        "LinkLocalIPs": _STRINGS,
    },
    "Links": _STRINGS,
    "MacAddress": "string",
    **_TOLD,
    **dict.fromkeys(("GlobalIPv6PrefixLen", "IPPrefixLen"), "int64"),
}
DOCKERS = "com.docker.network."  # its own drivers' options: sysctls, among others
LABEL = 63  # bytes between two dots of a name, RFC 1035


def settle(
    engine: Engine, config: Config, host: HostConfig, networking: dict[str, Any], tell: Tell = None
) -> dict[str, EndpointRecord]:
    """What each network that the container belongs to is asked for, by the network's id; nothing for the
    default bridge alone. `tell`: see judge. Raises InvalidInput, NotFound, Conflict, Unsupported.
    """
    rules.check(networking, {EACH: ENDPOINT}, "EndpointsConfig")
    mode = host["NetworkMode"]
    asked = {("bridge" if name == "default" else name): networking[name] or {} for name in networking}
    if mode in ("none", "host") or ":" in mode:
        _refuse(mode, asked)
        return {}
    asked = {mode: asked.pop(mode, {}), **asked}
    wished: dict[str, EndpointRecord] = {}
    for name, given in asked.items():
        network_id, record = judge(engine, name, given, tell)
        if network_id in wished and given:
            raise Conflict(f"network {name} is given twice")
        if network_id not in wished:
            wished[network_id] = {**record, "Position": len(wished)}
    if not any(wished[DEFAULT_NETWORK].values() if len(wished) == 1 and DEFAULT_NETWORK in wished else (1,)):
        return {}
    return wished


# What is asked of an endpoint, as people say it
OPTIONS = {
    "Aliases": "--network-alias",
    "DriverOpts": "driver-opt",
    "GwPriority": "gw-priority",
    "IPAMConfig": "--ip",
    "Links": "--link",
    "MacAddress": "--mac-address",
}


def _refuse(mode: str, asked: dict[str, Any]) -> None:
    """A container without networks of its own can have nothing of them."""
    kind = "another container's" if ":" in mode else mode
    for name, given in asked.items():
        if name != mode:
            raise Conflict(
                f"container cannot be connected to network {name}: its network mode is {kind}",
                hint="a network of your own can't be had together with none, host or container:NAME",
            )
        for option, value in given.items():
            if value:
                word = OPTIONS.get(option, option)
                raise Conflict(f"{word} can't be used with the network mode {kind}")


def judge(engine: Engine, name: str, given: dict[str, Any], tell: Tell = None) -> tuple[str, EndpointRecord]:
    """(the network's id, what is asked of it), of one endpoint. `tell` is told, as events of status
    "warning", of driver options that no driver knows; without it they are refused."""
    network = None if name == networks.DEFAULT_NAME else find(engine.db, name)
    record: EndpointRecord = {"Name": network.name} if network is not None else {}
    own = given.get("IPAMConfig") or {}
    if network is None and (own.get("IPv4Address") or own.get("IPv6Address")):
        raise InvalidInput(
            "a static IP address is supported on user defined networks only",
            hint="`estiva network create` makes one",
        )
    if network is None and given.get("Aliases"):
        raise InvalidInput("network-scoped aliases are supported for user defined networks only")
    if network is not None and given.get("IPAMConfig") is not None:
        record["IPv4"] = ""  # docker shows {} where {} was asked for, and null where nothing was
    for key, wish, bits in (("IPv4Address", "IPv4", 32), ("IPv6Address", "IPv6", 128)):
        if own.get(key) and network is not None:
            _address(network, record, wish, bits, own[key])
    for text in own.get("LinkLocalIPs") or ():
        address = _link_local(text)
        if address not in record.setdefault("LinkLocal", []):
            record["LinkLocal"].append(address)
    if tell is not None and "LinkLocal" in record and links.sysctl_of(links.NF_CALL) == "1":
        # the firewall lets nobody send from other addresses than those of the network's subnets
        line = "link-local IPv4 addresses reach no other container while br_netfilter is on"
        tell({"id": "", "status": "warning", "message": line})
    if given.get("MacAddress"):
        record["MacAddress"] = hardware_address(given["MacAddress"]).hex(":")
    if given.get("GwPriority"):
        record["GwPriority"] = given["GwPriority"]
    for alias in given.get("Aliases") or ():
        _name("alias", alias)
        record.setdefault("Aliases", []).append(alias)
    for words in dict.fromkeys(given.get("Links") or ()):
        link = _link(engine, words, network)
        if link not in record.get(
            "Links", ()
        ):  # compose gives each twice: of the container, and of the network
            record.setdefault("Links", []).append(link)
            record.setdefault("Linked", []).append(words)
    for option, value in (given.get("DriverOpts") or {}).items():
        _driver_option(option, value, tell)
        record.setdefault("DriverOpts", {})[option] = value
    return (network.id if network is not None else DEFAULT_NETWORK), record


def find(reader: Reader, name: str) -> Network:
    """A network that a container may be on. Raises NotFound, InvalidInput."""
    if name in networks.PREDEFINED:
        raise Conflict(f"a container can't be on network {name} beside others")
    return networks.get(reader, name)


def _address(network: Network, record: EndpointRecord, wish: str, bits: int, text: str) -> None:
    given, _ = pools.number(text)
    if given != bits:
        raise InvalidInput(f"invalid {wish} address: {brief(text, 60)}")
    pool = network.pool(bits, text)
    if pool is None:
        raise InvalidInput(
            f"network {network.name} has no {wish} subnet", hint="`estiva network create --ipv6`"
        )
    whole: Any = record
    whole[wish] = pool.check(text, network.name)


def _link_local(text: str) -> str:
    """Beside what the network gives: of a subnet that leads nowhere else, so that no address of others can be
    taken. Raises InvalidInput."""
    bits, value = pools.number(text)
    if (value >> 16 != 0xA9FE) if bits == 32 else (value >> 118 != 0x3FA):
        raise InvalidInput(
            f"invalid link-local IP address: {brief(text, 60)}", hint="one of 169.254.0.0/16 or fe80::/10"
        )
    return pools.text(bits, value)


def _name(what: str, text: str) -> None:
    """Raises InvalidInput for what no name can be, in a host's sense: of labels that the DNS has."""
    labels = text.split(".")
    if len(text) > 253 or not all(
        0 < len(label.encode()) <= LABEL and label.isprintable() and " " not in label for label in labels
    ):
        raise InvalidInput(f"invalid {what} '{brief(text, 60)}'", hint="a name as of a host")


def _link(engine: Engine, words: str, network: Network | None) -> list[str]:
    """[id or name, alias] of CONTAINER[:ALIAS]. In a network with a name server a name stays one, for whoever
    has it when somebody asks; on the default bridge the container is to be there."""
    container, _, alias = words.partition(":")
    if not container:
        raise InvalidInput(f"invalid link '{brief(words, 60)}'", hint="CONTAINER or CONTAINER:ALIAS")
    from estiva.engine.state import lookup

    container = container.removeprefix("/")
    try:
        linked = lookup.resolve(engine, container)
    except NotFound:
        if network is None:
            raise
        _name("link", container)
        key, name = container, container
    else:
        name = linked["Name"].removeprefix("/")
        key = name if network is not None and container == name else linked["Id"]
    alias = alias or name
    _name("alias", alias)
    return [key, alias]


def _driver_option(option: str, value: str, tell: Tell) -> None:
    if option != IFNAME:
        line = f"the driver option {brief(option, 100)} of an endpoint is not known"
        if tell is None or option.startswith(DOCKERS):
            raise Unsupported(line, hint=f"only {IFNAME}")
        tell({"id": "", "status": "warning", "message": f"{line} and has no effect"})
        return
    if not value or len(value) > 15 or not value.isascii() or not value.replace("-", "_").isidentifier():
        raise InvalidInput(
            f"{IFNAME}={value}: not the name of an interface", hint="at most 15 letters and digits"
        )
    if value == "lo":
        raise Conflict(f"{IFNAME}={value}: that is the loopback's name")
