"""What containers are plugged into, on the host: a network's bridge with its part of the firewall, or the
parent of a macvlan. Made on first use.
"""

from __future__ import annotations

import errno
from _socket import AF_INET6, inet_aton, inet_pton

from estiva.errors import Conflict, EngineError
from estiva.files import Lock
from estiva.linux.net import families, netfilter, netlink
from estiva.network import firewall, going, ipam, links, networks, pools, rules
from estiva.network.ipam import DEFAULT_NETWORK, HARDWARE
from estiva.network.subnet import Subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiva.network.firewall import Published
    from estiva.network.ipam import Database
    from estiva.network.types import Before, Place
    from estiva.paths import Paths


OURS = "br-"  # so begin the names of bridges that were not given one


class Firewalls:
    """What tells the published ports of all that run, should a table have to be made anew: those of the
    default bridge's containers, and those of the others."""

    __slots__ = ("default", "own")

    def __init__(self, default: Published = firewall.nothing, own: Published = firewall.nothing) -> None:
        self.default = default
        self.own = own


def link_of(
    outside: netlink.Socket, db: Database, paths: Paths, place: Place, walls: Firewalls
) -> netlink.Link:
    """The bridge of a network, made if need be with its part of the firewall; or the parent of a macvlan."""
    if place["network"] == DEFAULT_NETWORK:
        return _default(outside, paths, place, walls)
    if place["driver"] != networks.BRIDGE:
        from estiva.network import parents

        return parents.link_of(outside, db, place)
    link = _ready(outside, place)
    if link is not None and rules.present(paths, place["bridge"]):
        return link
    flushed = link is not None
    with Lock(rules.lock(paths)):
        link = _ready(outside, place)
        made = _make(outside, place) if link is None else None
        if not rules.present(paths, place["bridge"]):
            if not place["internal"]:
                links.sysctl("ipv4/ip_forward", "1")
                if place["address6"]:
                    links.sysctl("ipv6/conf/all/forwarding", "1")
            rules.install(paths, db, walls.own)
        if made is not None:  # after what drops the rest of what route_localnet lets in
            _furnish(outside, place, made)
            link = _ready(outside, place)
    if flushed:
        mend_default(db, paths, walls)
    if link is None:
        raise EngineError(f"bridge {place['bridge']} of network {place['name']} went away while it was made")
    return link


def _default(outside: netlink.Socket, paths: Paths, place: Place, walls: Firewalls) -> netlink.Link:
    subnet = Subnet(place["address"], place["prefix"], place.get("own") or place["gateway"])
    own6 = (place.get("own6") or place["gateway6"], place["prefix6"]) if place["address6"] else None
    return links.bridge_link(
        outside, paths, place["bridge"], subnet, walls.default, isolated=place["isolated"], own6=own6
    )


def isolates(paths: Paths, place: Place) -> bool:
    """Whether the firewall keeps the containers of a place's network apart, which need not be isolated ports
    of its bridge then."""
    if place["network"] != DEFAULT_NETWORK:
        return rules.isolates(paths, place["bridge"])
    from estiva.network.default import walls

    return walls.isolates(place["bridge"])


def mend_default(db: Database, paths: Paths, walls: Firewalls) -> None:
    """Who has flushed the firewall of these networks has flushed that of the default bridge too. Not while
    the lock of theirs is held: who makes the default bridge's anew takes both.
    """
    name = ipam.bridge_name()
    if ipam.leased(db) and ipam.exists(name) and not firewall.present(name):
        links.mend_firewall(paths, name, walls.default)


def _ready(outside: netlink.Socket, place: Place) -> netlink.Link | None:
    link = links.ready(outside, place["bridge"], place["gateway"])
    if link is not None and link.kind != "bridge":
        raise Conflict(f"interface {place['bridge']} of network {place['name']} is not a bridge")
    return link


def _make(outside: netlink.Socket, place: Place) -> netlink.Link:
    """The bridge, as it was or new. Raises Conflict."""
    name, gateway = place["bridge"], inet_aton(place["gateway"])
    link = outside.link(name)
    if link is not None and link.kind != "bridge":
        raise Conflict(f"interface {name} of network {place['name']} is not a bridge")
    used = pools.in_use(outside, but=name)
    for address, prefix in ((place["address"], place["prefix"]), (place["address6"], place["prefix6"])):
        if address:
            refuse_overlap(used, whole(address, prefix), place["name"])
    if link is None:
        mtu = place["mtu"] or links.path_mtu(outside)
        links.ignoring(errno.EEXIST, outside, families.add_bridge(name, address=HARDWARE + gateway, mtu=mtu))
        link = outside.link(name)
        if link is None:
            raise EngineError(f"bridge {name} went away while it was made")
    return link


def _furnish(outside: netlink.Socket, place: Place, link: netlink.Link) -> None:
    """Its settings and addresses; and up."""
    name, gateway = place["bridge"], inet_aton(place["gateway"])
    six = bool(place["address6"])
    links.sysctl(f"ipv6/conf/{name}/disable_ipv6", "0" if six else "1", optional=not six)
    if six:
        links.sysctl(f"ipv6/conf/{name}/accept_ra", "0")
    links.sysctl(f"ipv4/conf/{name}/send_redirects", "0")
    links.sysctl(f"ipv4/conf/{name}/route_localnet", "1")  # as links.bridge_link
    links.ignoring(errno.EEXIST, outside, netlink.add_address(link.index, gateway, place["prefix"]))
    if six:
        there = families.add_address6(link.index, inet_pton(AF_INET6, place["gateway6"]), place["prefix6"])
        links.ignoring(errno.EEXIST, outside, there)
    outside.exchange(netlink.set_link(name, up=True))


def whole(address: str, prefix: int) -> pools.Range:
    """All addresses of the subnet that an address is in."""
    bits, value = pools.number(address)
    base = value >> (bits - prefix) << (bits - prefix)
    return bits, base, base + (1 << (bits - prefix)) - 1


def refuse_overlap(used: Sequence[tuple[str, pools.Range]], subnet: pools.Range, name: str) -> None:
    """Raises Conflict, which names it, for a subnet that shares an address with one in use."""
    for what, other in used:
        if pools.overlap(subnet, other):
            mine = f"{pools.text(subnet[0], subnet[1])}-{pools.text(subnet[0], subnet[2])}"
            raise Conflict(
                f"the subnet of network {name} ({mine}) overlaps with {what}",
                hint="give another with --subnet, or take that away",
            )


# ---- a bridge that was there before

SETTINGS = (  # of those that `_furnish` sets
    "ipv4/conf/{}/route_localnet",
    "ipv4/conf/{}/send_redirects",
    "ipv6/conf/{}/disable_ipv6",
    "ipv6/conf/{}/accept_ra",
)
SAFE = {SETTINGS[0]: "0"}  # where nobody has written down what was


def before(outside: netlink.Socket, name: str) -> Before:
    """What a bridge is like before it is a network's, for `give_back`."""
    settings = {}
    for key in SETTINGS:
        value = links.sysctl_of(key.format(name))
        if value:
            settings[key] = value
    link = outside.link(name)
    index = link.index if link is not None else 0
    return {
        "Settings": settings,
        "Addresses": [address for owner, address, _ in families.addresses(outside) if owner == index],
    }


def give_back(network: networks.Network) -> None:
    """Make an adopted bridge what it was: without route_localnet, which would let its neighbours reach this
    machine's 127.0.0.1 once the rules are gone, and without the gateway's addresses. Raises OSError.

    To be called while the network's row is there and nobody can get an address of it, so that who is killed
    can do it again.
    """
    name, was = network.record["Bridge"], network.record.get("Before")
    if not network.record["Adopted"] or not ipam.exists(name):
        return
    _restore(name, was["Settings"] if was else SAFE)
    place = networks.empty_place(network)
    gateways = ((place["gateway"], place["prefix"]), (place["gateway6"], place["prefix6"]))
    with netlink.Socket() as outside:
        link = outside.link(name)
        for address, prefix in gateways:
            if was and link is not None and address and address not in was["Addresses"]:
                links.ignoring(
                    errno.EADDRNOTAVAIL, outside, families.delete_address(link.index, address, prefix)
                )


def _restore(name: str, settings: dict[str, str]) -> None:
    for key in SETTINGS:
        if key in settings:
            links.sysctl(key.format(name), settings[key], optional=True)


def remove_network(paths: Paths, db: Database, network: networks.Network, published: Published) -> None:
    """Take away what a network that has no row any more had on this machine: its bridge or parent, its part
    of the firewall."""
    with Lock(rules.lock(paths)):
        names = [] if network.record["Adopted"] else [network.record["Bridge"]]
        if network.driver != networks.BRIDGE:
            from estiva.network import parents

            parents.remove(network, networks.every(db))
        others = {other.record["Bridge"] for other in networks.every(db)}
        for name in names:
            if name and name not in others and _made_here(name):
                links.delete_link(name)
        if network.record["Bridge"] and firewall.with_socket(_has(paths)):
            rules.install(paths, db, published)
        with db.write(freeing=True) as transaction:
            going.end_in(transaction, network)


def _has(paths: Paths) -> Callable[[netlink.Socket], bool]:
    family, name = rules.table(paths)
    return lambda socket: netfilter.has_table(socket, name, family)


def sweep(paths: Paths, db: Database, published: Published) -> list[str]:
    """Take away what is left of networks that have gone: who removed them was killed. In words."""
    told = []
    for network in going.every(db):
        remove_network(paths, db, network, published)
        told.append(f"what was left of network {network.name}, which was removed")
    with Lock(rules.lock(paths)):
        known = {network.record["Bridge"] for network in networks.every(db)}
        gone = [bridge for bridge in _listed(paths) if bridge not in known]
        _take_away(gone)
        if gone:
            rules.install(paths, db, published)
    return told + [f"bridge {name} of a network that was removed" for name in gone]


def remove_listed(paths: Paths) -> None:
    """Take away the bridges in the table, and the table: where the database that knew of them is lost."""
    with Lock(rules.lock(paths)):
        _take_away(_listed(paths))
        rules.remove(paths)


def _listed(paths: Paths) -> list[str]:
    family, name = rules.table(paths)
    found = firewall.with_socket(lambda socket: netfilter.elements(socket, name, "bridges", family))
    return [key.rstrip(b"\0").decode() for key, _ in found]


def _take_away(bridges: Sequence[str]) -> None:
    for bridge in bridges:
        if bridge.startswith(OURS) and _made_here(bridge):
            links.delete_link(bridge)
        else:
            _restore(bridge, SAFE)


def _made_here(name: str) -> bool:
    """Whether `_make` has made a bridge, by its hardware address."""
    with netlink.Socket() as outside:
        link = outside.link(name)
    return link is not None and link.kind == "bridge" and link.address.startswith(HARDWARE)


def remove_all(paths: Paths, db: Database) -> None:
    """Take away what all networks have on this machine; their rows stay."""
    with Lock(rules.lock(paths)):
        for network in (*networks.every(db), *going.every(db)):
            name = network.record["Bridge"]
            if network.record["Adopted"]:
                give_back(network)
            elif not name:
                from estiva.network import parents

                parents.remove(network, ())
            elif ipam.exists(name):
                links.delete_link(name)
        rules.remove(paths)
