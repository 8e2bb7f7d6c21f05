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
    (containers.in_netns_of_others) may be in there. Raises OSError.
    """
    lenders = {one: _lender(record) for one, record in others if one != container_id}
    near = [one for one, lender in lenders.items() if lender == container_id]
    # who joined one that had joined this, and has ended; a namespace given by its path
    far = any(lender is not None and not _runs(db, lender) for lender in lenders.values())
    if near or far:
        links.delete_veths(container_id)
    if near:
        _unplug_within(where, container_id, near)


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


def _unplug_within(where: Paths, container_id: str, near: Iterable[str]) -> None:
    """A macvlan or ipvlan has no end on the host."""
    live = _state(where, container_id)
    places = [place for place in places_of(live) if place["driver"] != networks.BRIDGE] if live else []
    for sharer in near if places else ():
        member = _state(where, sharer)
        if member is not None:
            _delete(member, places)


def _delete(member: RunState, places: Iterable[Place]) -> None:
    try:
        inside = links.enter(member["pid"])
    except OSError:
        return  # has ended meanwhile
    try:
        if state.alive(member["pid"], member["start_time"]):  # after it was opened: it was no other's
            for place in places:
                links.ignoring(errno.ENODEV, inside, netlink.delete_link(place["interface"]))
    finally:
        inside.close()


def _state(where: Paths, container_id: str) -> RunState | None:
    try:
        return runstate.read(where, container_id)
    except StateError:
        return None  # damaged, which `system check` tells
