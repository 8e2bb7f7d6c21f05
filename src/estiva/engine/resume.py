"""`system resume`: what containers ask for by their restart policies is so again, after a reboot or when
their monitors were killed.

As with Docker, when its daemon starts: those of policy `always` run, those of `unless-stopped` that nobody
has stopped, and those of `on-failure` that ended with another status than 0, as by a power cut, and have
tries left. One that has never been started is left.
"""

from __future__ import annotations

from estiva.engine.containers import start, tasks
from estiva.engine.state import lookup
from estiva.engine.state import record as records
from estiva.engine.state.life import restarts
from estiva.errors import EstivaError
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiva.engine import Engine
    from estiva.engine.state.types import Record

STARTS = 8  # at once
MODES = ("NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode")


def resume(engine: Engine) -> Iterator[tuple[str, EstivaError | None]]:
    """Start them, side by side, each after those that it needs: their names, with the error of each that
    could not be started or read.
    """
    wanted: list[Record] = []
    for row in containers.every(engine.db):
        try:
            container_id, status, _ = lookup.settled(engine, *row)
            stored = containers.get(engine.db, container_id) if status else None
            if stored is not None and asks(record := records.sound(container_id, stored[2]), status):
                wanted.append(record)
        except EstivaError as error:
            yield row[0][:12], error
    wanted.reverse()  # the oldest first
    names = [record["Name"].removeprefix("/") for record in wanted]
    ended: set[str] = set()
    gate = tasks.Gate(STARTS)

    def one(record: Record, needed: set[str]) -> Iterator[None]:
        try:
            while not needed <= ended:
                yield
            yield from gate.through(start.starting(engine, record["Id"]))
        finally:
            ended.add(record["Id"])

    work = [one(record, needs) for record, needs in zip(wanted, order(wanted), strict=True)]
    yield from zip(names, tasks.together(work), strict=True)


def asks(record: Record, status: str) -> bool:
    """Whether a container that does not run is to do so."""
    before = status == "exited" and records.has_run(record)
    return before and (restarts.policy(record) == "always" or restarts.wanted(record))


def order(wanted: list[Record]) -> list[set[str]]:
    """For each of them, the ids of those among them that have to run before it: whose namespaces it joins,
    and to which it has links. Who needs itself, by whatever way, waits for nobody: its start tells.
    """
    ids = {record["Name"].removeprefix("/"): record["Id"] for record in wanted}
    needs: dict[str, set[str]] = {}
    for record in wanted:
        host = record["HostConfig"]
        modes = [str(host.get(key) or "") for key in MODES]
        names = [mode.removeprefix("container:") for mode in modes if mode.startswith("container:")]
        links = host.get("Links") or ()
        names += [link.partition(":")[0].removeprefix("/") for link in links]
        found = {ids.get(name) or _beginning(ids, name) for name in names}
        needs[record["Id"]] = found - {"", record["Id"]}

    return [set() if _reaches(needs, record["Id"]) else needs[record["Id"]] for record in wanted]


def _reaches(needs: dict[str, set[str]], one: str) -> bool:
    """Whether one of them needs itself."""
    seen: set[str] = set()
    left = set(needs[one])
    while left:
        other = left.pop()
        if other == one:
            return True
        if other not in seen:
            seen.add(other)
            left |= needs[other]
    return False


def _beginning(ids: dict[str, str], start: str) -> str:
    return next(
        (container_id for container_id in ids.values() if start and container_id.startswith(start)), ""
    )
