"""The file of settings, read and judged. What only a container's own rules can judge (names of log drivers,
limits, search domains) is judged where a container is made: engine/spec/preset.py.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, inet_pton

from estiva import fastjson
from estiva.errors import Denied, EstivaError, InvalidInput, brief, oneline, reason
from estiva.files import refuse_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIMIT = 1 << 20  # bytes of the file
MANY = 1024  # entries of a list or a map
NAME = 255  # bytes of a user's name shown
MTU = (68, 65535)  # bytes
BRIDGE_BITS = 8  # the shortest prefix of the default bridge's subnet
OF_IPV6 = ("bip6", "fixed-cidr-v6", "default-gateway-v6")  # what is for IPv6 alone
FIREWALL = ("iptables", "ip6tables", "ip-masq", "ip-forward")  # dockerd's
NFTABLES = "networks have rules of nftables for both families, always: leave it out"
POOL_BITS6 = 126
POOL_BITS = 30  # the longest prefix of a network: below that there is no room for a gateway and a container


class Unsafe(Denied):
    """Others could change the file."""


def unreadable(path: str, error: OSError) -> InvalidInput:
    """What to say of a file that was named, or is there, and can't be opened."""
    return InvalidInput(f"can't read {path}: {reason(error)}", hint="ESTIVA_SETTINGS names another file")


def read(fd: int, path: str) -> dict[str, Any]:
    """The settings in an open file, of which `path` is told. Raises InvalidInput, Denied."""
    there = os.fstat(fd)
    if there.st_mode & 0o170000 != 0o100000:
        raise InvalidInput(f"{path} is not a regular file")
    if there.st_uid not in (0, os.geteuid()):
        raise Unsafe(
            f"{path} belongs to user {there.st_uid}, who could change how containers run",
            hint=f"chown {os.geteuid()} {path}, if you know what is in it",
        )
    if there.st_mode & 0o022:
        raise Unsafe(
            f"{path} may be written to by others (mode {there.st_mode & 0o7777:04o})",
            hint=f"chmod go-w {path}, if you know what is in it",
        )
    try:
        refuse_others(path)  # nor may others have put it there
    except Denied as error:
        raise Unsafe(error.message, hint=error.hint) from None
    data = b""
    try:
        while len(data) <= LIMIT:
            part = os.read(fd, LIMIT + 1 - len(data))
            if not part:
                break
            data += part
    except OSError as error:
        raise unreadable(path, error) from None
    if len(data) > LIMIT:
        raise InvalidInput(f"{path} is larger than {LIMIT} bytes")
    return judged(data, path)


def judged(data: bytes, path: str) -> dict[str, Any]:
    """The settings in the text of a file. Raises InvalidInput."""
    if not data.strip():
        raise InvalidInput(f"{path} is empty", hint="{} is a file without settings")
    try:
        document = fastjson.loads(data, what=path, strict=True)
    except EstivaError as error:
        raise InvalidInput(oneline(error.message), hint='JSON, such as {"mtu": 1400}') from None
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} is not a JSON object", hint='such as {"mtu": 1400}')
    for key, value in document.items():
        if key not in KEYS:
            raise InvalidInput(
                f"{path} has the unknown key '{brief(key, 60)}'",
                hint=NFTABLES if key in FIREWALL else f"it may have {', '.join(KEYS)}",
            )
        try:
            KEYS[key](value)
        except ValueError as error:
            raise InvalidInput(f"{path}: {key} {error}") from None
    _check_bridge(document, path)
    _check_ipv6(document, path)
    return document


def _check_bridge(document: dict[str, Any], path: str) -> None:
    """bip, fixed-cidr and default-gateway, held against each other."""
    bip, fixed = document.get("bip", ""), document.get("fixed-cidr", "")
    if fixed and not bip and not _split(fixed)[1] <= POOL_BITS:
        raise InvalidInput(
            f"{path}: fixed-cidr {fixed} has no room for a gateway and a container",
            hint=f"up to /{POOL_BITS}, or with bip beside it",
        )
    if bip and fixed:
        (one, prefix), (other, bits) = _split(bip), _split(fixed)
        if bits < prefix or one >> (32 - prefix) != other >> (32 - prefix):
            raise InvalidInput(f"{path}: fixed-cidr {fixed} is not within the subnet of bip {bip}")
    way = document.get("default-gateway")
    if way and bip:
        base, prefix = _split(bip)
        value, host = int.from_bytes(inet_pton(AF_INET, way), "big"), (1 << (32 - prefix)) - 1
        if value & ~host != base & ~host or value & host in (0, host):
            raise InvalidInput(
                f"{path}: default-gateway {way} is not the address of a host in the subnet of bip {bip}"
            )


def _check_ipv6(document: dict[str, Any], path: str) -> None:
    """ipv6, bip6, fixed-cidr-v6 and default-gateway-v6, held against each other."""
    given = [key for key in OF_IPV6 if key in document]
    if given and "ipv6" not in document:
        raise InvalidInput(f"{path}: {given[0]} does nothing without ipv6", hint='add "ipv6": true')
    bip, fixed = document.get("bip6", ""), document.get("fixed-cidr-v6", "")
    if bip and fixed:
        (one, prefix), (other, bits) = _split(bip, 128), _split(fixed, 128)
        if bits < prefix or one >> (128 - prefix) != other >> (128 - prefix):
            raise InvalidInput(f"{path}: fixed-cidr-v6 {fixed} is not within the subnet of bip6 {bip}")
    elif fixed and _split(fixed, 128)[1] > POOL_BITS6:
        raise InvalidInput(
            f"{path}: fixed-cidr-v6 {fixed} has no room for a gateway and a container",
            hint=f"up to /{POOL_BITS6}, or with bip6 beside it",
        )
    way = document.get("default-gateway-v6")
    if way and not bip and not fixed:
        raise InvalidInput(
            f"{path}: default-gateway-v6 {way} is in no known subnet", hint="add fixed-cidr-v6 or bip6"
        )
    if way:
        base, prefix = _split(bip or fixed, 128)
        value = int.from_bytes(inet_pton(AF_INET6, way), "big")
        host = (1 << (128 - prefix)) - 1
        if value & ~host != base & ~host or not value & host:
            subnet = f"that of bip6 {bip}" if bip else f"fixed-cidr-v6 {fixed}"
            raise InvalidInput(f"{path}: default-gateway-v6 {way} is not the address of a host in {subnet}")


# ---- one reader for each kind of value; they raise ValueError: what the value is not


def _shown(value: object) -> str:
    """A value as it stands in the file: a text has its quotes, so that "24" is seen not to be a number."""
    try:
        return brief(fastjson.dumps(value), 60)
    except ValueError:  # a number beyond all bounds: it was one in the file, and is infinite for us
        return brief(str(value), 60)


def _truth(value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"is neither true nor false: {_shown(value)}")


def _mtu(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not MTU[0] <= value <= MTU[1]:
        raise ValueError(f"is not a number of bytes from {MTU[0]} to {MTU[1]}: {_shown(value)}")


def _text(value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"is not text: {_shown(value)}")


def _texts(value: object) -> None:
    if not isinstance(value, list) or len(value) > MANY or not all(isinstance(one, str) for one in value):
        raise ValueError(f'is not a list of texts, such as ["a", "b"]: {_shown(value)}')


def _map(value: object) -> None:
    fits = isinstance(value, dict) and len(value) <= MANY
    if not fits or not all(isinstance(one, str) for one in value.values()):  # type: ignore[attr-defined]
        raise ValueError(f'is not an object of texts, such as {{"max-size": "10m"}}: {_shown(value)}')


def _address(value: object) -> None:
    if not isinstance(value, str) or not is_address(value):
        raise ValueError(f"is not an IP address: {_shown(value)}")


def _size(value: object) -> None:
    number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not number and (not isinstance(value, str) or not value):
        raise ValueError(f'is not a size, such as "128m": {_shown(value)}')


def _ulimits(value: object) -> None:
    """{"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 2048}}; the inner name may be left away."""
    if not isinstance(value, dict) or len(value) > MANY:
        raise ValueError(f"is not an object: {_shown(value)}")
    for name, limit in value.items():
        if not isinstance(limit, dict) or not {"Soft", "Hard"} <= set(limit) <= {"Name", "Soft", "Hard"}:
            shown = f"{_shown(name)}: {_shown(limit)}"
            raise ValueError(f'has an entry that is not such as {{"Soft": 1024, "Hard": 2048}}: {shown}')
        if limit.get("Name", name) != name:
            raise ValueError(f"has {_shown(limit['Name'])} as the Name of {_shown(name)}")
        for key in ("Soft", "Hard"):
            if isinstance(limit[key], bool) or not isinstance(limit[key], int) or abs(limit[key]) >> 63:
                raise ValueError(f"has no number as {key} of {_shown(name)}: {_shown(limit[key])}")


def _pools(value: object) -> None:
    """[{"base": "10.64.0.0/12", "size": 24}]: networks get the first /24 of that which is free."""
    if value == []:
        raise ValueError(
            "is an empty list, which leaves networks no address: without it there are the usual pools"
        )
    if not isinstance(value, list) or len(value) > MANY:
        raise ValueError(f'is not a list, such as [{{"base": "10.64.0.0/12", "size": 24}}]: {_shown(value)}')
    for one in value:
        if not isinstance(one, dict) or set(one) != {"base", "size"}:
            raise ValueError(f"has an entry that is not made of base and size: {_shown(one)}")
        _, prefix = pool(one["base"])
        size = one["size"]
        if isinstance(size, bool) or not isinstance(size, int):
            shown = _shown(size)
            raise ValueError(
                f"has the size {shown} for {one['base']}, which is not a whole number, such as 24"
            )
        if not prefix <= size <= POOL_BITS:
            raise ValueError(
                f"has the size {_shown(size)} for {one['base']}, which is not from {prefix} to {POOL_BITS}"
            )


def pool(base: object) -> tuple[str, int]:
    """(address, prefix) of the base of a pool. Raises ValueError."""
    address, _, length = base.partition("/") if isinstance(base, str) else ("", "", "")
    if not (length.isascii() and length.isdigit() and len(length) < 3 and 0 < int(length) <= 32):
        address = ""
    if ":" in address or not is_address(address):
        raise ValueError(f"has a base that is not such as 10.64.0.0/12: {_shown(base)}")
    value, host = int.from_bytes(inet_pton(AF_INET, address), "big"), 32 - int(length)
    if value & ((1 << host) - 1):
        raise ValueError(f"has a base with bits after its prefix: {_shown(base)}")
    return address, int(length)


def _bip(value: object) -> None:
    """The default bridge's own address and the prefix of its subnet: "10.77.0.1/24"."""
    base, prefix = _split(value)
    host = base & ((1 << (32 - prefix)) - 1)
    if not BRIDGE_BITS <= prefix <= POOL_BITS or not host or host == (1 << (32 - prefix)) - 1:
        raise ValueError(
            f"is not the address of a host in a subnet from /{BRIDGE_BITS} to /{POOL_BITS},"
            f" such as 10.77.0.1/24: {_shown(value)}"
        )
    _refuse_special(base, value)


def _fixed(value: object) -> None:
    """The part of the default bridge's subnet that containers get addresses of: "10.77.0.128/25"."""
    base, prefix = _split(value)
    if prefix < BRIDGE_BITS:
        raise ValueError(f"is wider than /{BRIDGE_BITS}: {_shown(value)}")
    if base & ((1 << (32 - prefix)) - 1):
        raise ValueError(f"has bits after its prefix: {_shown(value)}")
    _refuse_special(base, value)


def _bip6(value: object) -> None:
    """The default bridge's own address of IPv6 and the prefix of its subnet: "fd00:77::1/64"."""
    base, prefix = _split(value, 128)
    if prefix > POOL_BITS6 or not base & ((1 << (128 - prefix)) - 1):
        raise ValueError(
            f"is not the address of a host in a subnet up to /{POOL_BITS6}, such as fd00:77::1/64:"
            f" {_shown(value)}"
        )
    _refuse_special(base, value, 128)


def _fixed6(value: object) -> None:
    """The part of its subnet of IPv6 that containers get addresses of, or all of it: "fd00:77::/64"."""
    base, prefix = _split(value, 128)
    if base & ((1 << (128 - prefix)) - 1):
        raise ValueError(f"has bits after its prefix: {_shown(value)}")
    _refuse_special(base, value, 128)


def _way(value: object) -> None:
    if not isinstance(value, str) or ":" in value or not is_address(value):
        raise ValueError(f"is not an IPv4 address: {_shown(value)}")


def _way6(value: object) -> None:
    if not isinstance(value, str) or ":" not in value or not is_address(value):
        raise ValueError(f"is not an IPv6 address: {_shown(value)}")


def _split(value: object, bits: int = 32) -> tuple[int, int]:
    """(address as a number, prefix) of such as 10.77.0.1/24, of a family of so many bits. Raises
    ValueError."""
    address, _, length = value.partition("/") if isinstance(value, str) else ("", "", "")
    digits = length.isascii() and length.isdigit() and len(length) < 4 and 0 < int(length) <= bits
    six = bits == 128
    if not digits or (":" in address) != six or not is_address(address):
        what = "IPv6 address with a prefix, such as fd00:77::1/64" if six else _SUCH
        raise ValueError(f"is not an {what}: {_shown(value)}")
    return int.from_bytes(inet_pton(AF_INET6 if six else AF_INET, address), "big"), int(length)


_SUCH = "IPv4 address with a prefix, such as 10.77.0.1/24"


def _refuse_special(base: int, value: object, bits: int = 32) -> None:
    """Raises ValueError for this host's own, multicast and reserved addresses, and those of one link."""
    special = base >> 24 in (0, 127) or base >> 24 >= 224
    if bits == 128:
        special = base >> 96 == 0 or base >> 120 == 0xFF or base >> 118 == 0x3FA or base >> 32 == 0xFFFF
    if special:
        raise ValueError(f"is of addresses that no network can have: {_shown(value)}")


def is_address(text: str) -> bool:
    """Whether inet_pton(3) reads it, as IPv4 or IPv6."""
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


KEYS: dict[str, Callable[[object], None]] = {
    "bip": _bip,
    "bip6": _bip6,
    "default-address-pools": _pools,
    "default-gateway": _way,
    "default-gateway-v6": _way6,
    "default-shm-size": _size,
    "default-ulimits": _ulimits,
    "dns": _texts,
    "dns-opts": _texts,
    "dns-search": _texts,
    "fixed-cidr": _fixed,
    "fixed-cidr-v6": _fixed6,
    "icc": _truth,
    "init": _truth,
    "ip": _address,
    "ipv6": _truth,
    "log-driver": _text,
    "log-opts": _map,
    "mtu": _mtu,
}
