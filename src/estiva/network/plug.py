"""Containers plugged into networks of their own making: an interface for each place that `networks.places_in`
gave.

    connect      at a start, once the container's netns exists; published ports come from the place with the
                 default route
    plug, unplug one place more, or less, while it runs
    publish      its ports; a part of neither
    disconnect   ports and addresses; interfaces go with the netns

A network's bridge and its part of the firewall are made on first use and found missing by the next start (a
few questions to the kernel), so a reboot or a flushed firewall heals by itself. The default bridge, for a
container that is on it too, is network/bridge.py's.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, inet_aton, inet_pton

from estiva.errors import Conflict, EngineError, Unsupported, reason
from estiva.files import Lock
from estiva.linux.net import families, netlink
from estiva.network import bridge, bridges, firewall, ipam, links, networks, rules
from estiva.network.ipam import DEFAULT_NETWORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from estiva.network.bridges import Firewalls
    from estiva.network.ipam import Database
    from estiva.network.types import Place
    from estiva.paths import Paths

    Ports = Sequence[dict[str, Any]]


LINK_LOCAL, LINK_LOCAL6 = 16, 64  # bits of the subnets of link-local addresses, as docker's


def connect(
    db: Database,
    paths: Paths,
    container_id: str,
    pid: int,
    places: list[Place],
    *,
    hostname: str = "",
    ports: Ports = (),
    walls: Firewalls,
) -> bridge.Endpoint:
    """Plug the network namespace of process `pid` into its networks, and hold `ports`: `publish` sends them
    there. The addresses have been leased.

    Raises Conflict when a host port is in use, Unsupported without what a network takes, EngineError; then
    nothing is left but the leases.
    """
    undo: list[Callable[[], object]] = []
    main = primary(places)
    endpoint = bridge.Endpoint(
        main["address"] if main else "", main["mac"] if main else "", main["bridge"] if main else "",
        hostname, main["prefix"] if main else 0, _way_out(main),
    )  # fmt: skip
    endpoint.places = places
    try:
        if ports and main is not None and publishes(main):
            from estiva.network import ports as holding

            endpoint.ports, endpoint.sockets = holding.bind(ports)
            undo.append(lambda: holding.release(endpoint.sockets))
        with netlink.Socket() as outside:
            inside = links.enter(pid)
            try:
                inside.exchange(netlink.set_link("lo", up=True))
                for number, place in enumerate(places):
                    link = bridges.link_of(outside, db, paths, place, walls)
                    _interface(outside, inside, paths, container_id, pid, place, link, first=number == 0)
                    undo.append(lambda name=place["veth"]: links.delete_link(name))  # type: ignore[misc]
                route(inside, places)
            finally:
                inside.close()
        return endpoint
    except BaseException as error:
        bridge.take_back(undo, error, container_id)
        raise


def primary(places: Sequence[Place]) -> Place | None:
    """The place with the default route, else the first."""
    return next((place for place in places if place["default"]), places[0] if places else None)


def publishes(place: Place) -> bool:
    """Whether published ports may come from there."""
    return place["driver"] == networks.BRIDGE and place["default"]


def _way_out(place: Place | None) -> str:
    return place["gateway"] if place is not None and place["default"] else ""


def plug(
    db: Database,
    paths: Paths,
    container_id: str,
    pid: int,
    places: list[Place],
    place: Place,
    walls: Firewalls,
) -> None:
    """Plug a running container into one network more, `place`, which is one of `places`; the default route
    goes where they say. Raises as `connect` does, and leaves nothing.
    """
    with netlink.Socket() as outside:
        inside = links.enter(pid)
        try:
            link = bridges.link_of(outside, db, paths, place, walls)
            _interface(outside, inside, paths, container_id, pid, place, link, first=False)
            route(inside, places)
        except BaseException:
            if place.get("veth"):
                links.delete_link(place["veth"])
            raise
        finally:
            inside.close()


def unplug(pid: int, places: list[Place], place: Place) -> None:
    """Take the interface of `place` out of a running container; the default route goes where the rest of its
    `places` say."""
    inside = links.enter(pid)
    try:
        try:
            inside.exchange(netlink.delete_link(place["interface"]))  # a veth takes the host's end with it
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        route(inside, places)
    finally:
        inside.close()


def remove_strays(pid: int, place: Place, others: Sequence[Place]) -> None:
    """Take out what a killed `network connect` has left: an interface with the address of `place` that is
    none of the others'. ipvlan shares its parent's."""
    if place["driver"] == networks.IPVLAN:
        return
    known = {other["interface"] for other in others}
    inside = links.enter(pid)
    try:
        for link in inside.links():
            if link.address.hex(":") == place["mac"] and link.name not in known:
                links.ignoring(errno.ENODEV, inside, netlink.delete_link(link.name))
    finally:
        inside.close()


def interfaces(pid: int) -> list[str]:
    """The names of a container's interfaces."""
    inside = links.enter(pid)
    try:
        return [link.name for link in inside.links()]
    finally:
        inside.close()


def route(inside: netlink.Socket, places: Sequence[Place]) -> None:
    """Set the default routes as `places` say, in the network namespace of the netlink socket."""
    chosen = next((place for place in places if place["default"]), None)
    for family, suffix in ((AF_INET, ""), (AF_INET6, "6")):
        part: Any = chosen
        gateway = part["gateway" + suffix] if chosen is not None else ""
        if gateway and chosen is not None:
            link = inside.link(chosen["interface"])
            if link is None:
                raise EngineError(f"interface {chosen['interface']} is not in the container")
            inside.exchange(families.default_route(inet_pton(family, gateway), link.index))
        else:
            try:
                inside.exchange(families.drop_default_route(family))
            except OSError as error:
                # none is there; or no IPv6 at all
                if error.errno not in (errno.ESRCH, errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                    raise


def publish(db: Database, paths: Paths, place: Place, ports: Ports, walls: Firewalls) -> None:
    """Send ports that are held to the container at `place`. See bridge.publish for what comes before."""
    if not ports:
        return
    addresses = [address for address in (place["address"], place["address6"]) if address]
    if place["network"] == DEFAULT_NETWORK:
        for address in addresses:
            bridge.publish_at(paths, place["bridge"], address, ports, walls.default)
        return
    where = rules.table(paths)
    try:
        for address in addresses:
            firewall.publish(where, address, ports)
    except FileNotFoundError:  # the table has gone since `connect` looked
        rules.mend(paths, db, walls.own)
        try:
            for address in addresses:
                firewall.publish(where, address, ports)
        except FileNotFoundError:
            raise EngineError(
                f"the firewall's table {where[1]} was removed while ports were published"
            ) from None


def disconnect(db: Database, paths: Paths, container_id: str, walls: Firewalls) -> None:
    """Unpublish a container's ports in networks of its own making and give its addresses there back. Where
    others have removed the firewall, it is made anew for those who stay."""
    held = {address for network, address in ipam.leases(db, container_id) if network != DEFAULT_NETWORK}
    # together: who makes the firewall anew goes by the leases
    with Lock(rules.lock(paths)):
        firewall.unpublish(rules.table(paths), lambda address: address not in held)
        with db.write(freeing=True) as transaction:
            sql = "DELETE FROM leases WHERE container = ? AND network != ?"
            transaction.execute(sql, (container_id, DEFAULT_NETWORK))
    if not rules.whole(paths) and rules.used(db):
        rules.mend(paths, db, walls.own)
        bridges.mend_default(db, paths, walls)


# ---- the container's end


def _interface(
    outside: netlink.Socket,
    inside: netlink.Socket,
    paths: Paths,
    container_id: str,
    pid: int,
    place: Place,
    link: netlink.Link,
    *,
    first: bool,
) -> None:
    """Make the interface of a place in the container's network namespace, with its addresses, and up."""
    name, hardware = place["interface"], bytes.fromhex(place["mac"].replace(":", ""))
    if place["driver"] == networks.BRIDGE:
        place["veth"] = links.add_veth(
            outside, container_id, pid, hardware, link, interface=name, first=first, mtu=place["mtu"]
        )
        changes = [netlink.set_hairpin(place["veth"])]
        if place["isolated"]:
            port = not bridges.isolates(paths, place)
            changes.append(families.set_isolated(place["veth"], port=port))
        outside.exchange(*changes)
    else:
        place["veth"] = links.spare(container_id)
        _on_parent(outside, pid, place, link, hardware)
    made = inside.link(name)
    if made is None:
        raise EngineError(f"interface {name} is not in the container's network namespace")
    place["mac"] = made.address.hex(":")
    beside = place.get("locals") or ()
    if place["address6"] or any(":" in address for address in beside):
        links.allow_ipv6(pid, name)
    requests = []
    if place["address"]:
        requests.append(netlink.add_address(made.index, inet_aton(place["address"]), place["prefix"]))
    if place["address6"]:
        address = inet_pton(AF_INET6, place["address6"])
        requests.append(families.add_address6(made.index, address, place["prefix6"]))
    for text in beside:
        if ":" in text:
            requests.append(families.add_address6(made.index, inet_pton(AF_INET6, text), LINK_LOCAL6))
        else:
            requests.append(netlink.add_address(made.index, inet_aton(text), LINK_LOCAL))
    inside.exchange(*requests, netlink.set_link(name, up=True))


def _on_parent(outside: netlink.Socket, pid: int, place: Place, link: netlink.Link, hardware: bytes) -> None:
    """A macvlan or ipvlan, made under a name that is free here, then moved and named: a new one may not have
    a name that one of the host's has, such as eth0."""
    from estiva.linux.net import netlink_move

    spare, driver = place["veth"], place["driver"]
    own = driver == networks.MACVLAN and place["mode"] != "passthru"
    made = families.add_on_parent(
        spare, driver, place["mode"], parent=link.index, address=hardware if own else b"", mtu=place["mtu"]
    )
    try:
        outside.exchange(made)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Unsupported(
                f"this kernel has no {driver}, which network {place['name']} is made of"
            ) from None
        if error.errno in (errno.EBUSY, errno.EINVAL):
            raise Conflict(
                f"interface {link.name} can't be the parent of a {driver} ({place['mode']}) of network"
                f" {place['name']}: {reason(error)}",
                hint="it is in a bridge, or another kind of network has it for a parent",
            ) from None
        raise
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        index = outside.link(spare)
        if index is None:
            raise EngineError(f"interface {spare} went away while it was made")
        outside.exchange(netlink_move.move(index.index, there, place["interface"], place["interface"]))
    except BaseException:
        links.delete_link(spare)
        raise
    finally:
        os.close(there)
