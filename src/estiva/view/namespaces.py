"""The namespaces of a container: with whom each is shared, and how it differs from the host's."""

from __future__ import annotations

import os

from estiva.engine.state import runstate
from estiva.errors import EstivaError
from estiva.linux.namespace import NAMESPACES
from estiva.speech import count, say
from estiva.view.seen import Seen, clean, number
from estiva.view.shapes import Mapping, Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping as Table

    from estiva.engine import Engine
    from estiva.engine.state.types import RunState

MOST = 2000  # other containers that are looked at
NAMED = 20  # of those that share one


def gather(engine: Engine, live: RunState, init: Seen, facts: Table[str, str]) -> tuple[Namespace, ...]:
    """`facts` says of a kind, in words, what it has that the host's has not. Raises OSError."""
    ids = {kind: init.namespace(name) for kind, (_, name) in NAMESPACES.items()}
    hosts = {kind: _own(name) for kind, (_, name) in NAMESPACES.items()}
    private = [kind for kind in ids if ids[kind] and ids[kind] != hosts[kind]]
    shared = _shared(engine, live, ids, private)
    return tuple(
        Namespace(
            kind=kind,
            id=ids[kind],
            host=ids[kind] == hosts[kind],
            shared=tuple(shared.get(kind, ())),
            differs=say("it is the host's") if ids[kind] == hosts[kind] else facts.get(kind, ""),
        )
        for kind in NAMESPACES
        if ids[kind]
    )


def _own(name: str) -> int:
    """The number of our own: what is the host to a container."""
    try:
        return number(os.readlink(f"/proc/self/ns/{name}"))
    except OSError:
        return 0


def _shared(engine: Engine, live: RunState, ids: dict[str, int], private: list[str]) -> dict[str, list[str]]:
    """By kind, the names of other containers that are in the same one."""
    found: dict[str, list[str]] = {}
    try:
        others = sorted(os.listdir(engine.paths.run_containers))[:MOST]
    except OSError:
        return found
    for other in others:
        if other == live["id"]:
            continue
        try:
            state = runstate.read(engine.paths, other)
            if state is None:
                continue
            with Seen(state["pid"]) as seen:
                same = [kind for kind in private if seen.namespace(NAMESPACES[kind][1]) == ids[kind]]
        except (OSError, EstivaError):
            continue  # it has ended, or is damaged: its own anatomy tells
        for kind in same:
            if len(found.setdefault(kind, [])) < NAMED:
                found[kind].append(clean(state.get("name") or other[:12], 80))
    return found


def facts(
    init: Seen,
    processes: int,
    mounts: int,
    hostname: str,
    interfaces: tuple[str, ...],
    users: tuple[Mapping, ...],
    cgroup: str,
) -> dict[str, str]:
    """What is to be said of each kind."""
    told = {
        "pid": say("its first process is 1; the host's others can't be seen")
        + ": "
        + count(processes, "{n} process", "{n} processes"),
        "mount": say("its own root filesystem") + ", " + count(mounts, "{n} mount", "{n} mounts"),
        "network": say("its own interfaces: {names}", names=", ".join(interfaces) or say("none")),
        "uts": say("the hostname {name}", name=hostname or "?"),
        "ipc": say("its own shared memory, semaphores and message queues"),
        "cgroup": say("its root is {path}", path=clean(cgroup)),
    }
    if users:
        root = next((m.outside for m in users if m.inside == 0), None)
        if root is None:
            told["user"] = say("ids are mapped, and it has no root")
        else:
            told["user"] = say("its root is user {uid} of the host", uid=root)
    try:
        offsets = " ".join(init.read("timens_offsets").split())
    except OSError:
        offsets = ""
    told["time"] = say("its own clocks: {offsets}", offsets=clean(offsets, 80))
    return told
