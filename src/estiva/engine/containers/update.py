"""`update`: other limits for a container, in its cgroup at once if it runs, and for all its later runs."""

from __future__ import annotations

import time

from estiva import fastjson
from estiva.engine.spec import judge, resources
from estiva.engine.state import eventlog, gate, locks, lookup, runstate
from estiva.engine.state.life import halted
from estiva.errors import Conflict, EstivaError, InvalidInput, LimitRefused, NotFound
from estiva.runtime.cgroup import factory
from estiva.runtime.cgroup.control import size
from estiva.runtime.cgroup.rollback import Snapshot
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.config_types import HostConfig, RestartPolicy
    from estiva.engine.state.types import Record, RunState

# what can be changed, and the part of linux.resources that it is in
KEYS = {
    "Memory": "memory",
    "MemorySwap": "memory",
    "MemoryReservation": "memory",
    "KernelMemory": "memory",
    "NanoCpus": "cpu",
    "CpuPeriod": "cpu",
    "CpuQuota": "cpu",
    "CpuShares": "cpu",
    "CpuRealtimePeriod": "cpu",
    "CpuRealtimeRuntime": "cpu",
    "CpusetCpus": "cpu",
    "CpusetMems": "cpu",
    "PidsLimit": "pids",
    "BlkioWeight": "blockIO",
}


def update(engine: Engine, ref: str, changes: dict[str, Any]) -> list[str]:
    """Change limits of a container: keys of HostConfig, 0 for those that stay. Warnings for the user.

    When one is refused, none is changed. Raises NotFound, InvalidInput, Conflict, LimitRefused.
    """
    policy = judge.check_update(changes).get("RestartPolicy")
    wanted: Any = {key: value for key, value in changes.items() if value and key in KEYS}
    unknown = [key for key in changes if key not in KEYS and key != "RestartPolicy"]
    if unknown:
        raise InvalidInput(f"{unknown[0]} can't be changed")
    if not wanted and not policy:
        raise InvalidInput("you must provide one or more flags when using this command")
    while True:
        record = lookup.resolve(engine, ref)
        if record["HostConfig"].get("Profile") and policy and policy["Name"] != "no":
            raise Conflict(f"--restart can't be used with --profile {record['HostConfig']['Profile']}")
        if record["State"]["Restarting"]:
            changed = _change_waiting(engine, record["Id"], wanted, policy)
            if changed is not None:
                return changed
        running = record["State"]["Running"]
        live = runstate.read(engine.paths, record["Id"]) if running else None
        if running and live is None:
            time.sleep(lookup.LOOK_AGAIN)  # it is being started
            continue
        if running:
            return _change(engine, record["Id"], wanted, policy, live)
        try:
            lock = locks.take(engine.paths, record["Id"])  # so that it is not started meanwhile
        except BlockingIOError:
            halted.refuse(engine.paths, record["Id"], ref)
            time.sleep(lookup.LOOK_AGAIN)
            continue
        try:
            return _change(engine, record["Id"], wanted, policy, None)
        finally:
            locks.let_go(engine.paths, record["Id"], lock)


def _change_waiting(
    engine: Engine, container_id: str, wanted: HostConfig, policy: RestartPolicy | None
) -> list[str] | None:
    """Of one that waits for its next run, which begins with what is written here; None where it does not."""
    try:
        with gate.Reading(engine.paths.container(container_id)):
            if containers.waits(engine.db, container_id):
                return _change(engine, container_id, wanted, policy, None)
    except FileNotFoundError:
        pass  # it is being removed
    return None


def _change(
    engine: Engine,
    container_id: str,
    wanted: HostConfig,
    policy: RestartPolicy | None,
    live: RunState | None,
) -> list[str]:
    """The limits first, which may take a while, then the record. Where that has been changed meanwhile, all
    again: of two updates the second sees what the first has made.
    """
    text, changed = "", ""
    warnings: list[str] = []
    while True:
        with engine.db.write() as transaction:
            row = containers.get(transaction, container_id)
            if row is None:
                raise NotFound(f"no such container: {container_id[:12]}")
            if row[2] == text:
                containers.set_record(transaction, container_id, changed)
                eventlog.container(engine.paths, fastjson.loads(changed), "update")
                return warnings
        text = row[2]
        record: Record = fastjson.stored(text, what=f"the record of container {container_id[:12]}")
        new = merge(record["HostConfig"], wanted)
        resources.check(new)
        warnings = resources.warnings(new)
        if policy:
            if new.get("AutoRemove") and policy.get("Name") not in (None, "", "no"):
                raise Conflict(
                    "restart policy cannot be updated because AutoRemove is enabled for the container"
                )
            new["RestartPolicy"] = policy
        if live is not None and wanted and (locks.runs(engine.paths, live) or not changed):
            _apply(live, new, {KEYS[key] for key in wanted})
        record["HostConfig"] = new
        changed = fastjson.dumps(record)


def merge(old: HostConfig, wanted: HostConfig) -> HostConfig:
    """The HostConfig after an update, by the rules of Docker's daemon. Raises Conflict."""
    if wanted.get("NanoCpus", 0) and (old.get("CpuPeriod") or old.get("CpuQuota")):
        raise Conflict("conflicting options: nano cpus cannot be updated as cpu period or quota has been set")
    if old.get("NanoCpus"):
        for key, what in (("CpuPeriod", "cpu period"), ("CpuQuota", "cpu quota")):
            if wanted.get(key):
                raise Conflict(f"conflicting options: {what} cannot be updated as nano cpus has been set")
    memory, swap = wanted.get("Memory") or 0, wanted.get("MemorySwap") or 0
    stands = old.get("MemorySwap") or 2 * (old.get("Memory") or 0)
    if memory and not swap and 0 < stands < memory:
        raise Conflict(
            "memory limit should be smaller than already set memoryswap limit, update the memoryswap at the"
            " same time",
            hint="add --memory-swap",
        )
    new: HostConfig = {**old, **wanted}
    if memory and not swap and stands:
        new["MemorySwap"] = stands
    return new


def _apply(live: RunState, new: HostConfig, parts: set[str]) -> None:
    """Write the changed parts to the cgroup; all is as before when one is refused."""
    group = factory.open(live["cgroup"])
    after = resources.oci(new)
    limit = (after.get("memory") or {}).get("limit") or 0
    if "memory" in parts and limit > 0:
        memory = group.stats()["memory"]
        # what the kernel can't drop: on v2 it would make room by killing
        used = memory["usage"] - memory["cache"] + memory["shared"]
        if used > limit:
            raise LimitRefused(f"memory limit {size(limit)} is refused: {size(used)} are in use")
    held = Snapshot(group)
    try:
        group.update({part: after[part] for part in parts if part in after})
    except EstivaError:
        held.restore()
        raise
