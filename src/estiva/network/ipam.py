"""Addresses of containers: which subnet a bridge has, and who has which address of it.

The subnet is chosen once, among candidates that clash with nothing on this machine, and remembered in the
database (`meta`, key network.NAME.subnet). A lease is a row (network, address, container); the next free
address after the one given last is taken, so that a released address rests for as long as possible. All of it
happens inside one write transaction, which is what makes it safe among processes.
"""

from __future__ import annotations

import os
from _socket import if_nametoindex, inet_aton, inet_ntoa

from estiva import settings
from estiva.errors import Conflict, InvalidInput, Unavailable

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
PREFIX = 16
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


class Subnet:
    """A /16: `base` is its network address as a number; the gateway (the bridge) is the first host of it."""

    __slots__ = ("base",)

    def __init__(self, address: str) -> None:
        """The subnet that `address` is in. Raises InvalidInput."""
        self.base = number(address) & ~_HOST_MASK

    def __str__(self) -> str:
        return f"{dotted(self.base)}/{PREFIX}"

    @property
    def gateway(self) -> str:
        return dotted(self.base + 1)

    def host(self, address: str) -> int:
        """The host part of an address. Raises InvalidInput when it can't be a container's here."""
        value = number(address)
        host = value & _HOST_MASK
        if value - host != self.base or not _FIRST <= host <= _LAST:
            raise InvalidInput(f"address {address} is not a free address of {self}")
        return host


_HOST_MASK = (1 << (32 - PREFIX)) - 1
_FIRST, _LAST = 2, _HOST_MASK - 1  # without network, gateway and broadcast


def number(address: str) -> int:
    """An IPv4 address in dotted form as a number. Raises InvalidInput."""
    try:
        packed = inet_aton(address)
    except OSError:
        packed = b""
    if not packed or inet_ntoa(packed) != address:  # inet_aton also reads "10.1" and "0x7f.1"
        raise InvalidInput(f"{address!r} is not an IPv4 address")
    return int.from_bytes(packed, "big")


def dotted(value: int) -> str:
    """An IPv4 address from its number."""
    return inet_ntoa(value.to_bytes(4, "big"))


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
    subnet, following = subnet_in(transaction, bridge or bridge_name(), network)
    rows = transaction.execute(
        "SELECT address FROM leases WHERE container = ? AND network = ?", (container_id, network)
    ).fetchall()
    if rows and (address is None or rows[0][0] == address):
        return str(rows[0][0])
    if address is not None:
        subnet.host(address)
        if not _take(transaction, network, address, container_id):
            raise Conflict(f"address {address} is already in use in network {network}")
        if rows:
            transaction.execute("DELETE FROM leases WHERE network = ? AND address = ?", (network, rows[0][0]))
        return address
    for offset in range(_LAST - _FIRST + 1):
        host = _FIRST + (following - _FIRST + offset) % (_LAST - _FIRST + 1)
        address = dotted(subnet.base + host)
        if _take(transaction, network, address, container_id):
            transaction.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
                (f"network.{network}.next", str(host + 1)),
            )
            return address
    raise Unavailable(f"network {network} ({subnet}) has no free address", hint="remove some containers")


def adopt_in(
    transaction: Transaction, container_id: str, address: str, network: str = DEFAULT_NETWORK
) -> None:
    """Lease a running container the address that it has, where the database that knew of it was lost."""
    key, subnet = f"network.{network}.subnet", Subnet(address)
    transaction.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (key, str(subnet)))
    _take(transaction, network, address, container_id)


def _take(transaction: Transaction, network: str, address: str, container_id: str) -> bool:
    cursor = transaction.execute(
        "INSERT OR IGNORE INTO leases (network, address, container) VALUES (?, ?, ?)",
        (network, address, container_id),
    )
    return cursor.rowcount == 1


def subnet_in(transaction: Transaction, bridge: str, network: str) -> tuple[Subnet, int]:
    """The network's subnet, chosen now if need be, and the host number to try first."""
    keys = (f"network.{network}.subnet", f"network.{network}.next")
    known = dict(transaction.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", keys).fetchall())
    following = int(known.get(keys[1], _FIRST))
    remembered = Subnet(known[keys[0]].partition("/")[0]) if keys[0] in known else None
    if remembered is not None and exists(bridge):
        return remembered, following
    # First use, or the first since the machine started: nobody is on the bridge, so the subnet may still
    # change.
    from estiva.linux.net.netlink import Socket

    with Socket() as socket:
        used = in_use(socket, "")
    if remembered is not None and not clashes(remembered, used):
        return remembered, following
    for candidate in CANDIDATES:
        subnet = Subnet(candidate)
        if not clashes(subnet, used):
            transaction.execute("DELETE FROM leases WHERE network = ?", (network,))
            transaction.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (keys[0], str(subnet))
            )
            return subnet, _FIRST
    raise Unavailable(
        f"no free subnet for network {network}: this machine uses all of {CANDIDATES[0]}/{PREFIX} to "
        f"{CANDIDATES[-1]}/{PREFIX}",
        hint="use --network host",
    )


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
        shift = 32 - min(prefix, PREFIX)
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
    """The address of every container that has one."""
    return dict(database.read("SELECT container, address FROM leases WHERE network = ?", (network,)))


def hardware_address(mac: str) -> bytes:
    """The bytes of a MAC address that an interface may have. Raises InvalidInput."""
    try:
        address = bytes.fromhex(mac.replace(":", "").replace("-", ""))
    except ValueError:
        address = b""
    if len(address) != 6 or address[0] & 1 or not any(address):
        raise InvalidInput(f"{mac!r} is not a MAC address that an interface can have")
    return address
