"""The way out of a container that may reach some hosts only (network/dns/allow.py), in its network namespace.

    table      nftables, `inet estiva-allow`: all is dropped, both ways, but on the loopback, to the pairs of
               address and port in the sets `out4` and `out6`, and what answers from there. What was asked
               for as an address is there from the start
    resolver   answers for the allowed names only (allowed.py), and has asked the gate before it tells an
               address
    gate       a process that puts addresses into the sets: the resolver has no right to do so, and should
               not; nor does a monitor that may wait for hours as a shell

    resolver -> gate   number (8 bytes), which name (2), addresses (17 each: 4 or 6, the address with zeros)
    gate -> resolver   number, 1 or 0

The gate is a fork of the monitor's with one right, CAP_NET_ADMIN in the container's user namespace, and a
seccomp filter as the resolver's. It believes nobody: what a name may not mean is refused here too, and ports
are those that the monitor was told. It ends with the container, or when nobody can ask any more.
"""

from __future__ import annotations

import gc
import os
import select
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    inet_ntop,
    socketpair,
)
from _socket import socket as _socket

from estiva.errors import Conflict, EngineError, reason
from estiva.linux import process
from estiva.linux.namespace import CLONE_NEWNET, CLONE_NEWUSER, setns
from estiva.linux.net import netfilter
from estiva.linux.net.netlink import Socket
from estiva.network import firewall
from estiva.network.dns import allow, cage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.network.dns.allow import Ports

TABLE = "estiva-allow"
MOST = 4096  # addresses with a port, in each set: with the last, no more are told
ENTRY = 17
REQUEST = 10 + 64 * ENTRY
NET_ADMIN = 1 << 12
DISCARD = 9
RULES = """table inet {table} {{
    set out4 {{ type ipv4_addr . inet_proto . inet_service; size {most}; }}
    set out6 {{ type ipv6_addr . inet_proto . inet_service; size {most}; }}
    chain output {{
        type filter hook output priority filter; policy drop;
        oifname "lo" accept
        ip daddr . meta l4proto . th dport @out4 accept
        ip6 daddr . meta l4proto . th dport @out6 accept
        icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} accept
        meta l4proto {{ tcp, udp }} reject with icmpx admin-prohibited
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
        icmpv6 type {{ nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }} accept
    }}
    chain forward {{ type filter hook forward priority filter; policy drop; }}
}}
"""


def is_ours(packed: bytes) -> bool:
    """Whether an address is one of this machine's, as seen from the caller's network namespace: the kernel
    then sends from the very address. No packet is sent (connect(2) of a datagram socket)."""
    family = AF_INET if len(packed) == 4 else AF_INET6
    text = inet_ntop(family, packed)
    probe = _socket(family, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        probe.connect((text, DISCARD))
        return str(probe.getsockname()[0]) == text
    except OSError:
        return False  # it is not reachable at all
    finally:
        probe.close()


def open_gate(pid: int, pidfd: int, words: Sequence[str]) -> _socket:
    """Close the network namespace of process `pid` but for `words`; the socket at which the resolver asks.

    Raises Conflict for an address of this machine, Unsupported without nftables, EngineError.
    """
    table = allow.table(words)
    for packed in table.addresses:
        if is_ours(packed):
            text = inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)
            raise Conflict(f"the allowed host {text} is this machine", hint="a profile never reaches that")
    try:
        return _open(pid, pidfd, table)
    except OSError as error:
        raise EngineError(f"gate of process {pid}: {error.filename or 'socket'}: {reason(error)}") from error


def _open(pid: int, pidfd: int, table: allow.Table) -> _socket:
    opened: list[int] = []

    def namespace(path: str) -> int:
        opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return opened[-1]

    try:
        home, there = namespace("/proc/thread-self/ns/net"), namespace(f"/proc/{pid}/ns/net")
        users = namespace(f"/proc/{pid}/ns/user")
        setns(there, CLONE_NEWNET, f"network namespace of process {pid}")
        try:
            firewall.nft(RULES.format(table=TABLE, most=MOST))
            netlink = Socket(netfilter.NETLINK_NETFILTER)
        finally:
            setns(home, CLONE_NEWNET, "the host's network namespace")
        try:
            gate = Gate(netlink, table)
            for packed, ports in table.addresses.items():
                gate.add([packed], ports)
            ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
            try:
                _fork(gate, theirs, pidfd, users)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            return _socket(AF_UNIX, SOCK_SEQPACKET, 0, ours.detach())
        finally:
            netlink.close()
    finally:
        for fd in opened:
            os.close(fd)


def _fork(gate: Gate, channel: _socket, pidfd: int, users: int) -> None:
    """A grandchild: its end is no SIGCHLD for who waits for a container."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            os.setsid()
            os.chdir("/")
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            process.close_all_but([gate.netlink.socket.fileno(), channel.fileno(), pidfd, users])
            process.set_title("estiva: gate", wipe=False)
            _confine(users)
            gc.collect()
            gc.freeze()
            poll = select.epoll()
            for fd in (channel.fileno(), pidfd):
                poll.register(fd, select.EPOLLIN)
            cage.close()
            gate.serve(channel, poll)
    finally:
        os._exit(0)


def _confine(users: int) -> None:
    """In the container's user namespace, where the right to change its network is one over nothing else."""
    process.no_new_privs()
    mine, theirs = os.stat("/proc/self/ns/user"), os.fstat(users)
    if (mine.st_dev, mine.st_ino) != (theirs.st_dev, theirs.st_ino):
        setns(users, CLONE_NEWUSER, "the container's user namespace")
    os.close(users)
    process.bounding_drop(range(process.known_capabilities()))
    process.capset(NET_ADMIN, NET_ADMIN, 0)
    process.set_dumpable(False)


class Gate:
    """Puts addresses into the sets."""

    def __init__(self, netlink: Socket, table: allow.Table) -> None:
        self.netlink = netlink
        self.ports = list(table.names.values())
        self.known: set[tuple[bytes, int, int]] = set()

    def serve(self, channel: _socket, poll: select.epoll) -> None:
        """Until the container has ended, or nobody is left to ask."""
        while True:
            for fd, _ in poll.poll():
                data = channel.recv(REQUEST) if fd == channel.fileno() else b""
                if not data:
                    return
                channel.send(data[:8] + (b"\1" if self.open(data) else b"\0"))

    def open(self, data: bytes) -> bool:
        """What a request asks for. False where it may not be, or can't."""
        index = int.from_bytes(data[8:10], "big")
        entries = [data[at : at + ENTRY] for at in range(10, len(data), ENTRY)]
        if (
            not entries
            or index >= len(self.ports)
            or not all(len(e) == ENTRY and e[0] in (4, 6) for e in entries)
        ):
            return False
        addresses = [entry[1:5] if entry[0] == 4 else entry[1:] for entry in entries]
        if not all(map(allow.public, addresses)):
            return False
        try:
            self.add(addresses, self.ports[index])
        except OSError:
            return False
        return True

    def add(self, addresses: Sequence[bytes], ports: Ports) -> None:
        """Raises OSError."""
        fresh = [(one, *port) for one in addresses for port in ports if (one, *port) not in self.known]
        if len(self.known) + len(fresh) > MOST:
            raise OSError("too many addresses")
        pairs: dict[str, list[tuple[bytes, bytes]]] = {}
        for packed, protocol, port in fresh:
            key = packed + bytes((protocol, 0, 0, 0)) + port.to_bytes(2, "big") + b"\0\0"
            pairs.setdefault("out4" if len(packed) == 4 else "out6", []).append((key, b""))
        netfilter.add_elements(self.netlink, TABLE, pairs, netfilter.NFPROTO_INET)
        self.known.update(fresh)


def request(number: bytes, index: int, addresses: Sequence[bytes]) -> bytes:
    """What the resolver sends, of at most as many addresses as a request has."""
    entries = [bytes((4 if len(one) == 4 else 6,)) + one.ljust(16, b"\0") for one in addresses]
    return number + index.to_bytes(2, "big") + b"".join(entries)[: REQUEST - 10]
