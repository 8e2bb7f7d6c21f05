"""The interfaces of the host that macvlan and ipvlan networks are of: their parents.

`eth0.10` is the vlan 10 of eth0 (IEEE 802.1Q): where there is none of that name it is made with the network,
and again after a reboot, and goes with the last network that is of it. Without a parent nothing leaves the
machine: one end of a veth(4) serves for one, whose other end nobody listens at.
"""

from __future__ import annotations

import errno

from estiva.errors import EngineError, InvalidInput, NotFound, Unsupported, brief
from estiva.linux.net import families, netlink
from estiva.network import going, links, networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiva.network.ipam import Reader
    from estiva.network.networks import Network
    from estiva.network.types import Place

VLANS = (1, 4094)
KIND = "vlan"
NO_LINK = "`ip link` lists them; eth0.10 would be the vlan 10 of eth0"


def judge(outside: netlink.Socket, name: str) -> bool:
    """Whether an interface that is to be a parent has to be made, as a vlan. Raises InvalidInput, NotFound
    for what can't be one."""
    link = outside.link(name)
    if link is not None:
        if link.flags & netlink.IFF_LOOPBACK:
            raise InvalidInput(f"the loopback interface {name} can't be the parent of a network")
        return False
    whole, _ = split(name)
    if not whole:
        raise NotFound(f"the parent interface {name} is not there", hint=NO_LINK)
    if outside.link(whole) is None:
        raise NotFound(f"the interface {whole}, whose vlan {name} would be, is not there", hint=NO_LINK)
    return True


def split(name: str) -> tuple[str, int]:
    """("eth0", 10) of eth0.10; ("", 0) of a name without a dot. Raises InvalidInput for one with no vlan's
    number after that."""
    whole, dot, number = name.rpartition(".")
    if not dot:
        return "", 0
    if not (number.isascii() and number.isdigit() and VLANS[0] <= int(number) <= VLANS[1]) or not whole:
        raise InvalidInput(
            f"the parent interface {brief(name, 60)} is not there, nor is '{number}' the number of a vlan",
            hint=f"such as eth0.10, from {VLANS[0]} to {VLANS[1]}",
        )
    return whole, int(number)


def make(outside: netlink.Socket, name: str) -> netlink.Link | None:
    """The vlan of that name, up; None where its own interface is not there. Raises Unsupported, OSError."""
    whole, number = split(name)
    below = outside.link(whole) if whole else None
    if below is None:
        return None
    try:
        links.ignoring(errno.EEXIST, outside, families.add_vlan(name, below.index, number))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Unsupported(
                f"this kernel has no vlans, which {name} would be one of",
                hint="`modprobe 8021q` may load them",
            ) from None
        raise
    outside.exchange(netlink.set_link(name, up=True))
    return outside.link(name)


def link_of(outside: netlink.Socket, reader: Reader, place: Place) -> netlink.Link:
    """The parent of a place's network, made where it is ours to make. Raises NotFound, Unsupported,
    OSError."""
    name = place["bridge"] or f"dm-{place['network'][:12]}"
    link = outside.link(name)
    if link is None and not place["bridge"]:
        other = f"dp-{place['network'][:12]}"
        links.ignoring(errno.EEXIST, outside, netlink.add_veth(name, peer=other))
        for end in (name, other):
            links.sysctl(f"ipv6/conf/{end}/disable_ipv6", "1", optional=True)
            outside.exchange(netlink.set_link(end, up=True))
        link = outside.link(name)
        if link is None:
            raise EngineError(f"interface {name} went away while it was made")
    if link is None:
        network = networks.find(reader, place["network"])
        if network is not None and network.record.get("Vlan"):
            link = make(outside, name)
    if link is None:
        raise NotFound(f"the parent interface {name} of network {place['name']} is not there", hint=NO_LINK)
    return link


def remove(network: Network, others: Iterable[Network]) -> None:
    """Take away what was made for a network that goes, unless one of the others is of it too."""
    name = f"dm-{network.id[:12]}"
    if network.record.get("Vlan"):
        name = network.option("parent")
        if any(other.option("parent") == name for other in others):
            return
    with netlink.Socket() as outside:
        link = outside.link(name)
    if link is not None and (link.kind == KIND or not network.record.get("Vlan")):
        links.delete_link(name)


def is_ours(reader: Reader, name: str) -> bool:
    """Whether an interface was made for another network: then who comes later may be the last to be of it."""
    return any(
        other.record.get("Vlan") and other.option("parent") == name
        for other in (*networks.every(reader), *going.every(reader))
    )
