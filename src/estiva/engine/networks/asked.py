"""What a network that is to be made may be: its name, driver, options and subnets, judged."""

from __future__ import annotations

from estiva.errors import Conflict, InvalidInput, Unsupported, brief
from estiva.network import networks, pools
from estiva.network.networks import BRIDGE, IPVLAN, MACVLAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.network.types import Subnet

DRIVERS = (BRIDGE, MACVLAN, IPVLAN)
TRUTHS = ("1", "t", "true", "0", "f", "false")
# driver option -> whether its value is yes or no, or None for a kind of its own
_BRIDGE_OPTIONS = {
    networks.ICC: True,
    networks.MASQUERADE: True,
    networks.BINDING: None,
    networks.BRIDGE_NAME: None,
    networks.MTU: None,
    networks.PREFIX: None,
}
OPTIONS: dict[str, dict[str, bool | None]] = {
    BRIDGE: _BRIDGE_OPTIONS,
    MACVLAN: {"parent": None, "macvlan_mode": None, networks.MTU: None, networks.PREFIX: None},
    IPVLAN: {"parent": None, "ipvlan_mode": None, networks.MTU: None, networks.PREFIX: None},
}
SHORT = {"mtu": networks.MTU, "com.docker.network.mtu": networks.MTU}  # other spellings


class Asked:
    """What `create` is asked for, beside the name: as Docker's NetworkCreate request."""

    def __init__(self) -> None:
        self.driver = BRIDGE
        self.subnets: list[str] = []
        self.gateways: list[str] = []
        self.ranges: list[str] = []
        self.auxiliary: dict[str, str] = {}
        self.internal = False
        self.ipv6 = False
        self.attachable = False
        self.options: dict[str, str] = {}
        self.ipam_options: dict[str, str] | None = {}  # None: not given, which inspect tells
        self.labels: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Asked({vars(self)})"


def check_name(name: str) -> None:
    """Raises InvalidInput, Conflict for a name that no network may have."""
    ok = name and len(name) <= 255 and name[0].isalnum() and name.isascii() and name[-1] != " "
    if not ok or not all(char.isalnum() or char in "_.- " for char in name):
        raise InvalidInput(
            f"invalid network name '{brief(name, 80)}'",
            hint="letters, digits, _ . - and spaces, first a letter or digit",
        )
    if name in networks.PREDEFINED or name == "default":
        raise Conflict(f"operation is not permitted on predefined {name} network")


def options_of(asked: Asked) -> dict[str, str]:
    """The driver options, judged."""
    if asked.driver not in DRIVERS:
        if asked.driver in ("host", "none", "null"):
            kind = "null" if asked.driver == "none" else asked.driver
            raise Conflict(f'only one instance of "{kind}" network is allowed')
        raise Unsupported(
            f"the network driver '{brief(asked.driver, 60)}' is not known", hint=", ".join(DRIVERS)
        )
    known = OPTIONS[asked.driver]
    options: dict[str, str] = {}
    for key, value in asked.options.items():
        key = SHORT.get(key, key)
        if key == "isolate" and value.lower() in ("", "1", "t", "true"):
            continue  # they always are
        if key not in known:
            raise Unsupported(
                f"the option {brief(key, 80)} of network driver {asked.driver} is not supported",
                hint=", ".join(known),
            )
        if known[key] is True and value.lower() not in TRUTHS:
            raise InvalidInput(f"invalid value of {key}: '{value}'", hint="true or false")
        options[key] = value
    _check_values(options)
    if asked.driver != BRIDGE:
        _check_mode(asked.driver, options)
    return options


def _check_values(options: dict[str, str]) -> None:
    mtu = options.get(networks.MTU)
    if mtu is not None and not (mtu.isascii() and mtu.isdigit() and 68 <= int(mtu) <= 65535):
        raise InvalidInput(f"invalid mtu '{brief(mtu, 60)}'", hint="68 to 65535 bytes")
    for key, longest in ((networks.BRIDGE_NAME, 15), (networks.PREFIX, 12), ("parent", 15)):
        word = options.get(key)
        if word is not None and not interface_name(word, longest):
            raise InvalidInput(f"{key}: '{brief(word, 60)}' is not the name of an interface")
    if networks.BINDING in options:
        bits, _ = pools.number(options[networks.BINDING])
        if bits != 32:
            raise InvalidInput(f"{networks.BINDING}: {options[networks.BINDING]} is no IPv4 address")


def _check_mode(driver: str, options: dict[str, str]) -> None:
    from estiva.linux.net import families

    modes, usual = (families.MACVLAN_MODES, "bridge") if driver == MACVLAN else (families.IPVLAN_MODES, "l2")
    mode = options.setdefault(f"{driver}_mode", usual)
    if mode not in modes:
        raise InvalidInput(f"unknown {driver} mode '{brief(mode, 60)}'", hint=", ".join(modes))


def interface_name(word: str, longest: int = 15) -> bool:
    """Whether an interface may have that name."""
    return (
        0 < len(word) <= longest
        and word not in (".", "..")
        and all(char.isascii() and (char.isalnum() or char in "_-.") for char in word)
    )


# ---- subnets


def subnets_of(asked: Asked) -> list[Subnet]:
    """Gateways, ranges and auxiliary addresses put to the subnets that they are of."""
    found: list[Subnet] = []
    for words in asked.subnets:
        whole = pools.extent(words)
        if any(pools.overlap(whole, pools.extent(other["Subnet"])) for other in found):
            raise InvalidInput(f"multiple overlapping subnet configuration is not supported: {words}")
        found.append({"Subnet": words})
    for bits in (32, 128) if asked.driver == BRIDGE else ():
        alike = [subnet["Subnet"] for subnet in found if pools.extent(subnet["Subnet"])[0] == bits]
        if len(alike) > 1:
            raise Unsupported(
                f"bridge driver doesn't support multiple subnets: {alike[0]} and {alike[1]} are both of IPv"
                f"{'4' if bits == 32 else '6'}",
                hint=f"one of each family; {MACVLAN} and {IPVLAN} take several",
            )

    def owner(address: str, what: str) -> Subnet:
        bits, value = pools.number(address.partition("/")[0])
        for subnet in found:
            whole = pools.extent(subnet["Subnet"])
            if bits == whole[0] and whole[1] <= value <= whole[2]:
                return subnet
        if not found:
            raise InvalidInput(f"{what} {address} needs a --subnet")
        raise InvalidInput(f"no matching subnet for {what} {address}")

    for address in asked.gateways:
        mine = owner(address, "gateway")
        if mine.get("Gateway"):
            raise InvalidInput(
                f"cannot configure multiple gateways ({address}, {mine['Gateway']}) on a subnet"
            )
        mine["Gateway"] = address
    for words in asked.ranges:
        pools.prefixed(words, "ip-range")
        mine = owner(words, "ip-range")
        if mine.get("IPRange"):
            raise InvalidInput(f"cannot configure multiple ranges ({words}, {mine['IPRange']}) on a subnet")
        mine["IPRange"] = words
    for name, address in asked.auxiliary.items():
        owner(address, "aux-address").setdefault("AuxiliaryAddresses", {})[name] = address
    for subnet in found:
        pools.complete(subnet)
    return found
