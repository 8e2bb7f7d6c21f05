"""`network create`."""

from __future__ import annotations

import os

from estiva import settings
from estiva.engine.networks import asked as judge
from estiva.engine.state import eventlog
from estiva.errors import Conflict, EngineError, NotFound, reason
from estiva.network import ipam, networks, pools
from estiva.network.default import dual
from estiva.network.networks import BRIDGE, Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiva.engine import Engine
    from estiva.network.types import NetworkRecord, Subnet

    Used = list[tuple[str, pools.Range]]

RESERVED = ("lo", "all", "default")


def create(engine: Engine, name: str, asked: judge.Asked) -> str:
    """Make a network; its id. Its bridge is there at once, so that nobody else takes the subnet; after a
    reboot it is made when a container first starts on it.

    Raises InvalidInput, Conflict (the name, or a subnet, which is named), Unsupported, Unavailable.
    """
    judge.check_name(name)
    network_id = os.urandom(32).hex()
    options = judge.options_of(asked)
    record: NetworkRecord = {
        "Subnets": judge.subnets_of(asked),
        "Bridge": "",
        "Adopted": False,
        "Internal": asked.internal,
        "EnableIPv6": asked.ipv6 or any(":" in words for words in asked.subnets),
        "Attachable": asked.attachable,
        "Options": options,
        "Labels": asked.labels,
    }
    if asked.ipam_options is not None:
        record["IPAMOptions"] = asked.ipam_options
    if asked.driver == BRIDGE:
        record["Bridge"] = options.get(networks.BRIDGE_NAME) or f"br-{network_id[:12]}"
        record["Adopted"] = ipam.exists(record["Bridge"])
        _refuse_bridge(record["Bridge"])
    elif not options.get("parent") and not asked.internal:
        record["Internal"] = True  # as Docker's: without a parent nothing leaves this machine
    from estiva.linux.net.netlink import Socket

    with Socket() as socket, engine.db.write() as transaction:
        if record["Adopted"]:
            from estiva.network import bridges

            record["Before"] = bridges.before(socket, record["Bridge"])
        parent = options.get("parent")
        if parent:
            from estiva.network import parents

            if parents.judge(socket, parent) or parents.is_ours(transaction, parent):
                record["Vlan"] = True
        others = networks.every(transaction)
        if any(other.name == name for other in others):
            raise Conflict(
                f"network with name {name} already exists", hint=f"`estiva network rm {name}` removes it"
            )
        for other in others:
            if record["Bridge"] and other.record["Bridge"] == record["Bridge"]:
                raise Conflict(f"bridge {record['Bridge']} is that of network {other.name}")
        used = _used(transaction, others)
        # now, not before: the bridge of a network that is removed goes after its row
        machine = pools.in_use(socket, but=record["Bridge"])
        # macvlan and ipvlan share the subnet of their parent
        _settle_subnets(record, network_id, used, machine if asked.driver == BRIDGE else [])
        networks.add(transaction, network_id, name, asked.driver, record)
    if asked.driver == BRIDGE or record.get("Vlan"):
        _make_link(engine, networks.get(engine.db, network_id))
    eventlog.append(engine.paths, eventlog.network("create", name, network_id, asked.driver))
    return network_id


def _refuse_bridge(name: str) -> None:
    """Raises Conflict for an interface that can't be a network's: the default bridge's, whose containers
    would be behind two firewalls, one of which knows none of their addresses; what is no bridge; and `all`
    and `default`, which mean every interface under /proc/sys/net.
    """
    from estiva.linux.net.netlink import Socket

    if name in (ipam.bridge_name(), ipam.DEFAULT_BRIDGE):
        raise Conflict(
            f"bridge {name} is that of the default network",
            hint=f"give another name to {networks.BRIDGE_NAME}",
        )
    if name in RESERVED:
        raise Conflict(f"a bridge can't be called {name}", hint="the kernel uses that name itself")
    with Socket() as socket:
        link = socket.link(name)
    if link is not None and link.kind != "bridge":
        raise Conflict(f"interface {name} is not a bridge", hint="give the name of a bridge, or of none")


def _make_link(engine: Engine, network: Network) -> None:
    """Its bridge, or the vlan that is its parent. Raises what keeps it from being made; then the network is
    not there either."""
    from estiva.engine.networks import remove
    from estiva.engine.state import published
    from estiva.linux.net.netlink import Socket
    from estiva.network import bridges

    place = networks.empty_place(network)
    if network.driver == BRIDGE and not place["gateway"]:
        return
    try:
        with Socket() as socket:
            walls = published.firewalls(engine.paths, engine.db)
            bridges.link_of(socket, engine.db, engine.paths, place, walls)
        if networks.find(engine.db, network.id) is None:  # its bridge may have come after it had gone
            raise NotFound(f"network {network.name} was removed while it was made")
    except BaseException as error:
        with engine.db.write(freeing=True) as transaction:
            remove.drop(transaction, network)
        remove.take_away(engine, network)
        if isinstance(error, OSError):
            what = error.filename or "netlink"
            kind = "bridge" if network.driver == BRIDGE else "parent interface"
            raise EngineError(f"the {kind} of network {network.name}: {what}: {reason(error)}") from error
        raise


# ---- subnets


def _used(reader: ipam.Reader, others: Iterable[Network]) -> Used:
    """What networks of Estiva's have, by name."""
    used: Used = []
    for other in others:
        for subnet in other.record["Subnets"]:
            used.append((f"{subnet['Subnet']} of network {other.name}", pools.extent(subnet["Subnet"])))
    own = ipam.default_subnet(reader)
    known = settings.read()
    for one in (own, ipam.asked(own, known)[0]):  # what it has, and what the settings want for it
        if one is not None:
            used.append((f"{one} of network bridge", pools.extent(str(one))))
    for six in (dual.shown(reader, known), dual.asked(known)):
        if six is not None:
            used.append((f"{six['Subnet']} of network bridge", pools.extent(six["Subnet"])))
    return used


def _settle_subnets(record: NetworkRecord, network_id: str, used: Used, machine: Used) -> None:
    """Refuse subnets that overlap with others, and choose those that were not given."""
    subnets = record["Subnets"]
    for subnet in subnets:
        whole = pools.extent(subnet["Subnet"])
        for what, other in (*used, *machine):
            if pools.overlap(whole, other):
                raise Conflict(
                    f"subnet {subnet['Subnet']} overlaps with {what}", hint="give another, or take that away"
                )
    if not any(":" not in subnet["Subnet"] for subnet in subnets):
        chosen: Subnet = {"Subnet": pools.choose([*used, *machine], pools.of(settings.read()))}
        pools.complete(chosen)
        subnets.insert(0, chosen)
    if record["EnableIPv6"] and not any(":" in subnet["Subnet"] for subnet in subnets):
        local: Subnet = {"Subnet": pools.choose_local(network_id)}
        pools.complete(local)
        subnets.append(local)
