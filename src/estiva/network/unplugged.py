"""Containers whose end of a network others have taken away (`ip link delete`): found, plugged in again."""

from __future__ import annotations

from estiva.linux.net import families, netlink
from estiva.network import bridges, ipam, links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from estiva.network.bridges import Firewalls
    from estiva.network.ipam import Database
    from estiva.network.types import Place
    from estiva.paths import Paths


def unplugged(plugged: Mapping[str, Sequence[Place]]) -> dict[tuple[str, str], tuple[Place, str]]:
    """Of running containers, by id, those places that are in no bridge, each with its veth on the host; ""
    where that has gone too, and the container's interface with it. By container and endpoint.
    """
    with netlink.Socket() as socket:
        veths = {link.name: link for link in socket.links() if link.kind == "veth"}
    found = {}
    for container_id, places in plugged.items():
        own = [name for name in veths if links.belongs(name, container_id)]
        for place in places:
            # that of a start on the default bridge alone is not written down: it has the only one
            name = place.get("veth") or next(iter(own), "")
            link = veths.get(name)
            if link is None or not link.master:
                found[container_id, place["id"]] = (place, name if link is not None else "")
    return found


def plug(db: Database, paths: Paths, place: Place, veth: str, walls: Firewalls) -> None:
    """Put the veth of a container's place into its bridge, which is made anew where it is missing.

    Raises Conflict when the bridge's subnet is another interface's by now, EngineError, OSError.
    """
    with netlink.Socket() as socket:
        bridge = bridges.link_of(socket, db, paths, place, walls)
        socket.exchange(netlink.set_link(veth, up=True, master=bridge.index))
        # what only containers with published ports have when they start harms no other
        socket.exchange(netlink.set_hairpin(veth))
        isolated = ipam.manners()[1] if place["network"] == ipam.DEFAULT_NETWORK else place["isolated"]
        if isolated:
            port = not bridges.isolates(paths, place)
            socket.exchange(families.set_isolated(veth, port=port))
