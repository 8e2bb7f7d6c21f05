"""Step 4 of a monitor whose container is in networks of one's own. Loaded only then."""

from __future__ import annotations

from estiva.engine.state import published, teardown
from estiva.network import networks, plug
from estiva.network.dns import handover
from estiva.network.ipam import DEFAULT_NETWORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Plan
    from estiva.network.bridge import Endpoint
    from estiva.network.dns.handover import Names


def connect(plan: Plan, pid: int) -> Endpoint:
    """An interface for each of the plan's places; ports are held. See plug.connect for what it raises."""
    network = plan["network"]
    places = network["places"]
    db, where = teardown.database(plan), teardown.paths(plan)
    ports = network["ports"]
    main = plug.primary(places)
    if main is not None and main["network"] != DEFAULT_NETWORK and ports:
        ports = _bound(plan, main["network"], ports)
    walls = published.firewalls(where, db)
    return plug.connect(db, where, plan["id"], pid, places, hostname=plan["name"], ports=ports, walls=walls)


def _bound(plan: Plan, network_id: str, ports: list[dict[str, str]]) -> list[dict[str, str]]:
    """With the address that the network publishes on where none was given."""
    network = networks.find(teardown.database(plan), network_id)
    address = network.option(networks.BINDING) if network is not None else ""
    return [{**port, "HostIp": port["HostIp"] or address} for port in ports] if address else ports


def serve_names(plan: Plan, pid: int, pidfd: int) -> Names:
    """The embedded name server: sockets in the network namespace of process `pid`, handed to the resolver.
    Where some hosts are allowed only, the way to all others is closed.

    Raises EngineError, Conflict, Unsupported.
    """
    settings = plan["names"]
    sockets = handover.open_sockets(pid, settings["servers"])
    if "allow" in settings:
        from estiva.network.dns.gate import open_gate

        sockets.append(open_gate(pid, pidfd, settings["allow"]))
    names = handover.Names(plan["id"], plan["root"], plan["run_root"], settings, sockets)
    names.note()
    names.register()
    return names


def publish(plan: Plan, endpoint: Endpoint) -> None:
    """Its ports, once the run state tells of them."""
    main = plug.primary(endpoint.places)
    if main is not None:
        db, where = teardown.database(plan), teardown.paths(plan)
        plug.publish(db, where, main, endpoint.ports, published.firewalls(where, db))
