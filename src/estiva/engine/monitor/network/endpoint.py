"""What a monitor does for its container's networks (cold path). Those that somebody made: own.py."""

from __future__ import annotations

from estiva.engine.state import teardown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Network, Plan
    from estiva.network.bridge import Endpoint


def connect(plan: Plan, pid: int) -> Endpoint | None:
    """Plug the network namespace of process `pid` in; None where it has no network of its own.

    Ports are held, and published later. See bridge.connect for what it raises.
    """
    network = plan["network"]
    if "places" in network:
        from estiva.engine.monitor.network import own

        return own.connect(plan, pid)
    if network["mode"] != "bridge":
        return None
    from estiva.network import bridge

    return bridge.connect(
        teardown.database(plan),
        teardown.paths(plan),
        plan["id"],
        pid,
        ports=network["ports"],
        hostname=plan["name"],
        address=network["address"],
        publish_now=False,
        published=teardown.published_by(plan),
    )


def publish(plan: Plan, endpoint: Endpoint | None, pidfd: int) -> None:
    """Its ports; `pidfd` is of init.

    After the run state, which who makes the firewall anew reads: else these would be missing.
    """
    if endpoint is None or not endpoint.ports:
        return
    if endpoint.places:
        from estiva.engine.monitor.network import own

        own.publish(plan, endpoint)
    else:
        from estiva.network import bridge

        bridge.publish(teardown.paths(plan), endpoint, teardown.published_by(plan))
    if any(":" in port["HostIp"] for port in endpoint.ports):
        from estiva.engine.state.net import relays

        where = teardown.paths(plan)
        endpoint.sockets = relays.start(where, plan["id"], pidfd, endpoint.ports, endpoint.sockets)


def shown(plan: Plan, endpoint: Endpoint | None) -> Network:
    """What the run state says of it."""
    if endpoint is None:
        return {}
    network: Network = {
        "address": endpoint.ip,
        "prefix": endpoint.prefix,
        "gateway": endpoint.gateway,
        "mac": endpoint.mac,
        "ports": endpoint.ports,
    }
    if "places" in plan["network"]:
        network["places"] = endpoint.places
    return network
