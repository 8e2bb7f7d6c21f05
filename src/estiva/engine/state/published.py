"""The ports of the containers that run: what a firewall that is made anew must have."""

from __future__ import annotations

from estiva.engine.state import locks, runstate
from estiva.errors import EstivaError
from estiva.network import ipam

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.paths import Paths
    from estiva.store.database import Database


def published(where: Paths, db: Database) -> list[tuple[str, list[dict[str, str]]]]:
    """(address, published ports) of each container that runs.

    Those without a lease are about to end: their ports have been taken out of the firewall already.
    """
    found = []
    for container_id, address in ipam.leased(db).items():
        try:
            live = runstate.read(where, container_id)
        except EstivaError:
            continue  # `system check` tells of it
        network = live.get("network") if live else None
        if network and network["address"] == address and network["ports"] and locks.held(where, container_id):
            found.append((address, network["ports"]))
    return found
