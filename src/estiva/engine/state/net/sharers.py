"""Containers in the network namespace of one that has ended (`--network container:NAME`): they keep it, and
its interfaces would stay plugged in, with addresses that the next container may be given. So these are taken
out first; those who share are left with `lo`, as Docker's are.
"""

from __future__ import annotations

import errno

from estiva import fastjson
from estiva.engine.state import runstate
from estiva.engine.state.net.endpoint_shape import places_of
from estiva.errors import StateError
from estiva.linux.net import netlink
from estiva.network import links, networks
from estiva.runtime import state
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiva.engine.state.types import RunState
    from estiva.network.types import Place
    from estiva.paths import Paths
    from estiva.store.database import Database

CONTAINER = "container:"


def unplug(where: Paths, db: Database, container_id: str, others: Iterable[tuple[str, str]]) -> None:
    """Take the interfaces of a container whose init is dead out of its network namespace, if one of `others`
    (containers.in_netns_of_others) is in there. Raises OSError.
    """
    live = _state(where, container_id)
    places = places_of(live) if live else []
    for one, record in others:
        lender = _lender(record)
        if one == container_id or lender is None:
            continue
        near = lender == container_id
        # else it may have joined one that had joined this, and has ended; or the namespace by its path
        if near or not _runs(db, lender):
            member = _state(where, one)
            found = _interfaces(member, places) if member is not None else None
            if near or found is None or found:
                links.delete_veths(container_id)
            if member is not None and found:
                _delete(member, [place for place in found if place["driver"] != networks.BRIDGE])


def _lender(record: str) -> str | None:
    """The id of the container whose network namespace it is in; "" for one by path, None for its own."""
    try:
        mode = fastjson.loads(record)["HostConfig"]["NetworkMode"]
    except (ValueError, KeyError, TypeError):
        return ""
    if not isinstance(mode, str) or ":" not in mode:
        return None
    return mode.removeprefix(CONTAINER) if mode.startswith(CONTAINER) else ""


def _runs(db: Database, container_id: str) -> bool:
    return containers.status(db, container_id) == "running"


def _interfaces(member: RunState, places: Iterable[Place]) -> list[Place]:
    """Those of the places whose interface is where a container is; ipvlan has the address of its parent."""
    inside = _enter(member)
    if inside is None:
        return []
    with inside:
        there = {link.name: link.address.hex(":") for link in inside.links()}
    return [place for place in places if there.get(place["interface"]) == place["mac"]]


def _delete(member: RunState, places: Iterable[Place]) -> None:
    """A macvlan or ipvlan has no end on the host."""
    inside = _enter(member) if places else None
    if inside is not None:
        with inside:
            for place in places:
                links.ignoring(errno.ENODEV, inside, netlink.delete_link(place["interface"]))


def _enter(member: RunState) -> netlink.Socket | None:
    """A netlink socket where a container is; None if it has ended."""
    try:
        inside = links.enter(member["pid"], ipv6=True)  # changes nothing in there
    except OSError:
        return None
    if state.alive(member["pid"], member["start_time"]):  # after it was opened: it is no other's
        return inside
    inside.close()
    return None


def _state(where: Paths, container_id: str) -> RunState | None:
    try:
        return runstate.read(where, container_id)
    except StateError:
        return None  # damaged, which `system check` tells
