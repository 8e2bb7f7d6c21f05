"""Execs that are made, and started later, maybe by another process (engine/state/execs.py has the files).

Their parent is a process of its own, which outlives who started them. Who hears them from the start is a
guest (engine/monitor/audience.py), by which input, sizes and output go.
"""

from __future__ import annotations

import os
import time

from estiva.engine.containers import attach
from estiva.engine.containers import exec as executing
from estiva.engine.state import eventlog, execs, runstate
from estiva.errors import Conflict, EstivaError, NotFound, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.engine import Engine
    from estiva.engine.state.execs import Asked, Standing
    from estiva.engine.state.types import ExecPlan

DIGITS = frozenset("0123456789abcdef")
SEATED = 10.0  # seconds that one which begins has until its size can be set


class Kept:
    """One of them, found."""

    def __init__(self, container_id: str, exec_id: str, folder: str, asked: Asked) -> None:
        self.container = container_id
        self.id = exec_id
        self.folder = folder
        self.asked = asked

    def standing(self) -> Standing:
        return execs.standing(self.folder)


def create(engine: Engine, ref: str, asked: Asked) -> str:
    """Its id. Raises NotFound, Conflict where the container does not run, InvalidInput."""
    exec_id = os.urandom(32).hex()
    wanted = _plan(engine, ref, asked, exec_id)
    try:
        execs.keep(engine.paths, wanted["id"], exec_id, asked)
    except FileNotFoundError:
        raise Conflict(f"container {wanted['id']} is not running") from None
    action = f"exec_create: {' '.join(asked['argv'])}"
    eventlog.write(engine.paths, "container", action, wanted["id"], wanted["events"]["about"])
    return exec_id


def find(engine: Engine, exec_id: str) -> Kept:
    """By the whole id. Raises NotFound."""
    paths = engine.paths
    if len(exec_id) == 64 and DIGITS.issuperset(exec_id):
        for name in os.listdir(paths.run_containers) if os.path.isdir(paths.run_containers) else ():
            folder = execs.folder(paths, name, exec_id)
            if not name.startswith(".") and os.path.exists(folder):
                try:
                    return Kept(name, exec_id, folder, execs.asked(folder))
                except FileNotFoundError:
                    break  # the container has ended just now
    raise NotFound(f"no such exec instance: {brief(exec_id, 80)}")


def unfinished(engine: Engine, container_id: str) -> list[str]:
    """The ids of a container's that have not ended."""
    paths = engine.paths
    return [
        name
        for name in execs.names(paths, container_id)
        if execs.standing(execs.folder(paths, container_id, name))["status"] is None
    ]


def start(engine: Engine, kept: Kept, guests: Sequence[int] = (), size: Sequence[int] = ()) -> None:
    """Start it; once. `guests` are sockets of who hears it, the caller's to close; `size` the rows and
    columns of its terminal.

    Raises Conflict where it has been started or the container does not run, or what kept the command from
    running.
    """
    wanted = _plan(engine, kept.container, kept.asked, kept.id)
    wanted["kept"] = kept.folder
    rows = list(size) or kept.asked["size"]
    if kept.asked["tty"] and rows:
        wanted["config"]["process"]["consoleSize"] = {"height": rows[0], "width": rows[1]}
    try:
        execs.begin(kept.folder)
    except FileNotFoundError:
        raise Conflict(f"container {kept.container} is not running") from None
    try:
        executing.seal(engine, wanted)
        launched = executing.launch(engine, wanted, (-1, -1, -1), guests)
        try:
            launched.started()
        finally:
            launched.close()
    except (OSError, EstivaError):
        execs.end(kept.folder, execs.NEVER_RAN)
        raise


def _plan(engine: Engine, ref: str, asked: Asked, exec_id: str) -> ExecPlan:
    wanted = executing.plan(
        engine,
        ref,
        asked["argv"],
        env=asked["env"],
        user=asked["user"],
        workdir=asked["workdir"],
        tty=asked["tty"],
        stdin=asked["stdin"],
        privileged=asked["privileged"],
    )
    wanted["events"]["about"] = {**wanted["events"]["about"], "execID": exec_id}
    return wanted


def resize(engine: Engine, kept: Kept, rows: int, columns: int) -> None:
    """The size of its terminal. Raises Conflict where it does not run."""
    until = time.monotonic() + SEATED
    while kept.standing()["running"] and runstate.read(engine.paths, kept.container) is not None:
        told = attach.resized(kept.folder, rows, columns)
        if told:
            return
        if told is False or time.monotonic() > until:
            break
        time.sleep(0.01)  # it is being started
    raise Conflict(f"exec {kept.id} is not running")
