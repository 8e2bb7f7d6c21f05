"""Containers that one is linked with on the default bridge (`--link db:alias`), where no name server tells
names: lines for its /etc/hosts, and Docker's variables. Loaded only for containers that have asked for
something of a network.
"""

from __future__ import annotations

from estiva.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiva.engine import Engine
    from estiva.engine.state.types import Record

OWN = ("HOME", "PATH")  # what each container has for itself


def found(engine: Engine, container_id: str) -> Iterator[tuple[Record, str, str]]:
    """(record, alias, address) of each. Raises Conflict for one that does not run there."""
    from estiva.engine.state import lookup
    from estiva.network import networks
    from estiva.network.ipam import DEFAULT_NETWORK

    asked = networks.belongings(engine.db, container_id).get(DEFAULT_NETWORK, {})
    for linked_id, alias in asked.get("Links", ()):
        record = lookup.resolve(engine, linked_id)
        shown = record["NetworkSettings"].get("Networks", {}).get("bridge", {})
        if not record["State"]["Running"] or not shown.get("IPAddress"):
            name = record["Name"].removeprefix("/")
            raise Conflict(
                f"cannot link to container {name}: it does not run on the default bridge",
                hint=f"`estiva start {name}`, or a network of your own for both",
            )
        yield record, alias, shown["IPAddress"]


def hosts(engine: Engine, container_id: str) -> list[str]:
    """Lines of /etc/hosts. Raises Conflict."""
    lines = []
    for record, alias, address in found(engine, container_id):
        hostname = record["Config"].get("Hostname") or record["Id"][:12]
        names = dict.fromkeys((alias, hostname, record["Name"].removeprefix("/")))
        lines.append(f"{address}\t{' '.join(names)}")
    return lines


def environment(engine: Engine, made: Record) -> list[str]:
    """NAME=VALUE of each one's exposed ports and own variables, under its alias in capitals. Raises
    Conflict."""
    words = []
    for record, alias, address in found(engine, made["Id"]):
        prefix = alias.upper().replace("-", "_")
        ports = sorted(_port(key) for key in record["Config"].get("ExposedPorts") or ())
        if ports:
            number, protocol = ports[0]
            words.append(f"{prefix}_PORT={protocol}://{address}:{number}")
        for number, protocol in ports:
            one = f"{prefix}_PORT_{number}_{protocol.upper()}"
            words += [
                f"{one}={protocol}://{address}:{number}",
                f"{one}_ADDR={address}",
                f"{one}_PORT={number}",
                f"{one}_PROTO={protocol}",
            ]
        words.append(f"{prefix}_NAME={made['Name']}/{alias}")
        for word in record["Config"].get("Env") or ():
            name, equals, _ = word.partition("=")
            if equals and name not in OWN:
                words.append(f"{prefix}_ENV_{word}")
    return words


def _port(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    return int(number), protocol or "tcp"


def add(env: list[str], words: list[str]) -> list[str]:
    """An environment with these too, where it does not have another of that name."""
    known = {word.partition("=")[0] for word in env}
    return env + [word for word in words if word.partition("=")[0] not in known]
