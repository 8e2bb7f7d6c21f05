"""The default bridge network: one bridge on the host, a veth(4) pair and an address for each container.

    reserve_in   an address, in the transaction that writes the container's row
    connect      once the container's netns exists: veth, address, default route, published ports
    publish      its ports; a part of connect, or after it
    disconnect   ports, address; the veth goes with the netns
    sweep        what containers left that nobody disconnected
    missing      what others have taken out of the firewall; mend puts it back
    remove_all   bridge and firewall table, for an uninstall

The bridge (`estiva0`, or ESTIVA_BRIDGE) and its firewall table are made on first use and found missing by
`connect` (three questions to the kernel), so a reboot or a flushed firewall heals by itself, for all who run:
`published` tells of their ports, as (address, ports). `disconnect` sees it too. IPv6 is off on the bridge and
on each container's eth0, but where the settings want it (default/dual.py); a container keeps ::1.
"""

from __future__ import annotations

from _socket import inet_aton

from estiva.errors import EngineError, EstivaError, reason
from estiva.files import Lock
from estiva.linux.net import netlink
from estiva.network import firewall, ipam, links
from estiva.network.ipam import DEFAULT_NETWORK, bridge_name, hardware_address
from estiva.network.subnet import PREFIX, Subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as _socket
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from estiva.network.firewall import Published
    from estiva.network.ipam import Database, Transaction
    from estiva.network.types import Place
    from estiva.paths import Paths


class Endpoint:
    """A container's place in the network. `sockets` hold the published ports: keep them open while it runs.

    ip, gateway, mac: text; prefix: bits; bridge, veth: interfaces on the host; ports: resolved
    (network/ports). places: all of its networks, where it has others than this (network/plug.py).
    """

    __slots__ = ("ip", "prefix", "gateway", "mac", "bridge", "veth", "hostname", "ports", "sockets", "places")

    def __init__(
        self, ip: str, mac: str, bridge: str, hostname: str, prefix: int = PREFIX, gateway: str | None = None
    ) -> None:
        self.ip = ip
        self.prefix = prefix
        self.gateway = Subnet(ip).gateway if gateway is None else gateway
        self.mac = mac
        self.bridge = bridge
        self.veth = ""
        self.hostname = hostname
        self.ports: list[dict[str, str]] = []
        self.sockets: list[_socket] = []
        self.places: list[Place] = []


def reserve_in(transaction: Transaction, container_id: str, *, address: str | None = None) -> str:
    """Lease an address for a container inside an open write transaction. See leases.reserve_in."""
    return ipam.reserve_in(transaction, container_id, bridge=bridge_name(), address=address)


def reserve(db: Database, paths: Paths, container_id: str, *, address: str | None = None) -> str:
    """Lease an address for a container, in a transaction of its own."""
    with db.write() as transaction:
        return reserve_in(transaction, container_id, address=address)


def ensure(db: Database, paths: Paths) -> str:
    """Make the default bridge and its firewall where they are missing; returns its subnet as text."""
    bridge = bridge_name()
    subnet = ipam.default_subnet(db)
    if subnet is None or not ipam.exists(bridge):
        with db.write() as transaction:
            subnet = ipam.subnet_in(transaction, bridge, DEFAULT_NETWORK)[0]
    with netlink.Socket() as socket:
        links.bridge_link(socket, paths, bridge, subnet)
    return str(subnet)


def connect(
    db: Database,
    paths: Paths,
    container_id: str,
    pid: int,
    *,
    hostname: str = "",
    ports: Sequence[dict[str, Any]] = (),
    mac: str | None = None,
    address: str | None = None,
    publish_now: bool = True,
    published: Published = firewall.nothing,
) -> Endpoint:
    """Plug the network namespace of process `pid` into the default bridge, with `address` as leased by
    `reserve_in` (leased now, without), and publish `ports`; not `publish_now` leaves that to `publish`.

    The calling thread enters the namespace for some microseconds (setns(2)) and returns: a netlink socket
    belongs to the namespace that its maker is in, and /proc/sys/net shows the reader's. Other threads notice
    nothing.

    Raises Conflict when a host port is in use, Unsupported without nftables, EngineError; then nothing is
    left but the lease that was given as `address`.
    """
    bridge = bridge_name()
    undo: list[Callable[[], object]] = []
    try:
        if address is None:
            address = reserve(db, paths, container_id)
            undo.append(lambda: _release(db, container_id))
        ip = inet_aton(address)
        hardware = hardware_address(mac) if mac else b"\x02\xe5" + ip
        endpoint = Endpoint(address, hardware.hex(":"), bridge, hostname)
        if ports:
            from estiva.network import ports as holding

            endpoint.ports, endpoint.sockets = holding.bind(ports)
            undo.append(lambda: holding.release(endpoint.sockets))
        with netlink.Socket() as outside:
            mtu, isolated = ipam.manners()
            subnet = Subnet(address)
            link = links.bridge_link(outside, paths, bridge, subnet, published, isolated=isolated)
            inside = links.enter(pid)
            try:
                endpoint.veth = links.add_veth(outside, container_id, pid, hardware, link, mtu=mtu)
                undo.append(lambda: links.delete_link(endpoint.veth))
                if isolated:
                    from estiva.linux.net import families
                    from estiva.network.default import walls

                    outside.exchange(families.set_isolated(endpoint.veth, port=not walls.isolates(bridge)))
                if ports:
                    # With br_netfilter a container's connection to its own published port is bridged, not
                    # routed.
                    outside.exchange(netlink.set_hairpin(endpoint.veth))
                links.configure(inside, ip, inet_aton(endpoint.gateway))
            finally:
                inside.close()
        if publish_now:
            publish(paths, endpoint, published)
        return endpoint
    except BaseException as error:
        take_back(undo, error, container_id)
        raise


def take_back(undo: Sequence[Callable[[], object]], error: BaseException, container_id: str) -> None:
    """Undo what was done of a connect that failed. Raises EngineError for the system's errors; others are the
    caller's to raise.
    """
    for step in reversed(undo):
        try:
            step()
        except (OSError, EstivaError):
            pass  # the first error is the one to tell; sweep takes the rest
    if isinstance(error, OSError):
        what = error.filename or "netlink"
        raise EngineError(f"network of container {container_id[:12]}: {what}: {reason(error)}") from error


def publish(paths: Paths, endpoint: Endpoint, published: Published = firewall.nothing) -> None:
    """Send the ports of an endpoint to its container. The caller has written down before what `published`
    will tell: so nobody who makes the firewall anew at this moment leaves them out.
    """
    if endpoint.ports:
        publish_at(paths, endpoint.bridge, endpoint.ip, endpoint.ports, published)


def publish_at(
    paths: Paths, bridge: str, address: str, ports: Sequence[dict[str, Any]], published: Published
) -> None:
    """The same by a container's address on a bridge."""
    try:
        firewall.publish(firewall.at(bridge, address), address, ports)
    except FileNotFoundError:  # the table has gone since `connect` looked
        links.mend_firewall(paths, bridge, published)
        try:
            firewall.publish(firewall.at(bridge, address), address, ports)
        except FileNotFoundError:
            raise EngineError(
                f"the firewall's table of bridge {bridge} was removed while ports were published"
            ) from None


def missing(published: Published) -> list[str]:
    """What others have taken out of the firewall, in words; for when containers run on the bridge."""
    bridge = bridge_name()
    return links.missing_in_firewall(bridge, published) if ipam.exists(bridge) else []


def mend(paths: Paths, published: Published) -> None:
    """Put back what `missing` told."""
    links.mend_firewall(paths, bridge_name(), published)


def disconnect(
    db: Database,
    paths: Paths,
    container_id: str,
    ports: Sequence[dict[str, Any]] = (),
    *,
    addresses: Sequence[str] | None = None,
    delete_veth: bool = False,
    published: Published = firewall.nothing,
) -> None:
    """Unpublish a container's ports and give its address back. Harmless when it has none. Where others have
    removed the firewall, it is made anew for those who stay.

    The veth goes with the network namespace when its last process ends, later and in the kernel's own time;
    with `delete_veth` now (15-30 ms), for a namespace that others keep alive. `ports` need not be told: what
    is published for the container's address is found; nor `addresses`, which are leased to it.
    """
    del ports
    if delete_veth:
        links.delete_veths(container_id)  # while the address is its own
    if addresses is None:
        addresses = ipam.held(db, container_id)
    if addresses:
        bridge = bridge_name()
        # together: who makes the firewall anew goes by the leases
        with Lock(links.lock_of(paths, bridge)):
            firewall.unpublish(bridge, lambda address: address not in addresses)
            if any(":" in address for address in addresses):
                firewall.unpublish(firewall.table6(bridge), lambda address: address not in addresses)
            _release(db, container_id)
        if not firewall.present(bridge) and ipam.leased(db) and ipam.exists(bridge):
            links.mend_firewall(paths, bridge, published)


def loopback_up(pid: int) -> None:
    """Set `lo` up in the network namespace of process `pid`. Raises EngineError."""
    try:
        with links.enter(pid, ipv6=True) as inside:
            inside.exchange(netlink.set_link("lo", up=True))
    except OSError as error:
        raise EngineError(f"loopback of process {pid}: {error.filename or 'lo'}: {reason(error)}") from error


def sweep(
    db: Database, paths: Paths, live_ids: Iterable[str] | Callable[[], Iterable[str]]
) -> dict[str, int]:
    """Remove veths, published ports and leases of containers that are not among `live_ids`; counts of each.
    The addresses last: while an interface has one it is not another's.

    A function as `live_ids` is called with the database's write lock held, so that no container that starts
    at this moment is missed.
    """
    bridge = bridge_name()
    with db.write(freeing=True) as transaction:
        live = set(live_ids() if callable(live_ids) else live_ids)
        rows = transaction.execute("SELECT DISTINCT container FROM leases").fetchall()
        dead = [row[0] for row in rows if row[0] not in live]
        veths = links.veths(lambda name: any(links.belongs(name, container_id) for container_id in dead))
        for name in veths:
            links.delete_link(name)
        for container_id in dead:
            ipam.release_in(transaction, container_id)
        kept = {row[0] for row in transaction.execute("SELECT address FROM leases").fetchall()}
        subnet = _remembered(transaction)
        ports = 0
        if subnet is not None:
            ours = subnet
            ports = firewall.unpublish(bridge, lambda address: address in kept or not ours.holds(address))
            ports += _sweep6(transaction, bridge, kept)
        if transaction.execute("SELECT 1 FROM networks LIMIT 1").fetchall():
            from estiva.network import rules

            ports += firewall.unpublish(rules.table(paths), lambda address: address in kept)
    return {"leases": len(dead), "ports": ports, "veths": len(veths)}


def remove_all() -> None:
    """Take away the bridge and its firewall table. Containers on it lose the network; leases stay."""
    from estiva.network.default import walls

    bridge = bridge_name()
    firewall.remove(bridge)
    walls.remove(bridge)
    with netlink.Socket() as socket:
        link = socket.link(bridge)
        if link is not None and link.kind == "bridge":
            for port in socket.links():
                if port.master == link.index and port.name.startswith(links.VETH):
                    links.delete_link(port.name)
            links.delete_link(bridge)


def _sweep6(transaction: Transaction, bridge: str, kept: set[str]) -> int:
    """The published ports of IPv6 that go: how many."""
    from estiva.network import pools
    from estiva.network.default import dual

    known = dual.remembered(transaction)  # type: ignore[arg-type]
    if known is None:
        return 0
    ours = pools.Pool(known)
    return firewall.unpublish(
        firewall.table6(bridge), lambda address: address in kept or not ours.holds(address)
    )


def _release(db: Database, container_id: str) -> None:
    with db.write(freeing=True) as transaction:
        ipam.release_in(transaction, container_id)


def _remembered(transaction: Transaction) -> Subnet | None:
    rows = transaction.execute(
        "SELECT value FROM meta WHERE key = ?", (f"network.{DEFAULT_NETWORK}.subnet",)
    ).fetchall()
    return Subnet.read(rows[0][0]) if rows else None
