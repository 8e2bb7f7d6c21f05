"""Nat and forwarding of a bridge: one nftables table of our own, `ip estiva`, and the map of published ports
in it.

What a packet meets (nft(8), Netfilter hooks):

    raw           from the bridge: dropped are spoofed sources, and anything for 127.0.0.0/8, which
                  `route_localnet` would let in
    prerouting,   for an address of this machine and a published port: the destination becomes the
    output        container; from outside never for 127.0.0.0/8, which a neighbour could send past the
                  routing checks
    forward       into the bridge: replies, published ports and the bridge's own containers; nothing else
    postrouting   out of the bridge's subnet: masqueraded; so are 127.0.0.1 -> container and container ->
                  published port of a container, whose replies would else not come back this way

The table and its rules are made once per boot with nft(8), and again where others have removed them, as
`nft flush ruleset` does. Publishing a port adds an element to a map, without any process (linux/netfilter).
Other tables are never touched; what they drop stays dropped (`forward_note`).
"""

from __future__ import annotations

import errno
import os
from _socket import inet_aton

from estiva.errors import EngineError, Unsupported, reason
from estiva.linux.net import netfilter
from estiva.linux.net.netlink import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Pairs = dict[str, list[tuple[bytes, bytes]]]
    Ports = Iterable[dict[str, Any]]
    Published = Callable[[], Iterable[tuple[str, Ports]]]  # an address and its ports, of all that run

PROTOCOLS = {"tcp": 6, "udp": 17}
_ANY, _AT = "published_any", "published_at"  # maps: ports of all addresses, ports of one

# A socket that deleted something, with its process: closing it would wait 10-20 ms, until the kernel has
# destroyed what was deleted. It serves the next call, or goes with the process.
_kept: list[tuple[int, Socket]] = []

_RULES = """
add table ip {table}
delete table ip {table}
table ip {table} {{
    set subnets {{ type ipv4_addr; flags interval; elements = {{ {subnets} }} }}
    map published_any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map published_at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
    chain raw {{
        type filter hook prerouting priority raw; policy accept;
        iifname "{bridge}" ip saddr != @subnets drop
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
    }}
    chain publish {{
        dnat ip to ip daddr . meta l4proto . th dport map @published_at
        dnat ip to meta l4proto . th dport map @published_any
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        meta l4proto {{ tcp, udp }} ip daddr != 127.0.0.0/8 fib daddr type local jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        meta l4proto {{ tcp, udp }} fib daddr type local jump publish
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" ct status dnat accept
        iifname "{bridge}" oifname "{bridge}" accept
        oifname "{bridge}" drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{bridge}" ip saddr 127.0.0.0/8 masquerade
        oifname "{bridge}" ip saddr @subnets ct status dnat masquerade
        oifname != "{bridge}" ip saddr @subnets masquerade
    }}
}}
"""


RULES = 13  # that the table has


def table_of(bridge: str) -> str:
    """The name of the bridge's own table."""
    if bridge == "estiva0":
        return "estiva"
    return "estiva_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in bridge)


def present(bridge: str) -> bool:
    """Whether the bridge's table is there with all its rules. Raises EngineError where nftables can't be
    reached at all.
    """
    return bool(_with_socket(lambda socket: netfilter.rules(socket, table_of(bridge)) >= RULES))


def nothing() -> tuple[()]:
    """No published ports but those in the table itself."""
    return ()


def install(bridge: str, subnets: Iterable[str], published: Published = nothing) -> None:
    """Make the bridge's table anew, in one nft transaction, with the ports of an old one and of all that run.

    `published` is asked once the new table stands: who publishes meanwhile writes down first what, and so is
    found by it, or adds to the new table.

    Slow path: runs nft(8). Raises Unsupported without nft, EngineError with nft's words when it refuses.
    """
    table = table_of(bridge)
    carried = _with_socket(
        lambda socket: {name: netfilter.elements(socket, table, name) for name in (_ANY, _AT)}
    )
    _nft(_RULES.format(table=table, bridge=bridge, subnets=", ".join(sorted(set(subnets)))))
    for address, ports in published():
        for name, pairs in _pairs(address, ports).items():
            carried[name] = [*({**dict(carried[name]), **dict(pairs)}).items()]
    carried = {name: pairs for name, pairs in carried.items() if pairs}
    _with_socket(lambda socket: netfilter.add_elements(socket, table, carried))


def missing(bridge: str, published: Published) -> list[str]:
    """What others have taken out of the bridge's table, in words; empty when nothing is missing."""
    table = table_of(bridge)
    if not present(bridge):
        return [f"missing in the firewall: rules of table ip {table}, so containers have no way out or in"]
    found = _with_socket(
        lambda socket: {name: set(netfilter.elements(socket, table, name)) for name in (_ANY, _AT)}
    )
    return [
        f"missing in the firewall: the port {port['HostIp']}:{port['HostPort']}/{port['Protocol']} that is "
        f"published for {address}, in table ip {table}"
        for address, ports in published()
        for port in ports
        if any(not found[name].issuperset(pairs) for name, pairs in _pairs(address, [port]).items())
    ]


def remove(bridge: str) -> None:
    """Delete the bridge's table, if it is there."""
    table = table_of(bridge)
    if _with_socket(lambda socket: netfilter.has_table(socket, table)):
        _nft(f"add table ip {table}\ndelete table ip {table}\n")


def publish(bridge: str, address: str, ports: Iterable[dict[str, Any]]) -> None:
    """Send published ports to the container at `address`; what an earlier holder of a port left is replaced.

    The caller holds each port by a bound socket (network/ports), so another container's entry for it is a
    dead one. Raises FileNotFoundError when the table is gone, else EngineError.
    """
    wanted = _pairs(address, ports)
    if not wanted:
        return
    table = table_of(bridge)

    def work(socket: Socket) -> None:
        try:
            netfilter.add_elements(socket, table, wanted)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            for name, pairs in wanted.items():
                keys = {key for key, _ in pairs}
                stale = [pair for pair in netfilter.elements(socket, table, name) if pair[0] in keys]
                netfilter.delete_elements(socket, table, {name: stale})
            netfilter.add_elements(socket, table, wanted)
        _forget(socket, wanted)

    _with_socket(work)


def unpublish(bridge: str, keep: Callable[[str], bool]) -> int:
    """Remove the published ports of every container address that `keep` does not want; says how many."""
    table = table_of(bridge)

    def work(socket: Socket) -> int:
        stale: Pairs = {}
        for name in (_ANY, _AT):
            pairs = netfilter.elements(socket, table, name)
            gone = [pair for pair in pairs if not keep(".".join(map(str, pair[1][:4])))]
            if gone:
                stale[name] = gone
        if stale:
            netfilter.delete_elements(socket, table, stale)
            _forget(socket, stale)
            _kept[:] = [(os.getpid(), socket)]
        return sum(map(len, stale.values()))

    return int(_with_socket(work))


def forward_note() -> str:
    """A hint when another table drops forwarded packets by default, as Docker's or a firewall's may; else
    empty.

    Our rules can't undo that: a packet must be accepted by every table. Slow: runs nft(8).
    """
    try:
        listing = _nft("list chains ip\nlist chains inet\n", wanted=True)
    except (EngineError, Unsupported):
        return ""
    table = ""
    for line in listing.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif "hook" in words and "forward" in words and line.rstrip().endswith("policy drop;"):
            return (
                f"table {table} drops forwarded packets by default: containers on a bridge reach other "
                "machines only if it accepts their traffic"
            )
    return ""


def _pairs(address: str, ports: Iterable[dict[str, Any]]) -> Pairs:
    """The map elements of resolved ports (network/ports.bind)."""
    found: Pairs = {}
    target = inet_aton(address)
    for port in ports:
        if ":" in port["HostIp"]:
            continue  # network/relay
        key = bytes((PROTOCOLS[port["Protocol"]], 0, 0, 0)) + _port(port["HostPort"])
        data = target + _port(port["ContainerPort"])
        if port["HostIp"] == "0.0.0.0":
            found.setdefault(_ANY, []).append((key, data))
        else:
            found.setdefault(_AT, []).append((inet_aton(port["HostIp"]) + key, data))
    return found


def _port(value: str | int) -> bytes:
    return int(value).to_bytes(2, "big") + b"\0\0"


def _forget(socket: Socket, pairs: Pairs) -> None:
    """Drop what conntrack remembers of UDP flows to these ports."""
    udp = bytes((PROTOCOLS["udp"],))
    ports = {
        int.from_bytes(key[-4:-2], "big") for found in pairs.values() for key, _ in found if key[-8:-7] == udp
    }
    if ports:
        netfilter.forget_udp(socket, ports)


def _with_socket(work: Callable[[Socket], Any]) -> Any:
    """Call `work` with a netfilter socket of this process; it may have the socket kept in `_kept`."""
    socket = None
    try:
        owner, socket = _kept.pop() if _kept else (0, None)
        if socket is None or owner != os.getpid():
            socket = Socket(netfilter.NETLINK_NETFILTER)
        result = work(socket)
        if owner and not _kept:
            _kept.append((os.getpid(), socket))
        return result
    except FileNotFoundError:
        raise
    except OSError as error:
        raise EngineError(f"nftables: {error.filename or 'netlink'}: {reason(error)}") from error
    finally:
        if socket is not None and not any(socket is kept for _, kept in _kept):
            socket.close()


def _nft(script: str, *, wanted: bool = False) -> str:
    import subprocess

    from estiva import programs

    nft = programs.find("nft")
    if not nft:
        raise Unsupported(
            "nft is not installed: a bridge network needs nftables",
            hint="install the nftables package, or use --network host or none",
        )
    command, environment = [nft, "-f", "-"], programs.environment()
    done = subprocess.run(command, input=script.encode(), capture_output=True, check=False, env=environment)
    if done.returncode and not wanted:
        words = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise EngineError(f"nft refuses the rules of the bridge: {words}")
    return done.stdout.decode("utf-8", "replace")
