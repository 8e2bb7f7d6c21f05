"""The filters of `ps` that need more than a look at one field: before and since another, ports."""

from __future__ import annotations

from estiva.engine.state import lookup
from estiva.errors import InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import Record

    Ports = set[tuple[int, str]]

PROTOCOLS = ("tcp", "udp", "sctp")
LAST = 65535


def ports(key: str, values: list[str]) -> Ports:
    """What `publish` and `expose` name: PORT[-PORT][/PROTOCOL]. Raises InvalidInput."""
    found: Ports = set()
    for value in values:
        span, _, protocol = value.partition("/")
        first, dash, last = span.partition("-")
        ends = [
            int(end) if end.isascii() and end.isdigit() and len(end) < 6 else -1
            for end in (first, last if dash else first)
        ]
        if not 0 < ends[0] <= ends[1] <= LAST or (protocol or "tcp") not in PROTOCOLS:
            raise InvalidInput(
                f"invalid filter '{key}={brief(value, 60)}'",
                hint="PORT[-PORT][/PROTOCOL]",
            )
        found.update((port, protocol or "tcp") for port in range(ends[0], ends[1] + 1))
    return found


def has_ports(record: Record, published: Ports, exposed: Ports) -> bool:
    """Whether a container has one of the ports, as Docker counts them: those of its networks."""
    for key, bindings in (record["NetworkSettings"].get("Ports") or {}).items():
        inside, _, protocol = key.partition("/")
        if (int(inside), protocol) in exposed:
            return True
        if any((int(binding["HostPort"] or 0), protocol) in published for binding in bindings or ()):
            return True
    return False


def between(engine: Engine, ids: list[str], filters: dict[str, list[str]]) -> set[str]:
    """Of `ids`, the newest first, those that were made before one container and since another. Raises
    NotFound."""
    first, last = 0, len(ids)
    for ref in filters.get("before", ()):
        first = max(first, _place(engine, ids, ref) + 1)
    for ref in filters.get("since", ()):
        last = min(last, _place(engine, ids, ref))
    return set(ids[first:last])


def _place(engine: Engine, ids: list[str], ref: str) -> int:
    found = lookup.resolve(engine, ref)["Id"]
    return ids.index(found) if found in ids else len(ids)
