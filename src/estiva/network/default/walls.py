"""What the firewall of the default bridge has beside `ip estiva` (network/firewall.py) where the settings ask
for more than IPv4 and neighbours that reach each other:

    ip6 estiva      for IPv6 what `ip estiva` is, where the bridge has a subnet of that
    bridge estiva   where its containers are not to reach each other and br_netfilter is on: see rules.py

Loaded only then.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_pton

from estiva.errors import EngineError
from estiva.linux.net import families, netfilter
from estiva.network import firewall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from estiva.linux.net.netlink import Socket
    from estiva.network.firewall import Published

_RULES6 = """
add table ip6 {table}
delete table ip6 {table}
table ip6 {table} {{
    set subnets {{ type ipv6_addr; flags interval; elements = {{ {subnets} }} }}
    map published6_any {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
    map published6_at {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}
    chain raw {{
        type filter hook prerouting priority raw; policy accept;
        iifname "{bridge}" ip6 saddr != {{ ::, fe80::/10 }} ip6 saddr != @subnets drop
    }}
    chain publish {{
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6_at
        dnat ip6 to meta l4proto . th dport map @published6_any
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        meta l4proto {{ tcp, udp, sctp }} ip6 daddr != ::1 fib daddr type local jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        meta l4proto {{ tcp, udp, sctp }} ip6 daddr != ::1 fib daddr type local jump publish
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
        oifname "{bridge}" ip6 saddr @subnets ct status dnat masquerade
        oifname != "{bridge}" ip6 saddr @subnets masquerade
    }}
}}
"""
_RULES6_COUNT = 11
_MARK = 'iifname "{bridge}" oifname "{bridge}" ct status dnat meta mark set meta mark or {MARK}\n        '
_APART = """
table bridge {table} {{
    chain forward {{
        type filter hook forward priority 10; policy accept;
        iifgroup {GROUP} oifgroup {GROUP} meta mark and {MARK} != {MARK} drop
    }}
}}
"""


def install(
    bridge: str, subnets: Iterable[str], subnets6: Iterable[str], published: Published, *, apart: bool
) -> None:
    """Make all of the bridge's tables anew. `apart`: containers are not to reach each other, and br_netfilter
    is on. Raises Unsupported without nft, EngineError.
    """
    table = firewall.table_of(bridge)
    mark = _MARK.format(bridge=bridge, MARK=firewall.MARK) if apart else ""
    whole = f"add table bridge {table}\ndelete table bridge {table}\n" if apart or isolates(bridge) else ""
    if apart:
        whole += _APART.format(table=table, MARK=firewall.MARK, GROUP=families.APART)
    try:
        firewall.install(bridge, subnets, published, mark=mark, beside=whole)
    except EngineError:
        if not apart:
            raise
        # this kernel has no tables of bridges: the containers are isolated ports, and each start tries again
        firewall.install(bridge, subnets, published)
    found = sorted(set(subnets6))
    if found:
        words = {"table": table, "bridge": bridge, "subnets": ", ".join(found), "mark": mark}
        firewall.replace(firewall.table6(bridge), _RULES6.format(**words), published)


def missing(bridge: str, subnets6: Sequence[str], published: Published, *, apart: bool) -> list[str]:
    """What others have taken out of them, in words, or what is not yet in them; empty when nothing is
    missing."""
    table = firewall.table_of(bridge)
    if apart and not isolates(bridge):
        return [f"missing in the firewall: table bridge {table}, so published ports don't reach neighbours"]
    if subnets6 and _lacks6(bridge, subnets6):
        return [f"missing in the firewall: rules of table ip6 {table}, so IPv6 has no way out or in"]
    return firewall.missing_ports(firewall.table6(bridge), published) if subnets6 else []


def remove(bridge: str) -> None:
    """Delete them, if they are there."""
    firewall.drop_table(firewall.table6(bridge))
    if isolates(bridge):
        firewall.drop_table((netfilter.NFPROTO_BRIDGE, firewall.table_of(bridge)))


def isolates(bridge: str) -> bool:
    """Whether a table keeps the containers on the bridge apart, which need not be isolated ports then."""
    return firewall.bridged(firewall.table_of(bridge))


def _lacks6(bridge: str, subnets6: Sequence[str]) -> bool:
    """Whether the table of IPv6 is not whole, or does not know one of these subnets: another state root may
    have made it for its own."""
    table = firewall.table_of(bridge)

    def look(socket: Socket) -> bool:
        if netfilter.rules(socket, table, AF_INET6) < _RULES6_COUNT:
            return True
        known = {key for key, _ in netfilter.elements(socket, table, "subnets", AF_INET6)}
        return any(inet_pton(AF_INET6, one.partition("/")[0]) not in known for one in subnets6)

    return bool(firewall.with_socket(look))
