"""What a start takes of the networks of a container: in the transaction that says that it runs (cold
path)."""

from __future__ import annotations

from estiva.network import ipam
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from estiva.network.types import EndpointRecord, Place
    from estiva.store.database import Transaction

    # an address on the default bridge alone, "" for none, or places in networks of one's own
    Taken: TypeAlias = str | list[Place]


def is_private(mode: str) -> bool:
    """Whether a network mode has networks at all: not the host's, none, and not what another has."""
    return mode not in ("none", "host") and ":" not in mode


def embedded(taken: Taken) -> bool:
    """Whether who has this has the embedded name server (network/dns): on a network that somebody made."""
    return not isinstance(taken, str) and any(place["network"] != ipam.DEFAULT_NETWORK for place in taken)


def take_in(
    transaction: Transaction, container_id: str, mode: str, *, fresh: bool = False, before: str = ""
) -> Taken:
    """Lease what the container needs. `fresh`: it belongs to nothing but the default bridge, that is known.
    `before`: the address that it had there, and has again where that is free.

    Raises NotFound, Conflict, Unavailable: networks.places_in.
    """
    if mode == "none" and not fresh:
        return _beside_none(transaction, container_id)
    if not is_private(mode):
        return ""
    if mode == "bridge" and (
        fresh or not transaction.read("SELECT 1 FROM endpoints WHERE container = ? LIMIT 1", (container_id,))
    ):
        address, subnet = ipam.lease_in(transaction, container_id, before=before)
        if subnet.plain:
            return address  # which tells all the rest
    return _places_in(transaction, container_id, default=mode == "bridge")


def _beside_none(transaction: Transaction, container_id: str) -> Taken:
    """Of a container of mode none, which may be on others once it has been taken off that."""
    if not transaction.read("SELECT 1 FROM endpoints WHERE container = ? LIMIT 1", (container_id,)):
        return ""
    return _places_in(transaction, container_id, default=False)


def _places_in(transaction: Transaction, container_id: str, *, default: bool) -> list[Place]:
    from estiva.network import networks, pools

    try:
        return networks.places_in(transaction, container_id, default=default)
    except pools.AddressTaken as error:
        raise error.named(containers.name(transaction, error.holder)) from None


def place_in(transaction: Transaction, container_id: str, network_id: str, wished: EndpointRecord) -> Place:
    """One network more for a container that runs: as networks.place_in."""
    from estiva.network import networks, pools

    try:
        return networks.place_in(transaction, container_id, network_id, wished)
    except pools.AddressTaken as error:
        raise error.named(containers.name(transaction, error.holder)) from None
