"""rtnetlink(7) for both families of addresses, and for what networks of one's own take beside bridges and
veths (netlink.py is for the start on the default bridge).
"""

from __future__ import annotations

import sys
from _socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton
from _struct import Struct

from estiva.linux.net import netlink
from estiva.linux.net.netlink import Request, Socket, attribute, attributes, nested, text, u32

_IFINFO = Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_IFADDR = Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_RTMSG = Struct("=BBBBBBBBI")  # rtmsg: family, dst, src, tos, table, protocol, scope, type, flags
_U32 = Struct("=I")

IFA_FLAGS, IFA_F_NODAD = 8, 0x02
IFLA_LINK, IFLA_MACVLAN_MODE, IFLA_IPVLAN_MODE, IFLA_BRPORT_ISOLATED = 5, 1, 1, 33
IFLA_GROUP = 27
IFLA_BR_FORWARD_DELAY, IFLA_BR_MCAST_SNOOPING = 1, 23
APART = 58597  # the group of interfaces whose containers don't reach each other
IFLA_VLAN_ID = 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
RTA_METRICS = 8
_NEW = netlink.NLM_F_CREATE | netlink.NLM_F_EXCL


def _family(address: bytes) -> int:
    return AF_INET if len(address) == 4 else AF_INET6


def addresses(socket: Socket) -> list[tuple[int, str, int]]:
    """The (interface index, address, prefix length) of all addresses of both families."""
    found = []
    body = _IFADDR.pack(AF_UNSPEC, 0, 0, 0, 0)
    for payload in socket.dump(Request(netlink.RTM_GETADDR, 0, body, "addresses")):
        family, prefix, _, _, index = _IFADDR.unpack_from(payload)
        values = dict(attributes(payload, _IFADDR.size))
        address = values.get(netlink.IFA_LOCAL) or values.get(netlink.IFA_ADDRESS)
        if address and family in (AF_INET, AF_INET6):
            found.append((index, inet_ntop(family, address), prefix))
    return found


def routes(socket: Socket) -> list[tuple[int, str, int]]:
    """The (interface index, destination, prefix length) of the unicast routes of both families but of the
    local table.
    """
    found = []
    for family in (AF_INET, AF_INET6):
        body = _RTMSG.pack(family, *[0] * 8)
        for payload in socket.dump(Request(netlink.RTM_GETROUTE, 0, body, "routes")):
            _, prefix, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(payload)
            if kind != netlink.RTN_UNICAST or table == 255:
                continue
            values = dict(attributes(payload, _RTMSG.size))
            (index,) = _U32.unpack(values.get(netlink.RTA_OIF, b"\0\0\0\0"))
            size = 4 if family == AF_INET else 16
            found.append((index, inet_ntop(family, values.get(netlink.RTA_DST, b"\0" * size)), prefix))
    return found


def ways(socket: Socket) -> list[tuple[str, str, int]]:
    """Those routes as (destination with its prefix length or "default", gateway or "", interface index)."""
    found = []
    for family in (AF_INET, AF_INET6):
        body = _RTMSG.pack(family, *[0] * 8)
        size = 4 if family == AF_INET else 16
        for payload in socket.dump(Request(netlink.RTM_GETROUTE, 0, body, "routes")):
            _, prefix, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(payload)
            if kind != netlink.RTN_UNICAST or table == 255:
                continue
            values = dict(attributes(payload, _RTMSG.size))
            (index,) = _U32.unpack(values.get(netlink.RTA_OIF, b"\0\0\0\0"))
            to = inet_ntop(family, values.get(netlink.RTA_DST, b"\0" * size))
            gateway = values.get(netlink.RTA_GATEWAY, b"")
            by = inet_ntop(family, gateway) if len(gateway) == size else ""
            found.append((f"{to}/{prefix}" if prefix else "default", by, index))
    return found


def add_address6(index: int, address: bytes, prefix: int) -> Request:
    """Give an interface an IPv6 address (sixteen bytes) that it may use at once: nobody else can have it, so
    the kernel need not ask around (RFC 4862, 5.4).
    """
    body = _IFADDR.pack(AF_INET6, prefix, IFA_F_NODAD, netlink.RT_SCOPE_UNIVERSE, index)
    body += attribute(netlink.IFA_LOCAL, address) + attribute(netlink.IFA_ADDRESS, address)
    body += u32(IFA_FLAGS, IFA_F_NODAD)
    return Request(netlink.RTM_NEWADDR, _NEW, body, f"{inet_ntop(AF_INET6, address)}/{prefix}")


def delete_address(index: int, address: str, prefix: int) -> Request:
    """Take an address of either family, as text, from an interface."""
    family = AF_INET6 if ":" in address else AF_INET
    body = _IFADDR.pack(family, prefix, 0, netlink.RT_SCOPE_UNIVERSE, index)
    body += attribute(netlink.IFA_LOCAL, inet_pton(family, address))
    return Request(netlink.RTM_DELADDR, 0, body, f"{address}/{prefix}")


def default_route(gateway: bytes, index: int) -> Request:
    """A default route through `gateway`, on an interface; it takes the place of one that is there."""
    family = _family(gateway)
    body = _RTMSG.pack(family, 0, 0, 0, netlink.RT_TABLE_MAIN, netlink.RTPROT_BOOT, 0, netlink.RTN_UNICAST, 0)
    body += attribute(netlink.RTA_GATEWAY, gateway) + u32(netlink.RTA_OIF, index)
    flags = netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE
    return Request(netlink.RTM_NEWROUTE, flags, body, f"default route by {inet_ntop(family, gateway)}")


def drop_default_route(family: int) -> Request:
    """Take the default route away."""
    body = _RTMSG.pack(family, 0, 0, 0, netlink.RT_TABLE_MAIN, 0, 255, netlink.RTN_UNICAST, 0)
    return Request(netlink.RTM_DELROUTE, 0, body, "default route")


def add_bridge(name: str, *, address: bytes, mtu: int = 0) -> Request:
    """Make a bridge, down: without a forward delay or multicast snooping, and with a MAC that ports won't
    change.
    """
    data = nested(
        netlink.IFLA_INFO_DATA, u32(IFLA_BR_FORWARD_DELAY, 0), attribute(IFLA_BR_MCAST_SNOOPING, b"\0")
    )
    body = (
        _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0)
        + text(netlink.IFLA_IFNAME, name)
        + attribute(netlink.IFLA_ADDRESS, address)
    )
    if mtu:
        body += u32(netlink.IFLA_MTU, mtu)
    body += nested(netlink.IFLA_LINKINFO, text(netlink.IFLA_INFO_KIND, "bridge"), data)
    return Request(netlink.RTM_NEWLINK, _NEW, body, name)


def set_isolated(name: str, *, port: bool = True) -> Request:
    """Keep a port of a bridge from the bridge's other isolated ports; not as a `port`, it is in the group of
    those that a firewall is to keep from each other, as the others are too."""
    if not port:
        body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(netlink.IFLA_IFNAME, name)
        return Request(netlink.RTM_NEWLINK, 0, body + u32(IFLA_GROUP, APART), name)
    data = nested(netlink.IFLA_INFO_SLAVE_DATA, attribute(IFLA_BRPORT_ISOLATED, b"\1"))
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(netlink.IFLA_IFNAME, name)
    body += nested(netlink.IFLA_LINKINFO, text(netlink.IFLA_INFO_SLAVE_KIND, "bridge"), data)
    return Request(netlink.RTM_NEWLINK, 0, body + u32(IFLA_GROUP, APART), name)


def add_vlan(name: str, parent: int, number: int) -> Request:
    """Make the interface of vlan `number` (1 to 4094) of `parent` (an index), down."""
    data = attribute(IFLA_VLAN_ID, number.to_bytes(2, sys.byteorder))
    linkinfo = (text(netlink.IFLA_INFO_KIND, "vlan"), nested(netlink.IFLA_INFO_DATA, data))
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(netlink.IFLA_IFNAME, name) + u32(IFLA_LINK, parent)
    return Request(netlink.RTM_NEWLINK, _NEW, body + nested(netlink.IFLA_LINKINFO, *linkinfo), name)


def add_on_parent(
    name: str, kind: str, mode: str, *, parent: int, address: bytes = b"", mtu: int = 0
) -> Request:
    """Make a macvlan or ipvlan interface of `parent` (an index), down."""
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(netlink.IFLA_IFNAME, name)
    body += u32(IFLA_LINK, parent)
    if address:
        body += attribute(netlink.IFLA_ADDRESS, address)
    if mtu:
        body += u32(netlink.IFLA_MTU, mtu)
    if kind == "macvlan":
        data = u32(IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])
    else:
        data = attribute(IFLA_IPVLAN_MODE, IPVLAN_MODES[mode].to_bytes(2, "little"))
    linkinfo = (text(netlink.IFLA_INFO_KIND, kind), nested(netlink.IFLA_INFO_DATA, data))
    return Request(netlink.RTM_NEWLINK, _NEW, body + nested(netlink.IFLA_LINKINFO, *linkinfo), name)
