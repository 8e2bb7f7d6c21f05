"""A container's place on the default bridge where its address alone does not tell all of it: with IPv6, or
with a way out that is not the bridge. As the settings say; loaded only then.

The subnet of IPv6 is in the database (`meta`, KEY) with the bridge's address, and a lease of it is a row
beside that of the IPv4 address (pools.take). Without one in the settings it is a unique local /64 (RFC 4193),
chosen once.
"""

from __future__ import annotations

import os

from estiva import settings
from estiva.errors import Conflict
from estiva.network import firewall, ipam, pools
from estiva.network.ipam import DEFAULT_NETWORK
from estiva.network.subnet import Subnet as DefaultSubnet
from estiva.network.subnet import dotted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from estiva.network.ipam import Reader
    from estiva.network.types import Place, Subnet

    class Transaction(Reader, ipam.Transaction, Protocol): ...

    Others = Callable[[], Iterable[tuple[str, Subnet]]]  # the names and subnets of networks of one's own

KEY = f"network.{DEFAULT_NETWORK}.subnet6"
WAY, WAY6 = "DefaultGatewayIPv4", "DefaultGatewayIPv6"  # Docker's names of what is kept free for them
_LEASED = "SELECT address FROM leases WHERE network = ? AND instr(address, ':')"


def fill(transaction: Transaction, place: Place, container_id: str, others: Others) -> None:
    """Lease a container its addresses on the default bridge, inside an open write transaction.

    Raises Conflict when something else has a subnet of the settings, InvalidInput for a way out that is not
    in it, Unavailable when no address or no subnet is left.
    """
    place["bridge"] = ipam.bridge_name()
    place["address"], subnet = ipam.lease_in(transaction, container_id)
    place["prefix"], place["gateway"] = subnet.prefix, subnet.gateway
    if subnet.way:
        place["own"], place["gateway"] = subnet.gateway, dotted(subnet.way)
    place["mtu"], place["isolated"] = ipam.manners()
    record = subnet6_in(transaction, place["bridge"], others)
    if record is None:
        return
    held = transaction.read(f"{_LEASED} AND container = ?", (DEFAULT_NETWORK, container_id))
    pool = pools.Pool(record)
    address = next((str(row[0]) for row in held if pool.holds(row[0])), "")
    if not address:
        address = pools.take(transaction, DEFAULT_NETWORK, place["name"], pool, container_id)
    place["address6"] = address
    place["prefix6"], place["gateway6"] = pool.prefix, pool.gateway
    way = (record.get("AuxiliaryAddresses") or {}).get(WAY6)
    if way:
        place["own6"], place["gateway6"] = pool.gateway, way


def subnet6_in(transaction: Transaction, bridge: str, others: Others) -> Subnet | None:
    """The bridge's subnet of IPv6, chosen now if need be; None where it has IPv4 alone.

    What the settings ask for goes before, once nobody has an address of another. Raises Conflict.
    """
    known = settings.read()
    if not known.get("ipv6"):
        return None
    there, wish = remembered(transaction), asked(known)
    if there is not None:
        fits = _automatic(there) if wish is None else _same(wish, there)
        if fits or transaction.read(f"{_LEASED} LIMIT 1", (DEFAULT_NETWORK,)):
            return _with(there, wish)
        _vacate(bridge, there)
    chosen: Subnet = wish or {"Subnet": pools.choose_local(os.urandom(5).hex())}
    pools.complete(chosen)
    _refuse_used(chosen, others)
    stored = f"{chosen['Subnet']} {chosen['Gateway']}"
    transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (KEY, stored))
    transaction.execute("DELETE FROM meta WHERE key = ?", (f"network.{DEFAULT_NETWORK}.next6",))
    return chosen


def remembered(reader: Reader) -> Subnet | None:
    """The subnet of IPv6 that the bridge has; None before its first use."""
    for (stored,) in reader.read("SELECT value FROM meta WHERE key = ?", (KEY,)):
        subnet, _, gateway = stored.partition(" ")
        return {"Subnet": subnet, "Gateway": gateway}
    return None


def asked(known: dict[str, Any]) -> Subnet | None:
    """What the settings want it to be: their `bip6`, `fixed-cidr-v6` and `default-gateway-v6`."""
    bip, fixed, way = known.get("bip6"), known.get("fixed-cidr-v6"), known.get("default-gateway-v6")
    if bip:
        address, _, prefix = bip.partition("/")
        bits, value = pools.number(address)
        base = value >> (bits - int(prefix)) << (bits - int(prefix))
        found: Subnet = {"Subnet": f"{pools.text(bits, base)}/{prefix}", "Gateway": pools.same(address)}
        if fixed:
            found["IPRange"] = fixed
    elif fixed:
        found = {"Subnet": fixed}
    else:
        return None
    if way and pools.same(way) != found.get("Gateway"):
        found["AuxiliaryAddresses"] = {WAY6: pools.same(way)}
    pools.complete(found)
    return found


def shown(reader: Reader, known: dict[str, Any]) -> Subnet | None:
    """The subnet, as `network inspect` tells of it."""
    there = remembered(reader) if known.get("ipv6") else None
    return None if there is None else _with(there, asked(known))


def unheeded(reader: Reader, known: dict[str, Any]) -> list[str]:
    """What of the settings is not done because containers run on the default bridge, in words."""
    told = []
    there = ipam.default_subnet(reader)
    wish, _ = ipam.asked(there, known)
    busy = f"SELECT 1 FROM leases WHERE network = '{DEFAULT_NETWORK}' LIMIT 1"
    if wish is not None and there is not None and not wish.same(there) and reader.read(busy):
        told.append(_later(str(there), str(wish)))
    there6 = remembered(reader) if known.get("ipv6") else None
    wish6 = asked(known)
    busy = f"SELECT 1 FROM leases WHERE network = '{DEFAULT_NETWORK}' AND instr(address, ':') LIMIT 1"
    if wish6 is not None and there6 is not None and not _same(wish6, there6) and reader.read(busy):
        told.append(_later(there6["Subnet"], wish6["Subnet"]))
    return told


def _later(subnet: str, wish: str) -> str:
    return (
        f"bridge {ipam.bridge_name()} keeps its subnet {subnet} while containers run on it; {wish}, as the"
        " settings want it, comes with the first start after they have ended"
    )


def adopt_in(transaction: Transaction, container_id: str, place: Place) -> None:
    """Lease a running container the addresses that it has, where the database that knew of them was lost."""
    subnet = DefaultSubnet(place["address"], place["prefix"], place.get("own") or place["gateway"])
    ipam.adopt_in(transaction, container_id, place["address"], subnet)
    if not place["address6"]:
        return
    own = place.get("own6") or place["gateway6"]
    bits, value = pools.number(place["address6"])
    host = bits - place["prefix6"]
    base = pools.text(bits, value >> host << host)
    sql = "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)"
    transaction.execute(sql, (KEY, f"{base}/{place['prefix6']} {own}"))
    sql = "INSERT OR IGNORE INTO leases (network, address, container) VALUES (?, ?, ?)"
    transaction.execute(sql, (DEFAULT_NETWORK, place["address6"], container_id))


def _with(there: Subnet, wish: Subnet | None) -> Subnet:
    """The subnet that there is, with what the settings keep of it, or for whom, if it is theirs."""
    return wish if wish is not None and _same(wish, there) else there


def _same(one: Subnet, other: Subnet) -> bool:
    return (one["Subnet"], one.get("Gateway")) == (other["Subnet"], other.get("Gateway"))


def _automatic(subnet: Subnet) -> bool:
    return subnet["Subnet"].startswith("fd") and subnet["Subnet"].endswith("/64")


def _refuse_used(subnet: Subnet, others: Others) -> None:
    """Raises Conflict for a subnet that shares an address with another network or interface."""
    from estiva.linux.net.netlink import Socket

    with Socket() as socket:
        used = pools.in_use(socket)
    for name, other in others():
        used.append((f"{other['Subnet']} of network {name}", pools.extent(other["Subnet"])))
    for what, taken in used:
        if pools.overlap(pools.extent(subnet["Subnet"]), taken):
            raise Conflict(
                f"the subnet {subnet['Subnet']} of bridge {ipam.bridge_name()} overlaps with {what}",
                hint=f"set bip6 or fixed-cidr-v6 in {settings.path()} to another, or take that away",
            )


def _vacate(bridge: str, subnet: Subnet) -> None:
    """Take the bridge's address away of a subnet that nobody has an address of; with the last, the firewall,
    which knows it, so that who is killed then leaves one that is made anew."""
    from estiva.linux.net import families
    from estiva.linux.net.netlink import Socket

    with Socket() as socket:
        link = socket.link(bridge)
        index = link.index if link is not None else 0
        there = [(address, prefix) for owner, address, prefix in families.addresses(socket) if owner == index]
        mine = (subnet.get("Gateway", ""), int(subnet["Subnet"].partition("/")[2]))
        if not index or mine not in there:
            return
        socket.exchange(families.delete_address(index, *mine))
        others = [address for address, _ in there if ":" in address and not address.startswith("fe80:")]
        if others == [mine[0]]:
            firewall.drop_table(firewall.table6(bridge))
