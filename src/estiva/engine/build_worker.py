"""A builder's RUN: one command in a container over a snapshot, gone when it ends."""

from __future__ import annotations

import os

from estiva.engine.launch import launch, plan
from estiva.engine.state import locks, record, teardown
from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.request import Step
    from estiva.engine import Engine

CHUNK = 1 << 16


def run_step(engine: Engine, step: Step) -> int:
    """Run `step` to its end; its exit status, 128+n for a signal. Output goes to step.output as it comes.

    Raises CommandNotFound and what else keeps it from starting.
    """
    container_id = os.urandom(32).hex()
    mode = "bridge" if step.network in ("", "default") else step.network
    made = record.new(
        container_id,
        "",
        None,
        {"Image": "", "Cmd": step.argv, "Env": step.env, "User": step.user, "WorkingDir": step.cwd},
        {"NetworkMode": mode, "Privileged": step.privileged, "LogConfig": {"Type": "none"}},
        [],
    )
    lock = locks.take(engine.paths, container_id, new=True)
    launched = None
    reader, writer = os.pipe()
    try:
        address = ""
        if mode == "bridge":
            from estiva.network import ipam

            with engine.db.write() as transaction:
                address = ipam.reserve_in(transaction, container_id)
        snapshot = step.snapshot
        lowerdirs = snapshot.lowerdirs()
        wanted = plan.make_in(
            engine,
            made,
            list(lowerdirs),
            address,
            engine.paths.run_container(container_id),
            snapshot.upper,
            snapshot.work,
            step.mounts,
        )
        wanted["ephemeral"] = True
        launched = launch.launch(engine, wanted, (-1, writer, writer), lock, step.mounted)
        launched.lowerdirs = lowerdirs
        os.close(writer)
        writer = -1
        launched.started()
        while data := os.read(reader, CHUNK):
            step.output(data)
        outcome = launched.wait()
        if outcome["event"] == "lost":
            raise EngineError("the monitor of the build's container was killed")
        return int(outcome["status"])
    except BaseException:
        if launched is not None:
            launched.signal(9)
        raise
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
        os.close(lock)
        if launched is not None:
            locks.await_end(engine.paths, container_id)
            launched.close()
        if os.path.isdir(engine.paths.run_container(container_id)):  # no monitor came to its end
            teardown.reconcile(engine.paths, engine.db, container_id)
