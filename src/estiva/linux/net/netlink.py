"""A small rtnetlink(7): links, addresses and routes, several requests in one send. See netlink(7),
rtnetlink(7).

The kernel answers the messages of one send in order, each with its own acknowledgement, and a failed one does
not stop those after it. `Socket.exchange` sends them all, reads every acknowledgement and then raises the
first failure as an OSError that names the request's object and carries the kernel's own words (extended
acknowledgement).

A netlink socket belongs for life to the network namespace that its maker was in.
"""

from __future__ import annotations

import errno
import os
from _socket import (
    AF_INET,
    AF_NETLINK,
    AF_UNSPEC,
    MSG_DONTWAIT,
    NETLINK_ROUTE,
    SOCK_CLOEXEC,
    SOCK_RAW,
    inet_ntoa,
)
from _socket import socket as _socket
from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
TRIES = 16  # of a dump that others change meanwhile
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_ACK_TLVS = 0x200
NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_NET_NS_PID, IFLA_NET_NS_FD, IFLA_EXT_MASK = 19, 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER, IFLA_BRPORT_MODE = 1, 4
RTEXT_FILTER_SKIP_STATS = 8
IFF_UP = 1
IFF_LOOPBACK = 8
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST, RTN_LOCAL = 254, 3, 1, 2
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253

_HEADER = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = Struct("=HH")  # nlattr: length, type
_U32 = Struct("=I")
_IFINFO = Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_IFADDR = Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_RTMSG = Struct("=BBBBBBBBI")  # rtmsg: family, dst, src, tos, table, protocol, scope, type, flags


def attribute(kind: int, data: bytes) -> bytes:
    """One nlattr, padded to four bytes."""
    return _ATTRIBUTE.pack(len(data) + 4, kind) + data + b"\0" * (-len(data) & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An nlattr that holds others."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """An nlattr that holds a string with its terminating NUL."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """An nlattr that holds a number in the machine's byte order."""
    return attribute(kind, _U32.pack(value))


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The (type, value) of each nlattr in `data`; ends at a malformed one."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


class Request:
    """One message to the kernel; `what` names its object in errors. `silent` ones are answered only if they
    fail.
    """

    __slots__ = ("kind", "flags", "body", "what", "silent")

    def __init__(self, kind: int, flags: int, body: bytes, what: str, *, silent: bool = False) -> None:
        self.kind = kind
        self.flags = flags
        self.body = body
        self.what = what
        self.silent = silent


class Link:
    """A network interface as the kernel describes it; `kind` is "veth", "bridge"... or empty."""

    __slots__ = ("index", "name", "flags", "mtu", "master", "address", "kind")

    def __init__(self, body: bytes) -> None:
        self.index, self.flags = _IFINFO.unpack_from(body)[2:4]
        self.name = self.kind = ""
        self.mtu = self.master = 0
        self.address = b""
        for kind, value in attributes(body, _IFINFO.size):
            if kind == IFLA_IFNAME:
                self.name = value.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif kind == IFLA_MTU:
                (self.mtu,) = _U32.unpack(value)
            elif kind == IFLA_MASTER:
                (self.master,) = _U32.unpack(value)
            elif kind == IFLA_ADDRESS:
                self.address = value
            elif kind == IFLA_LINKINFO:
                for info, data in attributes(value):
                    if info == IFLA_INFO_KIND:
                        self.kind = data.rstrip(b"\0").decode()


class Socket:
    """A netlink socket in the caller's network namespace, for one caller at a time; closes as a
    with-block.
    """

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self.socket = _socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        self.sequence = 0
        for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK):
            try:
                self.socket.setsockopt(SOL_NETLINK, option, 1)
            except OSError:
                pass  # an older kernel: errors have fewer words

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def _messages(self, size: int, how: int = 0) -> Iterator[tuple[int, int, int, bytes]]:
        """The (type, flags, sequence, payload) of each message in the next datagram."""
        data = self.socket.recv(size, how)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if length < 16:
                return
            yield kind, flags, sequence, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3

    def exchange(self, *requests: Request) -> list[bytes]:
        """Send all, wait for all: the reply payload of each request (empty for one that only acknowledges).

        Raises OSError of the first that failed, after all were answered.
        """
        first = self.sequence + 1
        out = b""
        waiting = 0
        for request in requests:
            self.sequence += 1
            flags = request.flags | NLM_F_REQUEST
            if not request.silent:
                flags |= NLM_F_ACK
                waiting += 1
            out += _HEADER.pack(16 + len(request.body), request.kind, flags, self.sequence, 0)
            out += request.body + b"\0" * (-len(request.body) & 3)
        self.socket.send(out)
        # The kernel did the work within send(2) and has queued all its answers: only what `silent` requests
        # may have to say must be asked for without waiting.
        replies = [b""] * len(requests)
        failure: OSError | None = None
        last_look = waiting < len(requests)
        while waiting or last_look:
            try:
                messages = list(self._messages(16384, 0 if waiting else MSG_DONTWAIT))
            except BlockingIOError:
                break
            for kind, flags, sequence, payload in messages:
                position = sequence - first
                if not 0 <= position < len(requests):
                    continue  # the rest of an exchange that was cut short
                if kind == NLMSG_ERROR:
                    waiting -= not requests[position].silent
                    failure = failure or _failure(payload, flags, requests[position].what)
                else:
                    replies[position] = payload
        if failure is not None:
            raise failure
        return replies

    def dump(self, request: Request) -> list[bytes]:
        """The payload of each message that answers a dump request, which is asked again where others have
        changed what it tells of meanwhile. Raises OSError."""
        found: list[bytes] = []
        for _ in range(TRIES):
            found, torn = self._dump(request)
            if not torn:
                break
        return found

    def _dump(self, request: Request) -> tuple[list[bytes], bool]:
        self.sequence += 1
        flags = request.flags | NLM_F_REQUEST | NLM_F_DUMP
        self.socket.send(
            _HEADER.pack(16 + len(request.body), request.kind, flags, self.sequence, 0) + request.body
        )
        found: list[bytes] = []
        torn = False
        while True:
            for kind, flags, sequence, payload in self._messages(65536):
                if sequence != self.sequence:
                    continue
                torn = torn or bool(flags & NLM_F_DUMP_INTR)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    failure = _failure(payload, flags, request.what) if len(payload) >= 4 else None
                    if failure is not None:
                        raise failure
                    return found, torn
                found.append(payload)

    def link(self, name: str) -> Link | None:
        """An interface by name, None where there is none."""
        try:
            return Link(self.exchange(get_link(name))[0])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def links(self) -> list[Link]:
        """All interfaces of the namespace."""
        body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        return [Link(payload) for payload in self.dump(Request(RTM_GETLINK, 0, body, "links"))]

    def addresses(self) -> list[tuple[int, str, int]]:
        """The (interface index, address, prefix length) of all IPv4 addresses."""
        found = []
        for payload in self.dump(Request(RTM_GETADDR, 0, _IFADDR.pack(AF_INET, 0, 0, 0, 0), "addresses")):
            _, prefix, _, _, index = _IFADDR.unpack_from(payload)
            values = dict(attributes(payload, _IFADDR.size))
            address = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS)
            if address:
                found.append((index, inet_ntoa(address), prefix))
        return found

    def routes(self) -> list[tuple[str, int, int]]:
        """The (destination, prefix length, interface index) of the IPv4 routes of every table but the local
        one.
        """
        found = []
        for payload in self.dump(Request(RTM_GETROUTE, 0, _RTMSG.pack(AF_INET, *[0] * 8), "routes")):
            _, prefix, _, _, _, _, _, kind, _ = _RTMSG.unpack_from(payload)
            if kind != RTN_UNICAST:
                continue
            values = dict(attributes(payload, _RTMSG.size))
            (index,) = _U32.unpack(values.get(RTA_OIF, b"\0\0\0\0"))
            found.append((inet_ntoa(values.get(RTA_DST, b"\0\0\0\0")), prefix, index))
        return found


def _failure(payload: bytes, flags: int, what: str) -> OSError | None:
    """The OSError in an nlmsgerr or the end of a dump; None when it says that all went well."""
    code = -int.from_bytes(payload[:4], "little" if _U32.pack(1)[0] else "big", signed=True)
    if code == 0:
        return None
    words = os.strerror(code)
    if flags & NLM_F_ACK_TLVS:
        # NETLINK_CAP_ACK: only the header of the failed request stands between the code and the attributes.
        for kind, value in attributes(payload, 20):
            if kind == NLMSGERR_ATTR_MSG:
                words += ": " + value.rstrip(b"\0").decode("utf-8", "replace")
    return OSError(code, words, what)


def get_link(name: str) -> Request:
    """Ask for an interface; its reply goes to `Link`."""
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, name)
    return Request(RTM_GETLINK, 0, body + u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS), name)


def add_veth(
    name: str,
    *,
    peer: str,
    peer_address: bytes = b"",
    pid: int = 0,
    netns_fd: int = -1,
    master: int = 0,
    mtu: int = 0,
    up: bool = False,
) -> Request:
    """Make a veth(4) pair in one request: `name` here, a port of bridge `master` (an index) and perhaps up;
    `peer` inside the network namespace of `pid` or `netns_fd`, down. `mtu` in bytes.
    """
    queues = u32(IFLA_NUM_TX_QUEUES, 1) + u32(IFLA_NUM_RX_QUEUES, 1)
    inner = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, peer) + queues
    if peer_address:
        inner += attribute(IFLA_ADDRESS, peer_address)
    if netns_fd >= 0:
        inner += u32(IFLA_NET_NS_FD, netns_fd)
    elif pid:
        inner += u32(IFLA_NET_NS_PID, pid)
    outer = _IFINFO.pack(AF_UNSPEC, 0, 0, IFF_UP if up else 0, IFF_UP if up else 0)
    outer += text(IFLA_IFNAME, name) + queues
    if mtu:
        inner += u32(IFLA_MTU, mtu)
        outer += u32(IFLA_MTU, mtu)
    if master:
        outer += u32(IFLA_MASTER, master)
    data = nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, inner))
    return Request(
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        outer + nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), data),
        name,
    )


def set_link(name: str, *, up: bool | None = None, mtu: int = 0, master: int | None = None) -> Request:
    """Change an interface: up or down, its MTU, its bridge (0 takes it out)."""
    change = 0 if up is None else IFF_UP
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, IFF_UP if up else 0, change) + text(IFLA_IFNAME, name)
    if mtu:
        body += u32(IFLA_MTU, mtu)
    if master is not None:
        body += u32(IFLA_MASTER, master)
    return Request(RTM_NEWLINK, 0, body, name)


def set_hairpin(name: str) -> Request:
    """Let a bridge send a frame back through the port `name` by which it came."""
    data = nested(IFLA_INFO_SLAVE_DATA, attribute(IFLA_BRPORT_MODE, b"\1"))
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, name)
    body += nested(IFLA_LINKINFO, text(IFLA_INFO_SLAVE_KIND, "bridge"), data)
    return Request(RTM_NEWLINK, 0, body, name)


def delete_link(name: str) -> Request:
    """Remove an interface; one end of a veth pair takes the other with it."""
    return Request(RTM_DELLINK, 0, _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, name), name)


def add_address(index: int, address: bytes, prefix: int) -> Request:
    """Give an interface an IPv4 address (four bytes), with the broadcast address of its prefix."""
    mask = (1 << (32 - prefix)) - 1
    broadcast = (int.from_bytes(address, "big") | mask).to_bytes(4, "big")
    body = _IFADDR.pack(AF_INET, prefix, 0, RT_SCOPE_UNIVERSE, index)
    body += attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, address)
    if prefix < 31:
        body += attribute(IFA_BROADCAST, broadcast)
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, f"{inet_ntoa(address)}/{prefix}")


def add_route(gateway: bytes = b"", *, destination: bytes = b"", prefix: int = 0, index: int = 0) -> Request:
    """Add an IPv4 route through `gateway` or an interface; without destination, the default route."""
    scope = RT_SCOPE_UNIVERSE if gateway else RT_SCOPE_LINK
    body = _RTMSG.pack(AF_INET, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0)
    if destination:
        body += attribute(RTA_DST, destination)
    if gateway:
        body += attribute(RTA_GATEWAY, gateway)
    if index:
        body += u32(RTA_OIF, index)
    name = inet_ntoa(destination) if destination else "default"
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, f"route {name}/{prefix}")


def get_route(destination: bytes) -> Request:
    """Ask how a packet to `destination` would leave; the reply goes to `route_is_local`."""
    body = _RTMSG.pack(AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, destination)
    return Request(RTM_GETROUTE, 0, body, f"route to {inet_ntoa(destination)}")


def route_is_local(payload: bytes) -> bool:
    """Whether the answer to `get_route` says that the address is this machine's own."""
    return len(payload) >= _RTMSG.size and _RTMSG.unpack_from(payload)[7] == RTN_LOCAL
