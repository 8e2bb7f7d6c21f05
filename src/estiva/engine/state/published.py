"""The ports of the containers that run: what a firewall that is made anew must have."""

from __future__ import annotations

from estiva.engine.state import locks, runstate
from estiva.errors import EstivaError
from estiva.network import ipam

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from estiva.engine.state.types import Network
    from estiva.network.bridges import Firewalls
    from estiva.paths import Paths
    from estiva.store.database import Database

    Ports = list[tuple[str, list[dict[str, str]]]]


def published(where: Paths, db: Database) -> Ports:
    """(address, published ports) of each container that runs and has them on the default bridge.

    Those without a lease are about to end: their ports have been taken out of the firewall already.
    """
    leased = ipam.leased(db)
    found: Ports = []
    for container_id, network in _running(where, leased):
        if network["address"] == leased[container_id]:
            found.append((network["address"], network["ports"]))
            for place in network.get("places") or ():
                if place["network"] == ipam.DEFAULT_NETWORK and place["address6"]:
                    found.append((place["address6"], network["ports"]))
    return found


def published_own(where: Paths, db: Database) -> Ports:
    """The same of those that have them on a network of one's own, for each of their addresses there."""
    sql = "SELECT network, container, address FROM leases WHERE network != ?"
    leased = {tuple(row) for row in db.read(sql, (ipam.DEFAULT_NETWORK,))}
    found: Ports = []
    for container_id, network in _running(where, {row[1] for row in leased}):
        for place in network.get("places") or ():
            for address in (place["address"], place["address6"]) if place["default"] else ():
                if (place["network"], container_id, address) in leased:
                    found.append((address, network["ports"]))
    return found


def mend_own(where: Paths, db: Database) -> None:
    """Make the firewall of networks of one's own anew where something is missing, if containers are on them.
    The caller may hold the lock of the default bridge's; nobody takes that who holds theirs.
    """
    from estiva.network import rules

    if rules.used(db):
        rules.mend(where, db, lambda: published_own(where, db))


def _running(where: Paths, container_ids: Iterable[str]) -> Iterator[tuple[str, Network]]:
    """What those that run and have published ports have of the network."""
    for container_id in container_ids:
        try:
            live = runstate.read(where, container_id)
        except EstivaError:
            continue  # `system check` tells of it
        network = live.get("network") if live else None
        if network and network["ports"] and locks.held(where, container_id):
            yield container_id, network


def firewalls(where: Paths, db: Database) -> Firewalls:
    """Both, for who plugs containers into networks of one's own."""
    from estiva.network.bridges import Firewalls

    return Firewalls(lambda: published(where, db), lambda: published_own(where, db))
