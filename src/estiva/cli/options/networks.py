"""--network NAME[,...] and the options that go with it, as Docker's NetworkingConfig.EndpointsConfig."""

from __future__ import annotations

from estiva.errors import Conflict, InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cmdline.parser import Options

    Endpoint = dict[str, Any]

IFNAME = "com.docker.network.endpoint.ifname"
_SHORT = {"mac": "mac-address", "interface_name": "interface-name"}  # Podman's words


def parse(word: str) -> tuple[str, Endpoint]:
    """(network, endpoint) of a word of --network: NAME, name=NAME,key=value,... or NAME:key=value,... Raises
    InvalidInput.
    """
    if word.startswith(("container:", "ns:")) or "=" not in word:
        return word, {}
    name = ""
    fields = word
    before, colon, after = word.partition(":")
    if colon and "=" not in before:
        name, fields = before, after
    endpoint: Endpoint = {}
    for field in fields.split(","):
        key, equals, value = field.partition("=")
        key = _SHORT.get(key.strip().lower(), key.strip().lower())
        value = value.strip()
        if not equals:
            raise InvalidInput(f"invalid field {field} in network '{word}'", hint="key=value")
        if key == "name" and not name:
            name = value
        else:
            _field(endpoint, key, value, word)
    if not name:
        raise InvalidInput(f"network name/id is not specified in '{word}'", hint="name=NETWORK,...")
    return name, endpoint


def _field(endpoint: Endpoint, key: str, value: str, word: str) -> None:
    if key == "alias":
        endpoint.setdefault("Aliases", []).append(value)
    elif key in ("ip", "ip6"):
        family = "IPv4Address" if key == "ip" else "IPv6Address"
        endpoint.setdefault("IPAMConfig", {})[family] = value
    elif key == "link-local-ip":
        endpoint.setdefault("IPAMConfig", {}).setdefault("LinkLocalIPs", []).append(value)
    elif key == "mac-address":
        endpoint["MacAddress"] = value
    elif key == "interface-name":
        endpoint.setdefault("DriverOpts", {})[IFNAME] = value
    elif key == "driver-opt":
        name, _, setting = value.partition("=")
        if name != IFNAME:
            raise Unsupported(f"the driver option {name} of an endpoint is not known", hint=f"only {IFNAME}")
        endpoint.setdefault("DriverOpts", {})[name] = setting
    elif key == "gw-priority":
        endpoint["GwPriority"] = number(value)
    else:
        raise InvalidInput(f"invalid field key {key} in network '{word}'")


def number(text: str) -> int:
    """Of --gw-priority. Raises InvalidInput."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise InvalidInput(f"invalid gw-priority ({text}): a whole number is needed")
    return int(text)


MANY = ("network-alias", "link", "link-local-ip")  # may be given several times


def endpoints(options: Options) -> dict[str, Endpoint]:
    """EndpointsConfig of all that was asked for, nothing where a mode says all; the first network is the
    container's mode, and has --ip and the like. Raises InvalidInput, Conflict.
    """
    found: dict[str, Endpoint] = {}
    for word in options.many("network") + options.many("net"):
        name, endpoint = parse(word)
        if name in found:
            raise InvalidInput(f"network {name} is specified multiple times")
        found[name] = endpoint
    first = next(iter(found), "default")
    mine = found.setdefault(first, {})
    addresses = mine.get("IPAMConfig") or {}
    for option, key, holder in (
        ("ip", "IPv4Address", addresses),
        ("ip6", "IPv6Address", addresses),
        ("link-local-ip", "LinkLocalIPs", addresses),
        ("mac-address", "MacAddress", mine),
        ("network-alias", "Aliases", mine),
        ("link", "Links", mine),
    ):
        given = options.many(option) if option in MANY else options.text(option)
        if option == "network-alias":
            given = [*given, *options.many("net-alias")]
        if not given:
            continue
        if holder.get(key):
            raise Conflict(f"conflicting options: cannot specify both --{option} and that of network {first}")
        holder[key] = given
    if addresses:
        mine["IPAMConfig"] = addresses
    return {} if len(found) == 1 and not mine else found
