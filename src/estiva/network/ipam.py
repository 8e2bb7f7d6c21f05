"""Addresses of containers: which subnet a bridge has, and who has which address of it.

The subnet is chosen once, among candidates that clash with nothing on this machine, and remembered in the
database (`meta`, key network.NAME.subnet). A lease is a row (network, address, container); the next free
address after the one given last is taken, so that a released address rests for as long as possible. All of it
happens inside one write transaction, which is what makes it safe among processes.
"""

from __future__ import annotations

import os
from _socket import if_nametoindex

from estiva import settings
from estiva.errors import Conflict, InvalidInput, Unavailable
from estiva.network.subnet import PREFIX, Subnet, dotted, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from estiva.linux.net.netlink import Socket

    class Cursor(Protocol):
        @property
        def rowcount(self) -> int: ...
        def fetchall(self) -> list[Any]: ...

    class Transaction(Protocol):
        def execute(self, sql: str, params: Sequence[Any] = ()) -> Cursor: ...
        def __enter__(self) -> Transaction: ...
        def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...

    class Reader(Protocol):
        def read(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...

    class Database(Reader, Protocol):
        def write(self, *, freeing: bool = False) -> Any: ...


DEFAULT_BRIDGE = "estiva0"
DEFAULT_NETWORK = "default"
HARDWARE = b"\x02\xe5"  # so begin the hardware addresses of bridges that are made here
# Away from what Docker (172.17-31, 192.168), Podman (10.88, 10.89) and Kubernetes (10.244, 10.96) take by
# default.
CANDIDATES = tuple(f"10.{n}.0.0" for n in range(201, 240)) + tuple(f"172.{n}.0.0" for n in range(31, 15, -1))
_WIDE = 4  # a route with a shorter prefix is a default route in disguise (0.0.0.0/1), not a network


def bridge_name() -> str:
    """The bridge's name. Raises InvalidInput when ESTIVA_BRIDGE can't be an interface's name."""
    name = os.environ.get("ESTIVA_BRIDGE") or DEFAULT_BRIDGE
    if (
        len(name) > 15
        or name in (".", "..")
        or not all(c.isascii() and (c.isalnum() or c in "_-.") for c in name)
    ):
        raise InvalidInput(f"ESTIVA_BRIDGE={name!r} is not a network interface's name")
    return name


def manners() -> tuple[int, bool]:
    """Of the default bridge's containers, by the settings: their MTU in bytes, 0 for the bridge's, and if
    they don't reach each other."""
    known = settings.read()
    return known.get("mtu", 0), not known.get("icc", True)


def reserve_in(
    transaction: Transaction,
    container_id: str,
    *,
    bridge: str | None = None,
    network: str = DEFAULT_NETWORK,
    address: str | None = None,
) -> str:
    """Lease an address for a container, inside an open write transaction; the one it has, if it has one
    already.

    `address` asks for a particular one. Raises Conflict when that is taken, InvalidInput when it is not of
    the subnet, Unavailable when no address or no subnet is left.
    """
    return lease_in(transaction, container_id, bridge=bridge, network=network, address=address)[0]


def lease_in(
    transaction: Transaction,
    container_id: str,
    *,
    bridge: str | None = None,
    network: str = DEFAULT_NETWORK,
    address: str | None = None,
    before: str = "",
) -> tuple[str, Subnet]:
    """As `reserve_in`: the address, and the subnet that it is of. `before` is taken if it can be."""
    subnet, start = subnet_in(transaction, bridge or bridge_name(), network)
    sql = "SELECT address FROM leases WHERE container = ? AND network = ? AND NOT instr(address, ':')"
    rows = transaction.execute(sql, (container_id, network)).fetchall()
    if rows and (address is None or rows[0][0] == address):
        return str(rows[0][0]), subnet
    if address is not None:
        subnet.judge(address)
        if not _take(transaction, network, address, container_id):
            raise Conflict(f"address {address} is already in use in network {network}")
        if rows:
            transaction.execute("DELETE FROM leases WHERE network = ? AND address = ?", (network, rows[0][0]))
        return address, subnet
    if before and subnet.offers(before) and _take(transaction, network, before, container_id):
        return before, subnet
    count = subnet.last - subnet.first + 1
    # each one that is not to be had is a row, the bridge's own or the way out
    ((held,),) = transaction.execute("SELECT count(*) FROM leases WHERE network = ?", (network,)).fetchall()
    for offset in range(min(count, held + 3)):
        value = subnet.first + (start - subnet.first + offset) % count
        address = dotted(value)
        if value != subnet.own and value != subnet.way and _take(transaction, network, address, container_id):
            transaction.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
                (f"network.{network}.next", str(value + 1 - subnet.base)),
            )
            return address, subnet
    raise Unavailable(f"network {network} ({subnet}) has no free address", hint="remove some containers")


def adopt_in(
    transaction: Transaction, container_id: str, address: str, subnet: Subnet, network: str = DEFAULT_NETWORK
) -> None:
    """Lease a running container the address that it has, where the database that knew of it was lost."""
    key = f"network.{network}.subnet"
    transaction.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (key, subnet.stored))
    _take(transaction, network, address, container_id)


def _take(transaction: Transaction, network: str, address: str, container_id: str) -> bool:
    cursor = transaction.execute(
        "INSERT OR IGNORE INTO leases (network, address, container) VALUES (?, ?, ?)",
        (network, address, container_id),
    )
    return cursor.rowcount == 1


def subnet_in(transaction: Transaction, bridge: str, network: str) -> tuple[Subnet, int]:
    """The network's subnet, chosen now if need be, and the address to try first, as a number.

    What the settings ask for goes before, once nobody is on the bridge. Raises Conflict when something else
    has it.
    """
    keys = (f"network.{network}.subnet", f"network.{network}.next")
    known = dict(transaction.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", keys).fetchall())
    remembered = Subnet.read(known[keys[0]]) if keys[0] in known else None
    settled = settings.read()
    wish, part = asked(remembered, settled)
    subnet = wish if wish is not None and wish.same(remembered) else None
    there = exists(bridge)
    if subnet is None and remembered is not None and there:
        stays = wish is None and _automatic(remembered)
        subnet = remembered if stays or _busy(transaction, network) else None
    if subnet is None:
        subnet = _choose(bridge, there, network, remembered, wish)
        if not subnet.same(remembered):
            known.pop(keys[1], None)
            transaction.execute("DELETE FROM leases WHERE network = ?", (network,))
            stored = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
            transaction.execute(stored, (keys[0], subnet.stored))
    if part is not None and subnet.covers(part):
        subnet.narrow(part)
    if settled:
        _heed(subnet, settled)
    start = subnet.base + int(known.get(keys[1], 0))
    return subnet, start if subnet.first <= start <= subnet.last else subnet.first


def _heed(subnet: Subnet, known: dict[str, Any]) -> None:
    """Its way out, and whether IPv6 is beside it, as the settings say. Raises InvalidInput."""
    way = known.get("default-gateway")
    if way and way != subnet.gateway:
        try:
            subnet.judge(way)
        except InvalidInput:
            raise InvalidInput(
                f"{settings.path()}: default-gateway {way} is not the address of a host in {subnet}, the"
                " subnet of the default bridge",
                hint="bip says which subnet that is to be",
            ) from None
        subnet.way = number(way)
    subnet.dual = bool(known.get("ipv6"))


def asked(remembered: Subnet | None, known: dict[str, Any]) -> tuple[Subnet | None, Subnet | None]:
    """(the subnet that the settings want for the default bridge, the part of it that containers get addresses
    of): their `bip` and `fixed-cidr`. That alone is a part of what the bridge has, else a subnet of its own.
    """
    bip, fixed = known.get("bip"), known.get("fixed-cidr")
    wish = part = None
    if fixed:
        address, _, prefix = fixed.partition("/")
        part = Subnet(address, int(prefix))
        wish = remembered if remembered is not None and remembered.covers(part) else part
    if bip:
        address, _, prefix = bip.partition("/")
        wish = Subnet(address, int(prefix), address)
    return wish, part


def default_subnet(reader: Reader) -> Subnet | None:
    """The subnet of the default bridge; None before its first use."""
    rows = reader.read("SELECT value FROM meta WHERE key = ?", (f"network.{DEFAULT_NETWORK}.subnet",))
    return Subnet.read(rows[0][0]) if rows else None


def _automatic(subnet: Subnet) -> bool:
    return subnet.plain and dotted(subnet.base) in CANDIDATES


def _busy(transaction: Transaction, network: str) -> bool:
    sql = "SELECT 1 FROM leases WHERE network = ? LIMIT 1"
    return bool(transaction.execute(sql, (network,)).fetchall())


def _choose(bridge: str, there: bool, network: str, remembered: Subnet | None, wish: Subnet | None) -> Subnet:
    """The subnet that is wished, that there was, or another that is free. Nobody is on the bridge: this is
    the first use, or the first since the machine started, or all have ended.

    A bridge that was not `there` a moment ago and is now has been made for what is remembered.
    """
    from estiva.linux.net.netlink import Socket

    with Socket() as socket:
        if remembered is not None and there:
            _vacate(socket, bridge, remembered)
        used = in_use(socket, bridge if remembered is not None and not there else "")
    if wish is not None:
        if clashes(wish, used):
            raise Conflict(
                f"the subnet {wish} that {settings.path()} gives to bridge {bridge} is used by another"
                " interface or route",
                hint="`ip route` and `ip address` list them; set bip to another",
            )
        return wish
    if remembered is not None and _automatic(remembered) and not clashes(remembered, used):
        return remembered
    for candidate in CANDIDATES:
        subnet = Subnet(candidate)
        if not clashes(subnet, used):
            return subnet
    raise Unavailable(
        f"no free subnet for network {network}: this machine uses all of {CANDIDATES[0]}/{PREFIX} to "
        f"{CANDIDATES[-1]}/{PREFIX}",
        hint="use --network host",
    )


def _vacate(socket: Socket, bridge: str, subnet: Subnet) -> None:
    """Take the bridge away that has a subnet nobody is on; of one that others use too, the address alone. Who
    is killed after that leaves one that is made again."""
    from estiva.linux.net import families, netlink

    link = socket.link(bridge)
    if link is None:
        return
    owned = [(address, prefix) for index, address, prefix in socket.addresses() if index == link.index]
    mine = (subnet.gateway, subnet.prefix)
    ports = [port.name for port in socket.links() if port.master == link.index]
    made_here = link.address.startswith(HARDWARE) and all(name.startswith("ve") for name in ports)
    if made_here and owned == [mine]:
        socket.exchange(netlink.delete_link(bridge))
    elif mine in owned:
        socket.exchange(families.delete_address(link.index, *mine))


def exists(bridge: str) -> bool:
    try:
        return if_nametoindex(bridge) > 0
    except OSError:
        return False


def in_use(socket: Socket, bridge: str) -> list[tuple[int, int]]:
    """The (address, prefix length) of every IPv4 network that this machine has or has a route to, but
    `bridge`'s.
    """
    own = 0
    if bridge:
        link = socket.link(bridge)
        own = link.index if link else 0
    found = [(number(address), prefix) for index, address, prefix in socket.addresses() if index != own]
    found += [(number(address), prefix) for address, prefix, index in socket.routes() if index != own]
    return [(address, prefix) for address, prefix in found if prefix >= _WIDE]


def clashes(subnet: Subnet, used: list[tuple[int, int]]) -> bool:
    """Whether the subnet shares an address with one of the networks `in_use` found."""
    for address, prefix in used:
        shift = 32 - min(prefix, subnet.prefix)
        if address >> shift == subnet.base >> shift:
            return True
    return False


def release_in(transaction: Transaction, container_id: str) -> None:
    """Give up the leases of a container, inside an open write transaction."""
    transaction.execute("DELETE FROM leases WHERE container = ?", (container_id,))


def forget_in(transaction: Transaction, container_id: str) -> None:
    """Of a container that goes: its leases, and to which networks it belonged."""
    release_in(transaction, container_id)
    transaction.execute("DELETE FROM endpoints WHERE container = ?", (container_id,))


def held(database: Database, container_id: str, network: str = DEFAULT_NETWORK) -> list[str]:
    """The addresses that a container has leased."""
    sql = "SELECT address FROM leases WHERE container = ? AND network = ?"
    return [row[0] for row in database.read(sql, (container_id, network))]


def leases(reader: Reader, container_id: str) -> list[tuple[str, str]]:
    """(network, address) of a container that runs."""
    rows = reader.read("SELECT network, address FROM leases WHERE container = ?", (container_id,))
    return [(str(network), str(address)) for network, address in rows]


def leased(database: Database, network: str = DEFAULT_NETWORK) -> dict[str, str]:
    """The IPv4 address of every container that has one."""
    sql = "SELECT container, address FROM leases WHERE network = ? AND NOT instr(address, ':')"
    return dict(database.read(sql, (network,)))


def hardware_address(mac: str) -> bytes:
    """The bytes of a MAC address that an interface may have. Raises InvalidInput."""
    try:
        address = bytes.fromhex(mac.replace(":", "").replace("-", ""))
    except ValueError:
        address = b""
    if len(address) != 6 or address[0] & 1 or not any(address):
        raise InvalidInput(f"{mac!r} is not a MAC address that an interface can have")
    return address
