"""A container's id, lock, cgroup and init, made by its monitor before anybody asked for it.

A Python program that runs one container after the other finds the next one half started
(engine/launch/reserve.py). What is there is what there is of a container that is being made: a run folder
whose lock is held, and a cgroup. So who sweeps has nothing to learn: with the lock free, both go. Init ends
by itself when its parent has gone.
"""

from __future__ import annotations

import os
import select

from estiva import fastjson
from estiva.engine.monitor.rootfs import rootfs_of
from estiva.engine.state import cgroup, locks, teardown
from estiva.files import write_all
from estiva.runtime import sync
from estiva.runtime.cgroup import Cgroup, factory
from estiva.runtime.launch import standby
from estiva.runtime.launch.plan import Plan as LaunchPlan
from estiva.runtime.launch.plan import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from estiva.engine.state.types import Plan
    from estiva.runtime.launch.clone import Init


NO_FILTER = b"-"


class Reservation:
    """What is made for the next container like that of `plan`. Raises EstivaError, OSError, Unusual."""

    def __init__(self, plan: Plan) -> None:
        found = standby.offer(plan["config"])
        if found is None or {"sharing", "mounted", "memory"} & plan.keys() or plan["cgroup_parent"]:
            raise Unusual
        self.standby = found
        self.where = teardown.paths(plan)
        self.id = os.urandom(32).hex()
        self.hold = locks.take(self.where, self.id, new=True)
        self.cgroup: Cgroup | None = None
        self.init: Init | None = None
        try:
            path = cgroup.cgroup_path(self.id)
            self.cgroup = factory.create(path, plan["config"]["linux"]["resources"])
            self.init = found.clone(self.cgroup, lambda channel: self._order(channel, plan))
            self.init.ready()
        except BaseException:
            self.discard()
            self.leave()
            raise

    def fits(self, plan: Plan) -> bool:
        """Whether the container of `plan`, which has our id, can be had from it."""
        odd = {"sharing", "mounted", "memory"} & plan.keys()
        return not odd and self.standby.fits(plan["config"]) and self.waits()

    def waits(self, channel: socket | None = None, seconds: float = 0) -> bool:
        """Whether init is there still, after so many seconds or when there is something in `channel`."""
        assert self.init is not None
        poll = select.poll()
        poll.register(self.init.pidfd, select.POLLIN)
        if channel is not None:
            poll.register(channel.fileno(), select.POLLIN)
        return self.init.pidfd not in dict(poll.poll(int(seconds * 1000)))

    def order(self, plan: Plan, stdio: tuple[int, int, int], bpf: bytes | None) -> None:
        """Send init on its way: from here on it is like one of `container.create`."""
        assert self.init is not None
        memory = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            write_all(memory, fastjson.dumps(plan).encode())
            self.init.order(bpf or NO_FILTER, (memory, *stdio))
        finally:
            os.close(memory)

    def _order(self, channel: sync.Channel, likely: Plan) -> LaunchPlan:
        """In init: wait for what `order` sends. A likely plan goes first, so that memory is there for it."""
        self._plan(likely, (-1, -1, -1), None)
        channel.send(sync.READY)
        bpf, (memory, *stdio) = channel.take_order()
        plan = fastjson.loads(os.pread(memory, os.fstat(memory).st_size, 0), what="the plan")
        return self._plan(plan, (stdio[0], stdio[1], stdio[2]), bpf if bpf != NO_FILTER else None)

    def _plan(self, plan: Plan, stdio: tuple[int, int, int], bpf: bytes | None) -> LaunchPlan:
        process = Process(plan["config"]["process"], stdio=stdio, bpf=bpf, idle=plan["init"])
        return LaunchPlan(plan["config"], rootfs_of(plan), process, cgroup=self.cgroup, init=plan["init"])

    def discard(self) -> None:
        """End init and remove the cgroup: as far as they are still ours."""
        if self.init is not None:
            self.init.close()
            self.init = None
        if self.cgroup is not None:
            teardown.end(self.cgroup)
            self.cgroup = None

    def undo(self) -> None:
        """Of one whose id and lock the program has had: it, too, may have made something before it went."""
        self.discard()
        teardown.undo(self.where, self.id)
        os.close(self.hold)

    def leave(self) -> None:
        """Remove the run folder, and the lock goes: for one whose id nobody knows."""
        locks.leave(self.where, self.id)
        os.close(self.hold)


class Unusual(Exception):
    """Nothing can be made in advance for such containers."""
