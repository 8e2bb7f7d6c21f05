"""Containers whose end of the network others have taken away (`ip link delete`): found, plugged in again."""

from __future__ import annotations

from estiva.linux.net import netlink
from estiva.network import firewall, links
from estiva.network.ipam import Subnet, bridge_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiva.network.firewall import Published
    from estiva.paths import Paths


def unplugged(container_ids: Iterable[str]) -> dict[str, str]:
    """Those of the running containers that are in no bridge, each with its veth on the host; "" where that
    has gone too, and the container's eth0 with it.
    """
    with netlink.Socket() as socket:
        veths = [link for link in socket.links() if link.kind == "veth"]
    found = {}
    for container_id in container_ids:
        own = [link for link in veths if links.belongs(link.name, container_id)]
        if not any(link.master for link in own):
            found[container_id] = own[0].name if own else ""
    return found


def plug(paths: Paths, address: str, veth: str, published: Published = firewall.nothing) -> None:
    """Put the veth of a container with that address into the bridge, which is made anew where it is missing.

    Raises Conflict when the bridge's subnet is another interface's by now, EngineError, OSError.
    """
    with netlink.Socket() as socket:
        bridge = links.bridge_link(socket, paths, bridge_name(), Subnet(address), published)
        socket.exchange(netlink.set_link(veth, up=True, master=bridge.index))
        # what only containers with published ports have when they start harms no other
        socket.exchange(netlink.set_hairpin(veth))
