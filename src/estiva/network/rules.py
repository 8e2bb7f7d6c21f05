"""Nat and forwarding of the networks of one's own: one nftables table of a state root, `inet estiva_N`, with
sets that say which bridge may do what, and the maps of published ports.

What a packet meets is what network/firewall.py draws for the default bridge, for both families, and:

    same      traffic within a bridge, where its containers may reach each other
    closed    internal networks: nothing goes out of them, nothing comes in
    apart     traffic within a bridge, where they don't but by published ports
    own4/6    the subnet that is a bridge's: another source is spoofed; what leaves another way is
              masqueraded, if it is of `out4/6`

Containers that are not to reach each other are isolated ports of their bridge. Where br_netfilter is on, the
kernel would drop what goes to a neighbour's published port too: it translates before it bridges. There they
are ports of a group (families.APART) instead; `bridge estiva_N`, a table of the bridge family, drops what
goes from one of these to another without the mark that `forward` gives to what was translated.

A bridge that is nobody's here drops what others send to it, so two networks can't reach each other; the
default bridge's own table does the same for it. The table is made anew, whole, in one nft transaction when a
network is first used, and where others have removed it (nft(8)); other tables are never touched.
"""

from __future__ import annotations

import os
import time
from _socket import if_indextoname
from binascii import crc32

from estiva.errors import EngineError, Unsupported
from estiva.files import Lock
from estiva.linux.net import families, netfilter
from estiva.linux.net.netlink import Socket
from estiva.network import firewall, ipam, links, networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiva.network.firewall import Published, Table
    from estiva.network.ipam import Reader
    from estiva.network.networks import Network
    from estiva.paths import Paths

PATIENCE = 10.0  # seconds for who makes a network


_SETS = (
    ("bridges", "ifname", ""),
    ("closed", "ifname", ""),
    ("same", "ifname . ifname", ""),
    ("apart", "ifname . ifname", ""),
    ("own4", "ifname . ipv4_addr", "interval"),
    ("own6", "ifname . ipv6_addr", "interval"),
    ("out4", "ipv4_addr", "interval"),
    ("out6", "ipv6_addr", "interval"),
)
_RULES = """
    map published_any { type inet_proto . inet_service : ipv4_addr . inet_service; }
    map published_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
    map published6_any { type inet_proto . inet_service : ipv6_addr . inet_service; }
    map published6_at { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
    chain raw {
        type filter hook prerouting priority raw; policy accept;
        iifname @bridges meta nfproto ipv4 iifname . ip saddr != @own4 drop
        iifname @bridges ip daddr 127.0.0.0/8 drop
        iifname @bridges meta nfproto ipv6 ip6 saddr != { ::, fe80::/10 } iifname . ip6 saddr != @own6 drop
    }
    chain publish {
        dnat ip to ip daddr . meta l4proto . th dport map @published_at
        dnat ip to meta l4proto . th dport map @published_any
    }
    chain publish6 {
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6_at
        dnat ip6 to meta l4proto . th dport map @published6_any
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        meta l4proto { tcp, udp, sctp } ip daddr != 127.0.0.0/8 fib daddr type local jump publish
        meta l4proto { tcp, udp, sctp } ip6 daddr != ::1 fib daddr type local jump publish6
    }
    chain output {
        type nat hook output priority -100; policy accept;
        meta nfproto ipv4 meta l4proto { tcp, udp, sctp } fib daddr type local jump publish
        meta l4proto { tcp, udp, sctp } ip6 daddr != ::1 fib daddr type local jump publish6
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname . oifname @apart ct status dnat meta mark set meta mark or {MARK}
        iifname . oifname @same accept
        iifname @closed drop
        oifname @closed drop
        oifname @bridges ct state established,related accept
        oifname @bridges ct status dnat accept
        oifname @bridges drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname @bridges ip saddr 127.0.0.0/8 masquerade
        ct status dnat oifname . ip saddr @own4 masquerade
        ct status dnat oifname . ip6 saddr @own6 masquerade
        oifname . ip saddr @own4 accept
        oifname . ip6 saddr @own6 accept
        ip saddr @out4 masquerade
        ip6 saddr @out6 masquerade
    }
}
"""
_RULES = _RULES.replace("{MARK}", firewall.MARK)
_GROUP = families.APART
_APART = f"""
    chain forward {{
        type filter hook forward priority 10; policy accept;
        iifgroup {_GROUP} oifgroup {_GROUP} meta mark and {firewall.MARK} != {firewall.MARK} drop
    }}
}}
"""
RULES = _RULES.count(" drop\n") + _RULES.count("dnat ip") + _RULES.count(" accept\n") + _RULES.count(
    " masquerade\n"
) + _RULES.count(" jump ") + _RULES.count(" mark set ")  # fmt: skip


def table(paths: Paths) -> Table:
    """The table of a state root."""
    return netfilter.NFPROTO_INET, f"estiva_{crc32(os.fsencode(paths.root)):08x}"


def lock(paths: Paths) -> str:
    """Of whoever makes the table, a bridge that is in it, or takes a container's ports out of it."""
    return paths.lock("networks")


def whole(paths: Paths) -> bool:
    """Whether the table is there with all its rules. Raises EngineError."""
    family, name = table(paths)
    return bool(firewall.with_socket(lambda socket: netfilter.rules(socket, name, family) >= RULES))


def present(paths: Paths, bridge: str) -> bool:
    """Whether the table is there with all its rules, and knows the bridge. Raises EngineError."""
    family, name = table(paths)

    def look(socket: Socket) -> bool:
        if netfilter.rules(socket, name, family) < RULES:
            return False
        key = _key(bridge)
        if all(found != key for found, _ in netfilter.elements(socket, name, "bridges", family)):
            return False
        if not _is_apart(socket, paths, bridge):
            return True
        return netfilter.rules(socket, name, netfilter.NFPROTO_BRIDGE) >= 1

    return bool(firewall.with_socket(look))


def isolates(paths: Paths, bridge: str) -> bool:
    """Whether the tables keep the containers on a bridge apart, which need not be isolated ports then."""
    return bool(firewall.with_socket(lambda socket: _is_apart(socket, paths, bridge)))


def _is_apart(socket: Socket, paths: Paths, bridge: str) -> bool:
    family, name = table(paths)
    key = 2 * _key(bridge)
    return any(found == key for found, _ in netfilter.elements(socket, name, "apart", family))


def _key(bridge: str) -> bytes:
    """A name as nftables has it."""
    return bridge.encode().ljust(16, b"\0")


def closed(paths: Paths, index: int) -> bool:
    """Whether the interface with that index is an internal network's bridge, or may be: for what reaches this
    machine and would be passed on by a process, which `forward` does not see."""
    family, name = table(paths)
    try:
        key = _key(if_indextoname(index))
        found = firewall.with_socket(lambda socket: netfilter.elements(socket, name, "closed", family))
    except (OSError, EngineError, Unsupported, OverflowError):
        return True
    return any(one == key for one, _ in found)


def install(paths: Paths, reader: Reader, published: Published) -> None:
    """Make the table anew, with every network whose bridge is there; without any, take it away. The caller
    holds the lock. Raises Unsupported without nft, EngineError.
    """
    there = [network for network in networks.every(reader) if ipam.exists(network.record["Bridge"] or "")]
    if not there:
        remove(paths)
        return
    apart = [network for network in there if not network.truth(networks.ICC, True)]
    if apart and links.sysctl_of(links.NF_CALL) == "1":
        try:
            firewall.replace(table(paths), script(paths, there, apart), published)
            return
        except EngineError:
            pass  # this kernel has no tables of bridges: their containers are isolated ports
    firewall.replace(table(paths), script(paths, there), published)


def script(paths: Paths, there: Iterable[Network], apart: Iterable[Network] = ()) -> str:
    """What nft(8) is told. `apart`: those whose containers the tables are to keep apart."""
    elements: dict[str, list[str]] = {name: [] for name, _, _ in _SETS}
    for network in there:
        bridge = f'"{network.record["Bridge"]}"'
        elements["bridges"].append(bridge)
        if network.record["Internal"]:
            elements["closed"].append(bridge)
        if network.truth(networks.ICC, True):
            elements["same"].append(f"{bridge} . {bridge}")
        for subnet in network.record["Subnets"]:
            family = "6" if ":" in subnet["Subnet"] else "4"
            elements["own" + family].append(f"{bridge} . {subnet['Subnet']}")
            if network.truth(networks.MASQUERADE, True):
                elements["out" + family].append(subnet["Subnet"])
    bridges = [f'"{network.record["Bridge"]}"' for network in apart]
    elements["apart"] = [f"{bridge} . {bridge}" for bridge in bridges]
    name = table(paths)[1]
    lines = (
        [f"add table bridge {name}", f"delete table bridge {name}"]
        if bridges or firewall.bridged(name)
        else []
    )
    lines += [f"add table inet {name}", f"delete table inet {name}", f"table inet {name} {{"]
    for known, kind, flags in _SETS:
        flagged = f" flags {flags};" if flags else ""
        held = f" elements = {{ {', '.join(elements[known])} }}" if elements[known] else ""
        lines.append(f"    set {known} {{ type {kind};{flagged}{held} }}")
    whole = "\n".join(lines) + _RULES
    return f"{whole}table bridge {name} {{{_APART}" if bridges else whole


def remove(paths: Paths) -> None:
    """Take the table away, if it is there."""
    firewall.drop_table(table(paths))
    if firewall.bridged(table(paths)[1]):
        firewall.drop_table((netfilter.NFPROTO_BRIDGE, table(paths)[1]))


def missing(paths: Paths, reader: Reader, published: Published) -> list[str]:
    """What others have taken out of the table, in words; for when containers run on these networks."""
    told = _missing(paths, reader)
    deadline = time.monotonic() + PATIENCE
    while told and time.monotonic() < deadline:
        try:
            with Lock(lock(paths), blocking=False):  # a network that is made has its bridge before its rules
                told = _missing(paths, reader)
                break
        except BlockingIOError:
            time.sleep(0.02)
    return told or _missing_ports(paths, reader, published)


def _missing_ports(paths: Paths, reader: Reader, published: Published) -> list[str]:
    return firewall.missing_ports(table(paths), published) if used(reader) else []


def _missing(paths: Paths, reader: Reader) -> list[str]:
    told = []
    for network in networks.every(reader):
        bridge = network.record["Bridge"]
        if bridge and ipam.exists(bridge) and not present(paths, bridge):
            told.append(
                f"missing in the firewall: rules of network {network.name}, in table inet {table(paths)[1]}"
            )
    return told


def used(reader: Reader) -> bool:
    """Whether a container has an address in a network of one's own."""
    sql = "SELECT 1 FROM leases WHERE network != ? LIMIT 1"
    return bool(reader.read(sql, (ipam.DEFAULT_NETWORK,)))


def mend(paths: Paths, reader: Reader, published: Published) -> None:
    """Put back what `missing` tells, unless another has been faster."""
    with Lock(lock(paths)):
        if _missing(paths, reader) or _missing_ports(paths, reader, published):
            install(paths, reader, published)
