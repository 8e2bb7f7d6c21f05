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
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from estiva.errors import EngineError, Unsupported, reason
from estiva.linux.net import netfilter
from estiva.linux.net.netlink import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Pairs = dict[str, list[tuple[bytes, bytes]]]
    Ports = Iterable[dict[str, Any]]
    Table = tuple[int, str]  # family and name
    Published = Callable[[], Iterable[tuple[str, Ports]]]  # an address and its ports, of all that run

FAMILIES = {
    AF_INET: "ip",
    AF_INET6: "ip6",
    netfilter.NFPROTO_INET: "inet",
    netfilter.NFPROTO_BRIDGE: "bridge",
}
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
# maps: ports of all addresses, ports of one; the same of IPv6, in the tables of rules.py and walls.py
_ANY, _AT, _ANY6, _AT6 = "published_any", "published_at", "published6_any", "published6_at"
_ALL = (_ANY, _AT, _ANY6, _AT6)

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
        meta l4proto {{ tcp, udp, sctp }} ip daddr != 127.0.0.0/8 fib daddr type local jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        meta l4proto {{ tcp, udp, sctp }} fib daddr type local jump publish
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {mark}oifname "{bridge}" ct state established,related accept
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
{beside}"""


RULES = 13  # that the table has
MARK = "0x08000000"  # a bit of a packet's mark


def table_of(bridge: str) -> str:
    """The name of the bridge's own table."""
    if bridge == "estiva0":
        return "estiva"
    return "estiva_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in bridge)


def _of(where: str | Table) -> Table:
    """The table meant: a bridge's own, or one by its family and name (network/rules.py)."""
    return (AF_INET, table_of(where)) if isinstance(where, str) else where


def _maps(family: int) -> tuple[str, ...]:
    return {AF_INET: (_ANY, _AT), AF_INET6: (_ANY6, _AT6)}.get(family, _ALL)


def table6(bridge: str) -> Table:
    """The bridge's table for IPv6 (network/walls.py)."""
    return AF_INET6, table_of(bridge)


def at(bridge: str, address: str) -> Table:
    """The bridge's table for the family of an address."""
    return table6(bridge) if ":" in address else _of(bridge)


def present(bridge: str) -> bool:
    """Whether the bridge's table is there with all its rules. Raises EngineError where nftables can't be
    reached at all.
    """
    return bool(with_socket(lambda socket: netfilter.rules(socket, table_of(bridge)) >= RULES))


def nothing() -> tuple[()]:
    """No published ports but those in the table itself."""
    return ()


def install(
    bridge: str, subnets: Iterable[str], published: Published = nothing, *, mark: str = "", beside: str = ""
) -> None:
    """Make the bridge's table anew, in one nft transaction, with the ports of an old one and of all that run.
    See `replace`. `mark`: one rule more; `beside`: other tables (network/walls.py).
    """
    words = {"bridge": bridge, "subnets": ", ".join(sorted(set(subnets))), "mark": mark, "beside": beside}
    script = _RULES.format(table=table_of(bridge), **words)
    replace(bridge, script, published)


def replace(where: str | Table, script: str, published: Published) -> None:
    """Have nft(8) run a script that makes a table anew, and keep the ports that were and are published.

    `published` is asked once the new table stands: who publishes meanwhile writes down first what, and so is
    found by it, or adds to the new table.

    Slow path: runs nft(8). Raises Unsupported without nft, EngineError with nft's words when it refuses.
    """
    family, table = _of(where)
    names = _maps(family)
    carried = with_socket(
        lambda socket: {name: netfilter.elements(socket, table, name, family) for name in names}
    )
    nft(script)
    for address, ports in published():
        for name, pairs in _pairs(address, ports, names).items():
            carried[name] = [*({**dict(carried[name]), **dict(pairs)}).items()]
    carried = {name: pairs for name, pairs in carried.items() if pairs}
    with_socket(lambda socket: netfilter.add_elements(socket, table, carried, family))


def missing(bridge: str, published: Published) -> list[str]:
    """What others have taken out of the bridge's table, in words; empty when nothing is missing."""
    if not present(bridge):
        table = table_of(bridge)
        return [f"missing in the firewall: rules of table ip {table}, so containers have no way out or in"]
    return missing_ports(bridge, published)


def missing_ports(where: str | Table, published: Published) -> list[str]:
    """The published ports that are not in a table, in words."""
    family, table = _of(where)
    names = _maps(family)
    found = with_socket(
        lambda socket: {name: set(netfilter.elements(socket, table, name, family)) for name in names}
    )
    return [
        f"missing in the firewall: the port {port['HostIp']}:{port['HostPort']}/{port['Protocol']} that is "
        f"published for {address}, in table {FAMILIES[family]} {table}"
        for address, ports in published()
        for port in ports
        if any(not found[name].issuperset(pairs) for name, pairs in _pairs(address, [port], names).items())
    ]


def remove(bridge: str) -> None:
    """Delete the bridge's table, if it is there."""
    drop_table(_of(bridge))


def drop_table(table: Table) -> None:
    """Delete a table, if it is there."""
    family, name = table
    if with_socket(lambda socket: netfilter.has_table(socket, name, family)):
        whole = f"{FAMILIES[family]} {name}"
        nft(f"add table {whole}\ndelete table {whole}\n")


def publish(where: str | Table, address: str, ports: Iterable[dict[str, Any]]) -> None:
    """Send published ports to the container at `address`, those of its family; what an earlier holder of a
    port left is replaced.

    The caller holds each port by a bound socket (network/ports), so another container's entry for it is a
    dead one. Raises FileNotFoundError when the table is gone, else EngineError.
    """
    family, table = _of(where)
    wanted = _pairs(address, ports, _maps(family))
    if not wanted:
        return

    def work(socket: Socket) -> None:
        try:
            netfilter.add_elements(socket, table, wanted, family)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            for name, pairs in wanted.items():
                keys = {key for key, _ in pairs}
                held = netfilter.elements(socket, table, name, family)
                stale = [pair for pair in held if pair[0] in keys]
                netfilter.delete_elements(socket, table, {name: stale}, family)
            netfilter.add_elements(socket, table, wanted, family)
        _forget(socket, wanted)

    with_socket(work)


def unpublish(where: str | Table, keep: Callable[[str], bool]) -> int:
    """Remove the published ports of every container address that `keep` does not want; says how many."""
    family, table = _of(where)

    def work(socket: Socket) -> int:
        stale: Pairs = {}
        for name in _maps(family):
            pairs = netfilter.elements(socket, table, name, family)
            gone = [pair for pair in pairs if not keep(_address(name, pair[1]))]
            if gone:
                stale[name] = gone
        if stale:
            netfilter.delete_elements(socket, table, stale, family)
            _forget(socket, stale)
            _kept[:] = [(os.getpid(), socket)]
        return sum(map(len, stale.values()))

    return int(with_socket(work))


def _address(name: str, data: bytes) -> str:
    """The container's address in an element of a map."""
    if name in (_ANY6, _AT6):
        return inet_ntop(AF_INET6, data[:16])
    return ".".join(map(str, data[:4]))


def forward_note() -> str:
    """A hint when another table drops forwarded packets by default, as Docker's or a firewall's may; else
    empty.

    Our rules can't undo that: a packet must be accepted by every table. Slow: runs nft(8).
    """
    try:
        listing = nft("list chains ip\nlist chains inet\n", wanted=True)
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


def _pairs(address: str, ports: Iterable[dict[str, Any]], names: Iterable[str] = _ALL) -> Pairs:
    """The elements of resolved ports (network/ports.bind) for maps of these names. The kernel translates
    within a family only: for other ports there is network/relay.
    """
    found: Pairs = {}
    six = ":" in address
    family, every, one = (AF_INET6, _ANY6, _AT6) if six else (AF_INET, _ANY, _AT)
    target = inet_pton(family, address)
    if every not in names:
        return {}
    for port in ports:
        if (":" in port["HostIp"]) != six:
            continue
        key = bytes((PROTOCOLS[port["Protocol"]], 0, 0, 0)) + _port(port["HostPort"])
        data = target + _port(port["ContainerPort"])
        if port["HostIp"] in ("0.0.0.0", "::"):
            found.setdefault(every, []).append((key, data))
        else:
            found.setdefault(one, []).append((inet_pton(family, port["HostIp"]) + key, data))
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


def bridged(table: str) -> bool:
    """Whether there is a table of the bridge family. (Kernels that know none of these say so by an error.)"""
    family = netfilter.NFPROTO_BRIDGE
    try:
        return bool(with_socket(lambda socket: netfilter.has_table(socket, table, family)))
    except EngineError:
        return False


def with_socket(work: Callable[[Socket], Any]) -> Any:
    """Call `work` with a netfilter socket of this process; it may have the socket kept in `_kept`."""
    socket = None
    try:
        owner, socket = _kept.pop() if _kept else (0, None)
        if socket is not None and owner != os.getpid():
            socket.socket.detach()  # in a fork its number may be that of another fd by now: not to be closed
            socket = None
        if socket is None:
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


def nft(script: str, *, wanted: bool = False) -> str:
    """Have nft(8) carry out a script, in the caller's network namespace; what it says if that is `wanted`.

    Raises Unsupported without it, EngineError with its words when it refuses.
    """
    import subprocess

    from estiva import programs

    program = programs.find("nft")
    if not program:
        raise Unsupported(
            "nft is not installed: a bridge network needs nftables",
            hint="install the nftables package, or use --network host or none",
        )
    command, environment = [program, "-f", "-"], programs.environment()
    done = subprocess.run(command, input=script.encode(), capture_output=True, check=False, env=environment)
    if done.returncode and not wanted:
        words = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise EngineError(f"nft refuses the rules of the bridge: {words}")
    return done.stdout.decode("utf-8", "replace")
