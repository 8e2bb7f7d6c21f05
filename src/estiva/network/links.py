"""The kernel's side of a bridge network: the bridge and veths on the host, eth0 and lo in a netns."""

from __future__ import annotations

import errno
import os
from _socket import inet_aton

from estiva import settings
from estiva.errors import Conflict, EngineError
from estiva.linux.net import netlink
from estiva.network import firewall, ipam
from estiva.network.subnet import PREFIX, Subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from estiva.network.firewall import Published
    from estiva.paths import Paths

    T = TypeVar("T")

INTERFACE = "eth0"
VETH = "ve"
KINDS = ("veth", "macvlan", "ipvlan")
NF_CALL = "bridge/bridge-nf-call-iptables"
_SYSCTL = "/proc/sys/net/"


# ---- the host's side


def bridge_link(
    socket: netlink.Socket,
    paths: Paths,
    bridge: str,
    subnet: Subnet,
    published: Published = firewall.nothing,
    *,
    isolated: bool = False,
    own6: tuple[str, int] | None = None,
) -> netlink.Link:
    """The bridge, made if need be with the subnet's gateway address and firewall, which sends `published`
    ports to all that run.

    Three questions to the kernel when all is there. `isolated`: its containers don't reach each other;
    `own6`: the address of IPv6 that it is to have too, and its prefix.
    """
    link = ready(socket, bridge, subnet.gateway)
    plain = not isolated and own6 is None
    if link is not None and firewall.present(bridge) and (plain or _has_more(socket, link, isolated, own6)):
        return link
    from estiva.files import Lock

    with Lock(lock_of(paths, bridge)):
        link = ready(socket, bridge, subnet.gateway)
        if link is None:
            _make(socket, bridge, subnet)
        if own6 is not None:
            _make6(socket, bridge, own6)
        if isolated or own6 is not None:
            _mend(socket, bridge, published, isolated=isolated)
        elif link is None or not firewall.present(bridge):
            _install(socket, bridge, published)
        link = ready(socket, bridge, subnet.gateway)
    if link is None:
        raise EngineError(f"bridge {bridge} went away while it was made")
    return link


def mend_firewall(paths: Paths, bridge: str, published: Published) -> None:
    """Make the firewall of a bridge that is there anew, unless another has been faster."""
    from estiva.files import Lock

    with Lock(lock_of(paths, bridge)), netlink.Socket() as socket:
        _mend(socket, bridge, published, isolated=not settings.look()[0].get("icc", True))


def missing_in_firewall(bridge: str, published: Published) -> list[str]:
    """What others have taken out of the firewall of a bridge that is there, in words."""
    with netlink.Socket() as socket:
        isolated = not settings.look()[0].get("icc", True)
        return firewall.missing(bridge, published) or _missing_more(socket, bridge, published, isolated)


def lock_of(paths: Paths, bridge: str) -> str:
    """Of whoever makes the bridge or its firewall, or takes a container's part out of it."""
    return paths.lock(f"network-{bridge}")


def ready(socket: netlink.Socket, bridge: str, gateway: str) -> netlink.Link | None:
    """The bridge if it is up and the gateway's address is this machine's."""
    try:
        link, route = socket.exchange(netlink.get_link(bridge), netlink.get_route(inet_aton(gateway)))
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENETUNREACH, errno.EHOSTUNREACH):
            return None
        raise
    found = netlink.Link(link)
    return found if found.flags & netlink.IFF_UP and netlink.route_is_local(route) else None


def _make(socket: netlink.Socket, bridge: str, subnet: Subnet) -> None:
    gateway = inet_aton(subnet.gateway)
    link = socket.link(bridge)
    if link is not None and link.kind != "bridge":
        raise Conflict(f"interface {bridge} is not a bridge", hint="set ESTIVA_BRIDGE to another name")
    if ipam.clashes(subnet, ipam.in_use(socket, bridge)):
        raise Conflict(
            f"the subnet {subnet} of bridge {bridge} is now used by another interface or route",
            hint="take that away, or stop all containers and remove the bridge",
        )
    if link is None:
        from estiva.linux.net import families

        mtu = ipam.manners()[0] or path_mtu(socket)
        ignoring(errno.EEXIST, socket, families.add_bridge(bridge, address=ipam.HARDWARE + gateway, mtu=mtu))
        link = socket.link(bridge)
        if link is None:
            raise EngineError(f"bridge {bridge} went away while it was made")
    # Before the bridge is up: no IPv6 address of its own, no redirects to containers that reach each other
    # through it, and 127.0.0.1 -> container for published ports (what else route_localnet allows,
    # network/firewall drops).
    sysctl(f"ipv6/conf/{bridge}/disable_ipv6", "1", optional=True)
    sysctl(f"ipv4/conf/{bridge}/send_redirects", "0")
    sysctl(f"ipv4/conf/{bridge}/route_localnet", "1")
    ignoring(errno.EEXIST, socket, netlink.add_address(link.index, gateway, subnet.prefix))
    socket.exchange(netlink.set_link(bridge, up=True))


def _make6(socket: netlink.Socket, bridge: str, own6: tuple[str, int]) -> None:
    """Its address of IPv6, beside the one that it has."""
    from _socket import AF_INET6, inet_pton

    from estiva.linux.net import families

    link = socket.link(bridge)
    if link is None:
        raise EngineError(f"bridge {bridge} went away while it was made")
    sysctl(f"ipv6/conf/{bridge}/accept_ra", "0")
    sysctl(f"ipv6/conf/{bridge}/disable_ipv6", "0")
    address = inet_pton(AF_INET6, own6[0])
    ignoring(errno.EEXIST, socket, families.add_address6(link.index, address, own6[1]))
    sysctl("ipv6/conf/all/forwarding", "1")


def _has_more(
    socket: netlink.Socket, link: netlink.Link, isolated: bool, own6: tuple[str, int] | None
) -> bool:
    """Whether all is there that the default bridge has only where the settings say so."""
    from estiva.linux.net import families
    from estiva.network.default import walls

    if own6 is not None and (link.index, *own6) not in families.addresses(socket):
        return False
    return walls.present(link.name, six=own6 is not None, apart=_apart(isolated))


def _apart(isolated: bool) -> bool:
    """Whether the firewall is what keeps containers from each other: see rules.py."""
    return isolated and sysctl_of(NF_CALL) == "1"


def _missing_more(socket: netlink.Socket, bridge: str, published: Published, isolated: bool) -> list[str]:
    six, apart = bool(_subnets6(socket, bridge)), _apart(isolated)
    if not six and not apart:
        return []
    from estiva.network.default import walls

    return walls.missing(bridge, published, six=six, apart=apart)


def _subnets6(socket: netlink.Socket, bridge: str) -> list[str]:
    """The subnets of IPv6 on the bridge: those of other state roots too."""
    from estiva.linux.net import families
    from estiva.network import pools

    link = socket.link(bridge)
    index = link.index if link else 0
    found = []
    for owner, address, prefix in families.addresses(socket):
        if owner == index and ":" in address and not address.startswith("fe80:"):
            bits, value = pools.number(address)
            base = value >> (bits - prefix) << (bits - prefix)
            found.append(f"{pools.text(bits, base)}/{prefix}")
    return found


def _mend(socket: netlink.Socket, bridge: str, published: Published, *, isolated: bool) -> None:
    """Make the firewall anew where something of it is missing."""
    if firewall.missing(bridge, published) or _missing_more(socket, bridge, published, isolated):
        _install(socket, bridge, published, apart=_apart(isolated), subnets6=_subnets6(socket, bridge))


def _install(
    socket: netlink.Socket,
    bridge: str,
    published: Published,
    *,
    apart: bool = False,
    subnets6: Sequence[str] = (),
) -> None:
    """Forwarding and the firewall table, for every subnet on the bridge (another state root may share it)."""
    link = socket.link(bridge)
    index = link.index if link else 0
    subnets = [
        str(Subnet(address, prefix)) for owner, address, prefix in socket.addresses() if owner == index
    ]
    if apart or subnets6:
        from estiva.network.default import walls

        walls.install(bridge, subnets, subnets6, published, apart=apart)
    else:
        firewall.install(bridge, subnets, published)
    sysctl("ipv4/ip_forward", "1")


def path_mtu(socket: netlink.Socket) -> int:
    """The MTU in bytes of the interface that the default route uses, if it is a small one; else 0."""
    indexes = {index for _, prefix, index in socket.routes() if prefix == 0}
    small = [link.mtu for link in socket.links() if link.index in indexes and 576 <= link.mtu < 1500]
    return min(small, default=0)


def ignoring(number: int, socket: netlink.Socket, request: netlink.Request) -> None:
    try:
        socket.exchange(request)
    except OSError as error:
        if error.errno != number:
            raise


def sysctl(name: str, value: str, *, optional: bool = False) -> None:
    """Write a setting of the caller's network namespace, unless it has that value. Raises OSError."""
    try:
        fd = os.open(_SYSCTL + name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.read(fd, 16).strip() == value.encode():
                return
        finally:
            os.close(fd)
        fd = os.open(_SYSCTL + name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except FileNotFoundError:
        if not optional:
            raise


def sysctl_of(name: str) -> str:
    """A setting of the caller's network namespace; "" where there is none of that name. Raises OSError."""
    try:
        fd = os.open(_SYSCTL + name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        return os.read(fd, 16).strip().decode()
    finally:
        os.close(fd)


def add_veth(
    socket: netlink.Socket,
    container_id: str,
    pid: int,
    hardware: bytes,
    bridge: netlink.Link,
    *,
    interface: str = INTERFACE,
    first: bool = True,
    mtu: int = 0,
) -> str:
    """Make the pair and say the name of the host's end: "ve" and the id's start; that of those after the
    `first` is a spare one.

    Where that exists, a former run's netns is still being taken down: then with another end to the name.
    """
    name = VETH + container_id[:11] if first else spare(container_id)
    for _ in range(8):
        try:
            socket.exchange(
                netlink.add_veth(
                    name,
                    peer=interface,
                    peer_address=hardware,
                    pid=pid,
                    master=bridge.index,
                    mtu=mtu or bridge.mtu,
                    up=True,
                )
            )
            return name
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        name = spare(container_id)
    raise EngineError(f"container {container_id[:12]} has an interface {interface} already")


def spare(container_id: str) -> str:
    """A name for another end of a container on the host."""
    return f"{VETH}{container_id[:8]}-{os.urandom(2).hex()}"


def belongs(name: str, container_id: str) -> bool:
    """Whether an interface's name is one that `add_veth` gives to this container."""
    return name == VETH + container_id[:11] or (
        len(name) == 15 and name.startswith(f"{VETH}{container_id[:8]}-")
    )


def veths(wanted: Callable[[str], bool]) -> list[str]:
    """The veths of the caller's network namespace whose name is wanted, and what was to be moved into one."""
    with netlink.Socket() as socket:
        return [link.name for link in socket.links() if link.kind in KINDS and wanted(link.name)]


def delete_veths(container_id: str) -> None:
    """Remove a container's interfaces from both ends, 15-30 ms each, where its network namespace outlives
    it."""
    for name in veths(lambda name: belongs(name, container_id)):
        delete_link(name)


def delete_link(name: str) -> None:
    """Remove an interface; none of that name is fine."""
    with netlink.Socket() as socket:
        ignoring(errno.ENODEV, socket, netlink.delete_link(name))


# ---- the container's side


def enter(pid: int, *, ipv6: bool = False) -> netlink.Socket:
    """A netlink socket in the network namespace of `pid`. `ipv6`: interfaces made later may have it.

    Setting the default before eth0 exists (a new netns has only lo) leaves ::1 alone and no moment with a
    link-local address (K8).
    """

    def work() -> netlink.Socket:
        if not ipv6:
            sysctl("ipv6/conf/default/disable_ipv6", "1", optional=True)
        return netlink.Socket()

    return at(pid, work)


def allow_ipv6(pid: int, interface: str) -> None:
    """Let an interface in the network namespace of `pid`, which is not up yet, have IPv6 addresses: those
    that it is given, and no others."""

    def work() -> None:
        sysctl(f"ipv6/conf/{interface}/accept_ra", "0")
        sysctl(f"ipv6/conf/{interface}/disable_ipv6", "0")

    at(pid, work)


def at(pid: int, work: Callable[[], T]) -> T:
    """Do something in the network namespace of `pid`; no longer than that."""
    from estiva.linux.namespace import CLONE_NEWNET, setns

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, CLONE_NEWNET, f"network namespace of process {pid}")
        finally:
            os.close(there)
        try:
            return work()
        finally:
            setns(home, CLONE_NEWNET, "the host's network namespace")
    finally:
        os.close(home)


def configure(inside: netlink.Socket, address: bytes, gateway: bytes) -> None:
    """Give lo and eth0 all that they need, in the network namespace of the netlink socket."""
    link = inside.link(INTERFACE)
    if link is None:
        raise EngineError(f"interface {INTERFACE} is not in the container's network namespace")
    inside.exchange(
        netlink.set_link("lo", up=True),
        netlink.add_address(link.index, address, PREFIX),
        netlink.set_link(INTERFACE, up=True),
        netlink.add_route(gateway),
    )
