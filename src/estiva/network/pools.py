"""Subnets of networks of one's own, of either family: what may be asked for, which are free, who gets which
address.

A pool is an entry of a network's record, as Docker's IPAM config: {"Subnet", "Gateway", "IPRange",
"AuxiliaryAddresses"}. The addresses that containers have are rows of `leases`, and the next free one after
that given last is taken, so that a released address rests for as long as possible.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from estiva.errors import Conflict, InvalidInput, Unavailable, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from estiva.linux.net.netlink import Socket
    from estiva.network.ipam import Transaction
    from estiva.network.types import Subnet

    Range = tuple[int, int, int]  # bits of the family, first and last address as numbers

# Docker's, in its order: of IPv4 first sixteens, then twenties
DEFAULT_POOLS = (*((f"172.{n}.0.0", 16, 16) for n in range(17, 32)), ("192.168.0.0", 16, 20))
WIDE = 4  # a route with a shorter prefix is a default route in disguise (0.0.0.0/1), not a network


def number(address: str) -> tuple[int, int]:
    """(bits, value) of an address of either family. Raises InvalidInput."""
    family, bits = (AF_INET6, 128) if ":" in address else (AF_INET, 32)
    try:
        return bits, int.from_bytes(inet_pton(family, address), "big")
    except (OSError, ValueError):
        raise InvalidInput(f"'{brief(address, 60)}' is not an IP address") from None


def text(bits: int, value: int) -> str:
    """An address from its number."""
    return inet_ntop(AF_INET if bits == 32 else AF_INET6, value.to_bytes(bits // 8, "big"))


def same(address: str) -> str:
    """An address in the one spelling that is compared. Raises InvalidInput."""
    return text(*number(address))


def prefixed(words: str, what: str) -> tuple[int, int, int]:
    """(bits, base, prefix) of ADDRESS/PREFIX, whose host part is zero. Raises InvalidInput."""
    address, slash, length = words.partition("/")
    try:
        bits, value = number(address)
    except InvalidInput:
        bits, value = 0, 0
    if not bits or not slash or not (length.isascii() and length.isdigit()) or int(length) > bits:
        raise InvalidInput(f"invalid {what}: '{brief(words, 60)}'", hint="such as 10.5.0.0/16")
    prefix = int(length)
    base = value >> (bits - prefix) << (bits - prefix)
    if base != value:
        raise InvalidInput(f"invalid {what} {words}: it should be {text(bits, base)}/{prefix}")
    return bits, base, prefix


def extent(words: str) -> Range:
    """The addresses of ADDRESS/PREFIX. Raises InvalidInput."""
    bits, base, prefix = prefixed(words, "subnet")
    return bits, base, base + (1 << (bits - prefix)) - 1


def overlap(one: Range, other: Range) -> bool:
    """Whether two ranges share an address."""
    return one[0] == other[0] and one[1] <= other[2] and other[1] <= one[2]


class AddressTaken(Conflict):
    """Another container has the address; `named` is the same with that one's name."""

    def __init__(self, address: str, network: str, holder: str) -> None:
        called = holder[:12] if len(holder) == 64 else holder
        super().__init__(
            f"address {address} of network {network} is in use by container {called}",
            hint="leave --ip out, or give another",
        )
        self.address = address
        self.network = network
        self.holder = holder

    def named(self, name: str) -> AddressTaken:
        return AddressTaken(self.address, self.network, name or self.holder)


class Pool:
    """A subnet with a gateway, which containers get addresses of."""

    __slots__ = ("subnet", "gateway", "bits", "base", "prefix", "first", "last", "taken")

    def __init__(self, subnet: Subnet) -> None:
        self.subnet = subnet["Subnet"]
        self.gateway = subnet.get("Gateway") or ""
        self.bits, self.base, self.prefix = prefixed(self.subnet, "subnet")
        size = 1 << (self.bits - self.prefix)
        self.first, self.last = self.base, self.base + size - 1
        # nobody's: the network's own and the broadcast address (IPv6: the anycast address of routers)
        self.taken = {self.first, self.last} if self.bits == 32 and size > 2 else {self.first}
        if subnet.get("IPRange"):
            _, self.first, prefix = prefixed(subnet["IPRange"], "ip-range")
            self.last = self.first + (1 << (self.bits - prefix)) - 1
        if self.gateway:
            self.taken.add(number(self.gateway)[1])
        for address in (subnet.get("AuxiliaryAddresses") or {}).values():
            self.taken.add(number(address)[1])

    def holds(self, address: str) -> bool:
        """Whether the subnet has that address."""
        bits, value = number(address)
        return bits == self.bits and value >> (bits - self.prefix) == self.base >> (bits - self.prefix)

    def check(self, address: str, network: str) -> str:
        """A container's address that is asked for, as it is written here. Raises InvalidInput."""
        if not self.holds(address):
            raise InvalidInput(f"address {address} is not of subnet {self.subnet} of network {network}")
        bits, value = number(address)
        if value in self.taken:
            raise InvalidInput(f"address {address} of network {network} is reserved")
        return text(bits, value)


def take(
    transaction: Transaction, network: str, name: str, pool: Pool, container_id: str, wished: str = ""
) -> str:
    """Lease a container an address of a pool, inside an open write transaction: the one that is `wished`, or
    the next free one.

    Raises Conflict, which names who has the wished one, InvalidInput when it is none of the pool's,
    Unavailable when none is left.
    """
    if wished:
        wished = pool.check(wished, name)
        if not _insert(transaction, network, wished, container_id):
            _refuse(transaction, network, name, wished, container_id)
        return wished
    key = f"network.{network}.next{'6' if pool.bits == 128 else ''}"
    known = transaction.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchall()
    start = int(known[0][0]) if known else pool.first
    if not pool.first <= start <= pool.last:  # after its last address, or in another subnet of the network
        start = pool.first
    count = pool.last - pool.first + 1
    # each one that is not to be had is a row or is reserved: there can't be more in the way than those
    ((rows,),) = transaction.execute("SELECT count(*) FROM leases WHERE network = ?", (network,)).fetchall()
    for offset in range(min(count, rows + len(pool.taken) + 1)):
        value = pool.first + (start - pool.first + offset) % count
        address = text(pool.bits, value)
        if value not in pool.taken and _insert(transaction, network, address, container_id):
            sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
            transaction.execute(sql, (key, str(value + 1)))
            return address
    raise Unavailable(
        f"network {name} ({pool.subnet}) has no free address", hint="stop some of its containers"
    )


def _insert(transaction: Transaction, network: str, address: str, container_id: str) -> bool:
    sql = "INSERT OR IGNORE INTO leases (network, address, container) VALUES (?, ?, ?)"
    return transaction.execute(sql, (network, address, container_id)).rowcount == 1


def _refuse(transaction: Transaction, network: str, name: str, address: str, container_id: str) -> None:
    """Raises AddressTaken if another container than this has the address."""
    sql = "SELECT container FROM leases WHERE network = ? AND address = ?"
    for (holder,) in transaction.execute(sql, (network, address)).fetchall():
        if holder != container_id:
            raise AddressTaken(address, name, holder)


# ---- which subnets a new network gets


def in_use(socket: Socket, *, but: str = "") -> list[tuple[str, Range]]:
    """(words, addresses) of every network of both families that this machine has, or has a route to; not what
    is of interface `but`.

    Also the gateway of a bridge that another state root makes, by its hardware address: it gets its own after
    its rules. Of two that are made at the same moment that counts which was there first.
    """
    from estiva.linux.net import families
    from estiva.network.ipam import HARDWARE

    link = socket.link(but) if but else None
    own = link.index if link else 0
    links = socket.links()
    names = {one.index: one.name for one in links}
    found = []
    for index, address, prefix in (*families.addresses(socket), *families.routes(socket)):
        bits, value = number(address)
        if index == own or prefix < WIDE or (bits == 128 and value >> 118 == 0x3FA):
            continue  # (fe80::/10 is on every interface)
        base = value >> (bits - prefix) << (bits - prefix)
        what = f"{text(bits, base)}/{prefix} of interface {names.get(index, '?')}"
        found.append((what, (bits, base, base + (1 << (bits - prefix)) - 1)))
    done = {index for index, _, _ in socket.addresses()}
    for one in links:
        ours = one.kind == "bridge" and one.address.startswith(HARDWARE) and one.index not in done
        if ours and one.index != own and (not own or one.index < own):
            value = int.from_bytes(one.address[len(HARDWARE) :], "big")
            what = f"{text(32, value)}/32 of bridge {one.name}, which is being made"
            found.append((what, (32, value, value)))
    return found


def of(known: dict[str, Any]) -> Sequence[tuple[str, int, int]]:
    """(address, prefix of all of it, prefix of a network) of each default address pool: the settings', or
    Docker's."""
    if not known.get("default-address-pools"):
        return DEFAULT_POOLS
    found = []
    for one in known["default-address-pools"]:
        address, _, prefix = one["base"].partition("/")
        found.append((address, int(prefix), one["size"]))
    return found


def choose(used: Sequence[tuple[str, Range]], pools: Iterable[tuple[str, int, int]] = DEFAULT_POOLS) -> str:
    """The first free subnet of the default address pools, as ADDRESS/PREFIX. Raises Unavailable."""
    for address, prefix, size in pools:
        bits, start = number(address)
        step, end = 1 << (bits - size), start + (1 << (bits - prefix))
        while start < end:
            one = (bits, start, start + step - 1)
            clash = next((other for _, other in used if overlap(one, other)), None)
            if clash is None:
                return f"{text(bits, start)}/{size}"
            start = (clash[2] // step + 1) * step  # the next one after it
    raise Unavailable(
        "all predefined address pools are in use: no subnet is free for another network",
        hint="give one with --subnet, or remove networks (`estiva network prune`)",
    )


def choose_local(network_id: str) -> str:
    """A unique local /64 of IPv6 for a network (RFC 4193), from its random id."""
    digits = network_id[:10]
    return f"fd{digits[:2]}:{digits[2:6]}:{digits[6:10]}::/64"


def complete(subnet: Subnet) -> None:
    """Judge a subnet, and give it a gateway: the first address. Raises InvalidInput."""
    bits, base, prefix = prefixed(subnet["Subnet"], "subnet")
    if bits - prefix < 2:
        raise InvalidInput(f"subnet {subnet['Subnet']} has no room for a gateway and a container")
    whole = extent(subnet["Subnet"])
    subnet["Subnet"] = f"{text(bits, base)}/{prefix}"
    if subnet.get("IPRange"):
        _, start, _ = prefixed(subnet["IPRange"], "ip-range")
        part = extent(subnet["IPRange"])
        if part[0] != bits or part[1] < whole[1] or part[2] > whole[2]:
            raise InvalidInput(f"ip-range {subnet['IPRange']} is not within subnet {subnet['Subnet']}")
        first = start
    else:
        first = base
    reserved = {}
    for name, address in (subnet.get("AuxiliaryAddresses") or {}).items():
        reserved[_inside(address, whole, f"auxiliary address {name}", subnet["Subnet"])] = name
    if subnet.get("Gateway"):
        _inside(subnet["Gateway"], whole, "gateway", subnet["Subnet"])
        subnet["Gateway"] = same(subnet["Gateway"])
    else:
        value = max(first, base + 1)
        while value in reserved:
            value += 1
        subnet["Gateway"] = text(bits, value)
    if number(subnet["Gateway"])[1] in reserved:
        raise Conflict(f"gateway {subnet['Gateway']} is an auxiliary address too")


def _inside(address: str, whole: Range, what: str, subnet: str) -> int:
    bits, value = number(address)
    if bits != whole[0] or not whole[1] <= value <= whole[2]:
        raise InvalidInput(f"{what} {address} is not within subnet {subnet}")
    if bits == 32 and value in whole[1:]:
        raise InvalidInput(f"{what} {address} is the network's or the broadcast address of {subnet}")
    return value
