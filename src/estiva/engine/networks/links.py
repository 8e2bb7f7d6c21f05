"""Links of the default bridge (HostConfig.Links): the names that they give, and their removal."""

from __future__ import annotations

from estiva.engine.state import lookup
from estiva.errors import NotFound, oneline
from estiva.network import networks
from estiva.network.ipam import DEFAULT_NETWORK
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from estiva.engine import Engine
    from estiva.network.types import EndpointRecord

    Belongings: TypeAlias = dict[str, dict[str, EndpointRecord]]


def aliases(engine: Engine, belongings: Belongings | None = None) -> dict[str, list[str]]:
    """The names that containers have by links to them, "/web/db", by their ids. `belongings`: what
    `belonging_of_each` of network/networks.py gives, by who has it already."""
    found: dict[str, list[str]] = {}
    each = networks.belonging_of_each(engine.db) if belongings is None else belongings
    for holder, belonging in each.items():
        for linked, alias in belonging.get(DEFAULT_NETWORK, {}).get("Links") or ():
            found.setdefault(linked, []).append(f"/{containers.name(engine.db, holder)}/{alias}")
    return found


def unlink(engine: Engine, ref: str, alias: str) -> None:
    """Take a link from a container; one that runs has it in its hosts until it ends. Raises NotFound."""
    container_id = lookup.resolve(engine, ref)["Id"]
    with engine.db.write() as transaction:
        record = networks.belongings(transaction, container_id).get(DEFAULT_NETWORK, {})
        left = [link for link in record.get("Links") or () if link[1] != alias]
        if len(left) == len(record.get("Links") or ()):
            raise NotFound(f"container {oneline(ref)} has no link {oneline(alias)}")
        networks.belong(transaction, DEFAULT_NETWORK, container_id, {**record, "Links": left, "Linked": []})
