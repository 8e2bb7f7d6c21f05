"""Values of the Python API's options as Docker's API has them. A ValueError is words that can't be read."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from estiva.engine.spec import mounts
from estiva.errors import Conflict
from estiva.oci import units
from estiva.sdk import values

if TYPE_CHECKING:
    from collections.abc import Callable


def listed(value: Any) -> list[Any]:
    """A list of one text, or a list as it is."""
    return value if isinstance(value, list) else [value]


def path(value: str | os.PathLike[str]) -> str:
    return os.fspath(value)


def number(value: str | int) -> str:
    """A name, or a number written out."""
    return value if isinstance(value, str) else str(int(value))


def numbers(value: Any) -> list[str]:
    return [number(each) for each in listed(value)]


def texts(table: dict[str, Any]) -> dict[str, str]:
    return {key: str(each) for key, each in table.items()}


def labels(value: Any) -> dict[str, str]:
    """{name: text}, or names, which may have "=TEXT" after them."""
    if isinstance(value, dict):
        return texts(value)
    return {name: text for name, _, text in (word.partition("=") for word in listed(value))}


def words(value: Any) -> list[str]:
    """The words of a command; a text is split as a shell does, but nothing in it is expanded."""
    return shlex.split(value) if isinstance(value, str) else [os.fspath(word) for word in listed(value)]


def size(value: int | str) -> int:
    """Bytes of 1024 or "256m"; -1 where that is unlimited."""
    if isinstance(value, str):
        return -1 if value == "-1" else units.size(value)
    return value


def nanoseconds(value: float | str) -> int:
    """Of seconds, or of "1m30s"."""
    if isinstance(value, str):
        return units.duration(value)
    if not 0 <= value < units.MAX // 10**9:
        raise ValueError("it must be seconds from 0")
    return round(value * 1e9)


def count(value: int) -> int:
    if value < 0:
        raise ValueError("it cannot be negative")
    return value


def environment(value: Any) -> list[str]:
    """NAME=VALUE of a dict, NAME alone for None, which removes the image's; a list as it is."""
    return values.pairs(value) if isinstance(value, dict) else listed(value)


def each(key: str, read: Callable[[Any], int] = int) -> Callable[[dict[Any, Any]], list[dict[str, Any]]]:
    """A reader of {device: number}."""

    def reader(table: dict[Any, Any]) -> list[dict[str, Any]]:
        return [{"Path": os.fspath(device), key: read(value)} for device, value in table.items()]

    return reader


def hosts(value: Any) -> list[str]:
    """{name: address}, or "NAME:ADDRESS"."""
    if isinstance(value, dict):
        return [f"{name}:{text}" for name, text in value.items()]
    return [word.replace("=", ":", 1) if ":" not in word else word for word in listed(value)]


def binds(value: Any) -> list[str]:
    """{source: place}: a path of the host, or a volume's name; the place may have ":ro" after it, or be
    {"bind": place, "mode": "ro"}. A list has "SOURCE:PLACE[:ro]".
    """
    if not isinstance(value, dict):
        return [_bind(word) for word in listed(value)]
    result = []
    for source, place in value.items():
        if isinstance(place, dict):
            mode = place.get("mode") or ""
            place = place.get("bind", "") + (f":{mode}" if mode else "")
        result.append(f"{mounts.absolute(str(os.fspath(source)))}:{os.fspath(place)}")
    return result


def _bind(word: str) -> str:
    source, colon, rest = word.partition(":")
    return f"{mounts.absolute(source)}:{rest}" if colon else word


# --- ports -----------------------------------------------------------------------------------------------


def _port(port: int | str) -> str:
    return str(port) if "/" in str(port) else f"{port}/tcp"


def exposed(value: Any) -> dict[str, dict[str, Any]]:
    return {_port(port): {} for port in listed(value)}


def ports(value: Any) -> dict[str, list[dict[str, str]]]:
    """{80: 8080, "53/udp": None, 443: ("127.0.0.1", 8443), 90: [9000, 9001]}: a port of the container, and
    the host's; None is any free one. A list has "[[ADDRESS:]HOST:]PORT[/PROTOCOL]", as the command line.
    """
    if isinstance(value, dict):
        return {_port(port): _bindings(published) for port, published in value.items()}
    found: dict[str, list[dict[str, str]]] = {}
    for word in map(str, listed(value)):
        rest, slash, protocol = word.partition("/")
        head, _, inner = rest.rpartition(":")
        address, colon, published = head.rpartition(":")
        binding = {"HostPort": published}
        if colon:
            binding["HostIp"] = address.removeprefix("[").removesuffix("]")
        found.setdefault(_port(inner + slash + protocol), []).append(binding)
    return found


def _bindings(published: Any) -> list[dict[str, str]]:
    if isinstance(published, tuple):
        return [{"HostIp": published[0], "HostPort": str(published[1])}]
    if isinstance(published, list):
        return [{"HostPort": str(one)} for one in published]
    return [{"HostPort": str(published or "")}]


# --- networks --------------------------------------------------------------------------------------------


def mode(value: Any) -> str:
    """NetworkMode: the first network that was asked for."""
    first: str = next(iter(value), "default") if isinstance(value, (dict, list)) else value
    return first


def endpoint(settings: dict[str, Any]) -> dict[str, Any]:
    """Docker's EndpointConfig of one network's settings."""
    found: dict[str, Any] = {}
    for key, name in (("ip", "IPv4Address"), ("ip6", "IPv6Address")):
        if settings.get(key):
            found.setdefault("IPAMConfig", {})[name] = settings[key]
    if settings.get("link_local_ips"):
        found.setdefault("IPAMConfig", {})["LinkLocalIPs"] = listed(settings["link_local_ips"])
    if settings.get("mac_address"):
        found["MacAddress"] = settings["mac_address"]
    for key, name in (("aliases", "Aliases"), ("links", "Links")):
        if settings.get(key):
            found[name] = _linked(settings[key])
    if settings.get("driver_opts"):
        found["DriverOpts"] = texts(settings["driver_opts"])
    if "gw_priority" in settings:
        found["GwPriority"] = settings["gw_priority"]
    return found


def _linked(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}:{alias}" for name, alias in value.items()]
    return listed(value)


def endpoints(options: dict[str, Any]) -> dict[str, Any] | None:
    """EndpointsConfig of network=, ip= and the like, which are of the first network; None where a mode says
    all. Raises InvalidInput, Conflict.
    """
    given = options.get("network", "default")
    names = given if isinstance(given, (dict, list)) else [given]
    settings: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in settings:
            raise Conflict(f"network {name} is asked for twice")
        settings[name] = dict((given[name] if isinstance(given, dict) else None) or {})
    if not settings:
        settings["default"] = {}
    first = next(iter(settings))
    for key in ("ip", "ip6", "link_local_ips", "mac_address", "links", "network_alias"):
        if options.get(key):
            word = "aliases" if key == "network_alias" else key
            if settings[first].get(word):
                raise Conflict(f"{key} and the {word} of network {first} can't be given both")
            settings[first][word] = options[key]
    if len(settings) == 1 and not settings[first]:
        return None
    return {name: endpoint(one) for name, one in settings.items()}


# --- the rest --------------------------------------------------------------------------------------------


def restart(text: str) -> dict[str, Any]:
    """RestartPolicy of "on-failure:3"."""
    name, colon, most = text.partition(":")
    if colon and not (most.isascii() and most.isdigit() and len(most) < 10):
        raise ValueError("it is no, always, unless-stopped or on-failure[:N]")
    return {"Name": name, "MaximumRetryCount": int(most) if colon else 0}


def check(value: Any) -> list[str]:
    """The Test of a health check: a text goes to the image's shell, "none" is no check, a list is words."""
    if isinstance(value, str):
        return ["NONE"] if value == "none" else ["CMD-SHELL", value]
    plain = [os.fspath(word) for word in value]
    return plain if plain and plain[0] in ("CMD", "CMD-SHELL", "NONE") else ["CMD", *plain]


def gpus(value: Any) -> dict[str, Any]:
    """A DeviceRequest: "all", how many, or their ids."""
    request = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    if value == "all":
        request["Count"] = -1
    elif isinstance(value, list):
        request["DeviceIDs"] = value
    elif isinstance(value, int) or (value.isascii() and value.isdigit() and len(value) < 6):
        request["Count"] = int(value)
    else:
        raise ValueError('it is "all", a number, or a list of ids')
    return request
