"""rtnetlink(7) messages for taking an interface with its addresses to another network namespace."""

from __future__ import annotations

from _struct import Struct

from estiva.linux.net import netlink
from estiva.linux.net.netlink import Request, Socket, attribute, attributes, text, u32

_AF_UNSPEC = 0
_IFINFO = Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_IFADDR = Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_U32 = Struct("=I")
_IFA_FLAGS = 8
_IFA_F_NODAD, _IFA_F_PERMANENT, _IFA_F_NOPREFIXROUTE = 0x02, 0x80, 0x200


def addresses(socket: Socket, index: int) -> list[bytes]:
    """The permanent addresses of global scope of an interface, of every family, as the kernel tells them."""
    found = []
    body = _IFADDR.pack(_AF_UNSPEC, 0, 0, 0, 0)
    for payload in socket.dump(Request(netlink.RTM_GETADDR, 0, body, "addresses")):
        _, _, flags, scope, owner = _IFADDR.unpack_from(payload)
        for kind, value in attributes(payload, _IFADDR.size):
            if kind == _IFA_FLAGS:
                (flags,) = _U32.unpack(value)
        if owner == index and flags & _IFA_F_PERMANENT and scope == netlink.RT_SCOPE_UNIVERSE:
            found.append(payload)
    return found


def give_address(index: int, told: bytes, what: str) -> Request:
    """Give an interface an address that another one had, by the kernel's own message about it.

    Of its flags those go along that were asked for, not what the kernel found out.
    """
    family, prefix, _, scope, _ = _IFADDR.unpack_from(told)
    body = _IFADDR.pack(family, prefix, 0, scope, index)
    for kind, value in attributes(told, _IFADDR.size):
        if kind in (netlink.IFA_ADDRESS, netlink.IFA_LOCAL, netlink.IFA_BROADCAST):
            body += attribute(kind, value)
        elif kind == _IFA_FLAGS:
            body += u32(kind, _U32.unpack(value)[0] & (_IFA_F_NODAD | _IFA_F_NOPREFIXROUTE))
    flags = netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
    return Request(netlink.RTM_NEWADDR, flags, body, what)


def move(index: int, namespace: int, name: str, what: str) -> Request:
    """Move an interface to the network namespace of an fd, as `name` there (with %d: a free one)."""
    body = _IFINFO.pack(_AF_UNSPEC, 0, index, 0, 0)
    body += text(netlink.IFLA_IFNAME, name) + u32(netlink.IFLA_NET_NS_FD, namespace)
    return Request(netlink.RTM_NEWLINK, 0, body, what)


def up(index: int, what: str) -> Request:
    """Set an interface up."""
    up = netlink.IFF_UP
    return Request(netlink.RTM_NEWLINK, 0, _IFINFO.pack(_AF_UNSPEC, 0, index, up, up), what)
