"""Networks taken away, and what is missing of them put back: `network rm`, `prune` and `reload`."""

from __future__ import annotations

from estiva.errors import Conflict, EngineError, NotFound, reason
from estiva.network import going, networks
from estiva.network.networks import Network
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.store.database import Transaction

SHOWN = 8  # containers that an error names
PRUNE_FILTERS = ("label", "label!", "until")


def remove(engine: Engine, ref: str, *, force: bool = False) -> bool:
    """Remove a network, its bridge and its rules; whether there was one. Raises Conflict while containers run
    on it, which it names; NotFound unless `force`.
    """
    if ref in networks.PREDEFINED:
        raise Conflict(f"{ref} is a pre-defined network and cannot be removed")
    try:
        network = networks.get(engine.db, ref)
    except NotFound:
        if force:
            return False
        raise
    settle_dead(engine, network)
    with engine.db.write(freeing=True) as transaction:
        _refuse_used(transaction, networks.get(transaction, network.id))
        drop(transaction, network)
    take_away(engine, network)
    return True


def _refuse_used(transaction: Transaction, network: Network) -> None:
    """Raises Conflict, which names them, while containers are on a network."""
    holders = dict(networks.leased_in(transaction, network.id))
    if holders:
        called = sorted(containers.name(transaction, holder) or holder[:12] for holder in holders)
        listed = ", ".join(called[:SHOWN])
        if len(called) > SHOWN:
            listed = f"{listed} and {len(called) - SHOWN} more"
        raise Conflict(
            f"network {network.name} has active endpoints: {listed}",
            hint=f"`estiva network disconnect {network.name} CONTAINER`, or stop them",
        )


def settle_dead(engine: Engine, network: Network) -> None:
    """End what killed monitors left of containers on it, and killed builds of a step without a monitor yet,
    which has no row."""
    from estiva.engine.state import locks
    from estiva.engine.state.life import reconcile

    for container_id, _ in networks.leased_in(engine.db, network.id):
        if containers.status(engine.db, container_id):
            reconcile.reconcile_if_dead(engine.paths, engine.db, container_id)
        elif not locks.held(engine.paths, container_id):
            reconcile.reconcile(engine.paths, engine.db, container_id)


def drop(transaction: Transaction, network: Network) -> None:
    """The row of a network that nobody is on, and first what it has changed on a bridge that stays."""
    if network.record["Adopted"]:
        from estiva.network import bridges

        try:
            bridges.give_back(network)
        except OSError as error:
            what = error.filename or "netlink"
            raise EngineError(f"the bridge of network {network.name}: {what}: {reason(error)}") from error
    going.note_in(transaction, network)
    networks.remove(transaction, network)


def take_away(engine: Engine, network: Network) -> None:
    """The bridge and the rules of a network whose row has gone."""
    from estiva.engine.state import eventlog, published
    from estiva.network import bridges

    eventlog.append(engine.paths, eventlog.network("destroy", network.name, network.id, network.driver))
    walls = published.firewalls(engine.paths, engine.db)
    bridges.remove_network(engine.paths, engine.db, network, walls.own)


def prune(engine: Engine, filters: dict[str, list[str]] | None = None) -> list[str]:
    """Remove the networks that no container belongs to; their names. `filters`: see PRUNE_FILTERS. Raises
    InvalidInput.
    """
    from estiva.engine.state.prune_filters import Pruned

    wanted = Pruned(filters or {}, PRUNE_FILTERS)
    gone = []
    for network in networks.every(engine.db):
        if not wanted.takes(network.created, network.record["Labels"]):
            continue
        settle_dead(engine, network)
        with engine.db.write(freeing=True) as transaction:
            if networks.members(transaction, network.id) or networks.leased_in(transaction, network.id):
                continue
            drop(transaction, network)
        take_away(engine, network)
        gone.append(network.name)
    return gone


def reload(engine: Engine) -> list[str]:
    """Make the firewall of all networks anew where something is missing; what was, in words."""
    from estiva.engine.networks import upkeep

    refused: dict[tuple[str, str], str] = {}
    mended = upkeep.mend_network(engine, refused) + upkeep.missing_rules(engine, mend=True)
    mended += upkeep.relays(engine, mend=True) + upkeep.relays(engine)
    return mended + (upkeep.unplugged(engine, refused) if refused else [])
