"""Elements of nftables sets and conntrack entries over nfnetlink, in a fraction of the time that nft(8)
takes.

Only what changes while containers run is here; tables, chains and rules are made with nft(8). A table is of a
family, IPv4 unless another is given (NFPROTO_INET: both). Message
layouts: linux/netfilter/nfnetlink.h, nf_tables.h, nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
from _socket import AF_INET, AF_INET6, AF_UNSPEC, IPPROTO_UDP, SOL_SOCKET
from _struct import Struct

from estiva.linux.net.netlink import NLM_F_CREATE, TRIES, Request, Socket, attribute, attributes, nested, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NETLINK_NETFILTER = 12
NFPROTO_INET, NFPROTO_BRIDGE = 1, 7
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_NFTABLES = 1, 10
NFT_MSG_GETTABLE, NFT_MSG_GETRULE = 1, 7
NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_GETGEN = 12, 13, 14, 16
NFTA_TABLE_NAME, NFTA_RULE_TABLE = 1, 1
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_DATA_VALUE = 1, 1, 2, 1
IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 1, 2
CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_NUM, CTA_PROTO_DST_PORT = 1, 2, 1, 3

_NFGENMSG = Struct("!BBH")  # family, version, resource
_BATCH = 256  # elements in one message: a netlink attribute holds at most 64 KiB


ROOM = 1 << 16  # bytes that any socket takes at once
SO_SNDBUFFORCE = 32  # socket(7)


def _batch(socket: Socket, requests: Sequence[Request], what: str) -> None:
    """Send nftables requests as one transaction: all take effect or none. Raises OSError."""
    body = _NFGENMSG.pack(AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES)
    begin = Request(NFNL_MSG_BATCH_BEGIN, 0, body, what, silent=True)
    end = Request(NFNL_MSG_BATCH_END, 0, body, what, silent=True)
    size = sum(len(request.body) for request in requests)
    if size > ROOM:  # all of it is one message, which the socket's buffer has to hold
        socket.socket.setsockopt(SOL_SOCKET, SO_SNDBUFFORCE, 2 * size)
    socket.exchange(begin, *requests, end)


def _elements(
    message: int, flags: int, table: str, name: str, pairs: Iterable[tuple[bytes, bytes]], family: int
) -> list[Request]:
    pairs = list(pairs)
    requests = []
    for start in range(0, len(pairs), _BATCH):
        elements = []
        for key, data in pairs[start : start + _BATCH]:
            parts = [nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, key))]
            if data:
                parts.append(nested(NFTA_SET_ELEM_DATA, attribute(NFTA_DATA_VALUE, data)))
            elements.append(nested(NFTA_LIST_ELEM, *parts))
        body = (
            _NFGENMSG.pack(family, 0, 0)
            + text(NFTA_SET_ELEM_LIST_TABLE, table)
            + text(NFTA_SET_ELEM_LIST_SET, name)
            + nested(NFTA_SET_ELEM_LIST_ELEMENTS, *elements)
        )
        requests.append(
            Request(NFNL_SUBSYS_NFTABLES << 8 | message, flags, body, f"nftables map {table} {name}")
        )
    return requests


def has_table(socket: Socket, table: str, family: int = AF_INET) -> bool:
    """Whether the table exists in the socket's network namespace. Raises OSError."""
    body = _NFGENMSG.pack(family, 0, 0) + text(NFTA_TABLE_NAME, table)
    try:
        socket.exchange(
            Request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, body, f"nftables table {table}")
        )
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def rules(socket: Socket, table: str, family: int = AF_INET) -> int:
    """How many rules all chains of a table have; 0 without the table. Raises OSError."""
    body = _NFGENMSG.pack(family, 0, 0) + text(NFTA_RULE_TABLE, table)
    kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE
    return len(socket.dump(Request(kind, 0, body, f"nftables table {table}")))


def add_elements(
    socket: Socket, table: str, maps: dict[str, list[tuple[bytes, bytes]]], family: int = AF_INET
) -> None:
    """Add (key, value) pairs to maps of a table, all or none. An equal pair may be there already.

    Keys and values are as nftables keeps them: each part in network byte order, padded to four bytes. Raises
    OSError: ENOENT without the table or map, EEXIST when a key has another value.
    """
    requests = []
    for name, pairs in maps.items():
        requests += _elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, name, pairs, family)
    if requests:
        _batch(socket, requests, f"nftables table {table}")


def delete_elements(
    socket: Socket, table: str, maps: dict[str, list[tuple[bytes, bytes]]], family: int = AF_INET
) -> None:
    """Take (key, value) pairs, as `elements` has just told them, out of maps of a table. What is not there
    any more, or has another value then, is left alone.

    Raises OSError.
    """
    what = f"nftables table {table}"
    for turn in range(TRIES):
        requests = []
        for name, pairs in maps.items():
            held = set(elements(socket, table, name, family)) if turn else None
            present = [pair for pair in pairs if held is None or pair in held]
            requests += _elements(NFT_MSG_DELSETELEM, 0, table, name, present, family)
        try:
            if requests:
                _batch(socket, requests, what)
            return
        except OSError as error:
            if turn == TRIES - 1 or error.errno != errno.ENOENT:  # another has been faster with some of them
                raise


def elements(socket: Socket, table: str, name: str, family: int = AF_INET) -> list[tuple[bytes, bytes]]:
    """The (key, value) pairs of a map or set of a table; none where it does not exist. What stays is told
    while others come and go. Raises OSError."""
    body = _NFGENMSG.pack(family, 0, 0) + text(NFTA_SET_ELEM_LIST_TABLE, table)
    body += text(NFTA_SET_ELEM_LIST_SET, name)
    request = Request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM, 0, body, f"nftables map {table} {name}")
    known: dict[tuple[bytes, bytes], None] = {}
    for _ in range(TRIES):
        try:
            payloads = socket.dump(request)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return []
            raise
        told = _told(payloads)
        found = dict.fromkeys(told)  # a map that grows while it is told may tell some of it twice
        if _all_told(socket, payloads, len(told) - len(found)):
            return [*found]
        known.update(found)
    return [
        *known
    ]  # it never stood still: what stays is in one of the answers, and of what has gone some may be


def _told(payloads: list[bytes]) -> list[tuple[bytes, bytes]]:
    told = []
    for payload in payloads:
        for kind, listed in attributes(payload, _NFGENMSG.size):
            if kind != NFTA_SET_ELEM_LIST_ELEMENTS:
                continue
            for _, element in attributes(listed):
                parts = dict(attributes(element))
                key = dict(attributes(parts.get(NFTA_SET_ELEM_KEY, b""))).get(NFTA_DATA_VALUE, b"")
                data = dict(attributes(parts.get(NFTA_SET_ELEM_DATA, b""))).get(NFTA_DATA_VALUE, b"")
                told.append((key, data))
    return told


def _all_told(socket: Socket, payloads: list[bytes], twice: int) -> bool:
    """Whether an answer leaves nothing out. For each message but the first, the kernel (nf_tables_dump_set)
    begins anew and passes over as many elements as it has told. Where some of those have gone meanwhile, it
    passes over others, and NLM_F_DUMP_INTR, which says so of other lists, is not set: only the number of the
    ruleset in the messages has changed. Where a table that has grown was put in another order since, which
    comes later and has no number, as many are told twice.
    """
    if len(payloads) < 2:
        return True
    numbers = {payload[2:4] for payload in payloads}
    if twice or len(numbers) > 1:
        return False
    kind, body = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, _NFGENMSG.pack(AF_UNSPEC, 0, 0)
    return socket.exchange(Request(kind, 0, body, "nftables"))[0][2:4] in numbers


def forget_udp(socket: Socket, ports: set[int]) -> None:
    """Drop the conntrack entries of UDP flows that were sent to one of `ports`, of both families.

    A flow keeps the address translation of its first packet, so without this a client that goes on sending
    from the same port would reach a container that is gone, or none. Raises OSError.
    """
    for family in (AF_INET, AF_INET6):
        body = _NFGENMSG.pack(family, 0, 0)
        request = Request(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, 0, body, "connection tracking")
        for payload in socket.dump(request):
            original = dict(attributes(payload, _NFGENMSG.size)).get(CTA_TUPLE_ORIG, b"")
            proto = dict(attributes(dict(attributes(original)).get(CTA_TUPLE_PROTO, b"")))
            if proto.get(CTA_PROTO_NUM) != bytes((IPPROTO_UDP,)):
                continue
            if int.from_bytes(proto.get(CTA_PROTO_DST_PORT, b""), "big") not in ports:
                continue
            delete = body + nested(CTA_TUPLE_ORIG, original)
            kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE
            try:
                socket.exchange(Request(kind, 0, delete, "connection tracking"))
            except OSError as error:
                if error.errno != errno.ENOENT:  # it ended by itself
                    raise
