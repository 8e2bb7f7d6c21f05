"""The monitor: the parent of one container's init, from before its first instruction to after its last.

    1  own session, no signals of the terminal's, only the fds that it needs
    2  cgroup with its limits
    3  init cloned (runtime/launch/container.py); it builds its rootfs while we ...
    4  ... plug in the network
    5  ports published; init ready: its root is the container's; run state written, so that exec, cp and ps
       find it
    6  init executes the command; the caller hears "started"
    7  streams copied, log written, signals and sizes passed on, until init ends
    8  what is left is killed; cgroup, network, run state go; the row is updated, or all is removed (--rm)
    9  the caller hears "exited"

It holds an flock on the container's run folder from before 1 until it dies, however it dies: that lock is
what "running" means (engine/state/teardown.py). Killed itself, it leaves init to be found and ended by the
next sweep.
"""

from __future__ import annotations

import _signal
import os
import time
from _socket import socket

from estiva import fastjson
from estiva.engine.monitor import events
from estiva.engine.monitor.logs import log
from estiva.engine.monitor.network import endpoint
from estiva.engine.monitor.protocol import AGENT, encode_error
from estiva.engine.monitor.rootfs import rootfs_of
from estiva.engine.monitor.seccomp import seccomp_filter
from estiva.engine.monitor.streams import Conversation
from estiva.engine.state import cgroup, eventlog, locks, names, teardown
from estiva.errors import EstivaError, Unavailable
from estiva.runtime.cgroup import Cgroup, factory
from estiva.runtime.launch import container
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine.monitor.logs.outlet import Both
    from estiva.engine.monitor.reservation import Reservation
    from estiva.engine.state.logs.logfile import Writer
    from estiva.engine.state.types import Outcome, Plan, State
    from estiva.network.dns.handover import Names
    from estiva.network.types import Settings
    from estiva.runtime.launch.clone import Init

QUIET = 300  # milliseconds without an event after which a detached container's monitor hibernates
ATTENDED = 10_000  # milliseconds until it is tried again while somebody is attached
DRAIN = 2000  # milliseconds to wait for output that is still in the pipes after the end


class Monitor:
    def __init__(
        self,
        plan: Plan,
        channel: socket | None,
        stdio: tuple[int, int, int],
        hold: int,
        reservation: Reservation | None = None,
        program: int = -1,
    ) -> None:
        self.plan = plan
        self.reservation = reservation
        self.hold, self.bound = hold, plan.get("bound", False)
        self.streams = Conversation(stdio, channel, bound=self.bound or plan["ephemeral"], program=program)
        self.streams.limit(plan.get("limits"))
        self.streams.resized = lambda rows, columns: events.resized(plan, rows, columns)
        self.cgroup: Cgroup | None = None
        self.init: Init | None = None
        self.endpoint: Any = None
        self.names: Names | None = None  # its name server's sockets
        self.log: Writer | Both | None = None
        self.started, self.began = "", 0  # as text, and in nanoseconds
        self.delay: float | None = None  # seconds after which it is to be started again
        self.mounted: dict[str, int] = {}  # detached mounts for bind mounts, by destination
        self.guests: list[int] = []  # sockets of who is attached from the start
        self.mounts = -1  # an fd that keeps the container's mounts until the caller has been told of its end
        self.root: tuple[int, int] | None = None  # with a user namespace: the host's ids of its root

    def start(self) -> None:
        """Steps 2 to 6. Raises the error that keeps the command from running."""
        plan = self.plan
        config = plan["config"]
        terminal = config["process"]["terminal"]
        self.take_place()
        bpf = seccomp_filter(plan)
        rootfs = rootfs_of(plan)
        shared = None
        if "sharing" in plan:
            from estiva.engine.monitor.namespaces import Joined

            shared = Joined(plan, rootfs)
            self.root = shared.root
        self.log = log.open(plan, new=True)
        self.streams.outlet = self.log.outlet if self.log else None
        out, err = (self.log.stream("stdout"), self.log.stream("stderr")) if self.log else (None, None)
        ends = (0, 1, 2) if terminal else self.streams.pipes(plan["stdin"], (out, err))
        hooks = None
        if "hooks" in config:
            from estiva.engine.monitor import hooks as hooking

            hooks = hooking.prepare(plan)
        if shared is not None and not terminal:
            shared.own(ends)
        if "memory" in plan:
            from estiva.engine.monitor import revive

            self.init = revive.revive(self, rootfs, ends)
        elif self.reservation is not None:
            self.reservation.order(plan, ends, bpf)
        else:
            self.init = container.create(
                config,
                rootfs,
                id=plan["id"],
                cgroup=self.cgroup,
                stdio=ends,
                bpf=bpf,
                init=plan["init"],
                hooks=hooks,
                mounted={**self.mounted, **(shared.mounted if shared is not None else {})},
                agent=self.mounted.get(AGENT, -1),
            )
        assert self.init is not None
        self.streams.kill = self.unfreeze
        if shared is not None:
            shared.close()
        for fd in () if terminal else ends:
            os.close(fd)
        try:
            if "memory" not in plan:
                self.connect()
        except BaseException:
            self.init.ready()  # when init has failed, its netns has gone: its own error tells why
            raise
        if not plan["detach"]:
            teardown.database(plan).open()  # while init builds its rootfs
        endpoint.publish(plan, self.endpoint, self.init.pidfd)
        if hooks is None and not terminal:
            self.init.go()
        self.init.ready()
        self.write_state()  # not before: who enters init's mount namespace then, is in the host's tree
        while self.mounted:  # among them locks of volumes, which others find by the run state
            os.close(self.mounted.popitem()[1])
        self.keep_mounts()
        if terminal:
            self.streams.console(self.init.console, plan["stdin"], out, plan.get("detach_keys", ""))
        if self.guests:
            self.seat()
        self.init.start()
        if hooks is not None:
            hooking.run(plan, "poststart", self.init.pid)
        if plan["name"]:
            names.link_name(plan["run_root"], plan["name"], plan["id"])
        events.started(teardown.paths(plan), plan)
        self.streams.say({"event": "started", "pid": self.init.pid})

    def take_place(self) -> None:
        """Step 2, or what was made ahead for one like it."""
        plan = self.plan
        if self.reservation is not None and not self.reservation.fits(plan):
            self.reservation.discard()
            self.reservation = None
        if self.reservation is not None:
            self.cgroup, self.init = self.reservation.cgroup, self.reservation.init
        else:
            path = cgroup.cgroup_path(plan["id"], plan["cgroup_parent"])
            self.cgroup = factory.create(path, plan["config"]["linux"]["resources"])

    def connect(self) -> None:
        """Step 4; with a name server, before the command can ask it."""
        assert self.init is not None
        self.endpoint = endpoint.connect(self.plan, self.init.pid)
        if "names" in self.plan:
            from estiva.engine.monitor.network import own

            self.names = own.serve_names(self.plan, self.init.pid, self.init.pidfd)

    def keep_mounts(self) -> None:
        """Taking its mounts down is half of what the kernel does at a container's end, and would come before
        we hear of it. Not where others could be waiting for a place on the host that is mounted in it."""
        assert self.init is not None
        if self.removes and not teardown.binds_the_host(self.plan):
            try:
                self.mounts = os.open(f"/proc/{self.init.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                pass  # we may not; or it has ended already

    def drop_mounts(self) -> None:
        if self.mounts >= 0:
            os.close(self.mounts)
            self.mounts = -1

    def write_state(self) -> None:
        self.began = time.time_ns()
        self.started = rfc3339(self.began)
        events.write_state(self)

    def supervise(self, quiet: int, hibernate: Callable[[Monitor], object]) -> None:
        """Step 7: until init has ended and its output is read. After `quiet` ms a detached one is to
        `hibernate` (frozen.py)."""
        assert self.init is not None and self.cgroup is not None
        if self.plan["detach"]:
            self.streams.hang_up()  # it has been told; nobody listens any more
        if self.streams.audience is None and not self.plan["ephemeral"]:
            self.seat()  # once the command runs
        if "health" in self.plan and self.streams.health is None:
            from estiva.engine.monitor.life import health

            self.streams.health = health.Health(self.plan, self.streams.signal)
        if "memory" in self.plan["config"]["linux"]["resources"] and self.streams.memory is None:
            from estiva.engine.monitor.life import memory

            self.streams.memory = memory.Memory(self.plan, self.cgroup)
            self.streams.memory.look(False)  # the command has run for a moment already
        # The interpreter can't be written to while this process runs it, whatever fd of it a container that
        # may trace has got hold of (K4)
        bounding = (self.plan["config"]["process"].get("capabilities") or {}).get("bounding") or ()
        if self.plan["detach"] and "CAP_SYS_PTRACE" not in bounding and "limits" not in self.plan:
            self.streams.idle = (quiet, lambda: self.hibernate(hibernate))
        self.streams.named = self.named
        if self.names is not None:
            self.names.watch(self.streams.beside)
        # what is left in a pid namespace ends with its init
        alone = {"type": "pid"} in self.plan["config"]["linux"]["namespaces"]
        self.streams.run(self.init, DRAIN, (lambda: None) if alone else self.cgroup.kill)

    def seat(self) -> None:
        """Let others attach; those who are there already hear all that the command says."""
        from estiva.engine.monitor import audience

        listening = audience.listen(f"{self.plan['run_root']}/containers/{self.plan['id']}")
        if listening is not None:
            self.streams.audience = audience.Audience(listening, self.streams.hear, self.guests)
            self.guests = []

    def named(self, settings: Settings) -> None:
        """It has joined a network with a name server while it runs. Where that fails, it goes on without."""
        if self.names is None and self.init is not None:
            from estiva.engine.monitor.network import own

            self.plan["names"] = settings
            try:
                self.names = own.serve_names(self.plan, self.init.pid, self.init.pidfd)
            except EstivaError:
                return
            self.names.watch(self.streams.beside)

    def unfreeze(self) -> None:
        """What is frozen can't die."""
        if self.cgroup is not None and self.cgroup.frozen():
            self.cgroup.thaw()

    def hibernate(self, hibernate: Callable[[Monitor], object]) -> None:
        outlet, audience = self.streams.outlet, self.streams.audience
        if (audience is not None and audience.clients) or (outlet is not None and outlet.queue):
            self.streams.idle = (ATTENDED, lambda: self.hibernate(hibernate))  # later
        elif self.streams.health is not None and self.streams.health.busy():
            self.streams.idle = (self.streams.health.busy(), lambda: self.hibernate(hibernate))
        else:
            hibernate(self)

    def finish(self) -> None:
        """Steps 8 and 9."""
        assert self.init is not None and self.cgroup is not None
        forced = self.streams.health is not None and self.streams.health.close()
        if self.names is not None:
            self.names.close()  # at once: a socket keeps the network namespace, and what is plugged in
        status = os.waitstatus_to_exitcode(self.init.wait())
        code = 128 - status if status < 0 else status
        oom = self.cgroup.oom_kills()
        told: Outcome = {"event": "exited", "status": code, "oom": oom > 0, "problem": ""}
        told["exit"] = {"Status": code, "Meaning": ""}
        if not self.plan["ephemeral"] and (code or oom or not self.removes):  # else nobody asks
            from estiva.engine.monitor.life import death

            told["exit"] = death.certify(self.plan, self.cgroup, status, oom, self.began, self.streams.sent)
        if self.log is not None:
            self.log.close()
        left = self.leave_status(code)
        memory = self.streams.memory  # what has been told is not told again
        said = events.ended(
            self.plan, told["exit"], memory.happened(False) if memory else oom > 0, self.began
        )
        self.plan["auto_remove"] |= self.bound and self.streams.ended_by_caller
        try:
            if self.removes:
                self.remove(told, said)
                return
            teardown.release(self.plan, self.cgroup, self.endpoint)
            self.after()
            how: State = {"ExitCode": code, "OOMKilled": oom > 0, "StartedAt": self.started, "Error": ""}
            how["Exit"] = told["exit"]
            self.delay = teardown.settle(self.plan, how, said=said, may=not self.bound, forced=forced)
            if self.delay is not None:
                from estiva.engine.state.life import restarts

                restarts.begin(teardown.paths(self.plan), self.plan["id"], self.hold)
        except Exception as error:  # the exit status must reach the caller even so; a sweep finishes the rest
            told["problem"] = f"{type(error).__name__}: {error}"
            self.drop_mounts()
        if not left:
            self.leave_status(code)  # there may be room now
        self.streams.say(told)
        if self.bound and not self.plan["auto_remove"]:
            self.linger()

    def leave_status(self, code: int) -> bool:
        """For those in `wait`. False where the disk is too full for that."""
        try:
            os.pwrite(self.hold, b"%d" % code, 0)
            return True
        except OSError:
            return False

    def linger(self) -> None:
        """Of a bound container that ended by itself: it can be looked at until its caller has gone, or asks
        for its end; then it is removed. One that others have started again meanwhile is theirs."""
        self.hold = locks.linger(teardown.paths(self.plan), self.plan["id"], self.hold)
        self.streams.await_caller()
        teardown.remove_ended(teardown.paths(self.plan), teardown.database(self.plan), self.plan["id"])
        self.streams.say({"event": "removed"})

    @property
    def removes(self) -> bool:
        """Whether all of the container goes with its end (--rm), by `remove`."""
        plan = self.plan
        return plan["auto_remove"] and not plan["ephemeral"] and "hooks" not in plan["config"]

    def remove(self, told: Outcome, said: list[str]) -> None:
        """The caller hears that it has ended once nobody finds it any more, and need not wait for its cgroup,
        mounts and files to go. The lock is held until then, so that who sweeps leaves that to us."""
        assert self.cgroup is not None
        plan, where = self.plan, teardown.paths(self.plan)
        teardown.disconnect(plan, self.endpoint)
        try:
            volumes = teardown.forget_rows(where, teardown.database(plan), plan["id"])
        except Unavailable:  # the disk is full, and what it has written is only free without its mounts
            self.drop_mounts()
            volumes = teardown.forget_rows(where, teardown.database(plan), plan["id"])
        eventlog.append(where, *said, *eventlog.removed(plan["id"], plan.get("about", {}), volumes))
        self.streams.say(told)
        if self.bound:
            self.streams.say({"event": "removed"})
        teardown.unlink_names(plan)
        self.drop_mounts()
        teardown.end(self.cgroup)
        teardown.forget_files(where, plan["id"], volumes)
        locks.leave(where, plan["id"])

    def close(self) -> bool:
        """Close all fds. False for what was out of the ordinary: the process is to end then."""
        assert self.init is not None
        plan = self.plan
        if "sharing" in plan or "hooks" in plan["config"] or plan["config"]["process"]["terminal"]:
            return False
        self.init.close()
        if self.hold >= 0:
            os.close(self.hold)
        for port in self.endpoint.sockets if self.endpoint is not None else ():
            port.close()
        return self.streams.close()

    def after(self) -> None:
        """The poststop hooks: nothing is left but the run folder."""
        if "hooks" in self.plan["config"]:
            from estiva.engine.monitor import hooks as hooking

            hooking.run(self.plan, "poststop", 0)

    def abandon(self, error: BaseException) -> None:
        """A start that failed: nothing stays but a created container, with the error in its record."""
        if self.init is not None:
            try:
                self.init.signal(_signal.SIGKILL)
                self.init.wait()
            except (OSError, ChildProcessError):
                pass
        told: Outcome = fastjson.loads(encode_error(error))
        self.plan["auto_remove"] |= self.bound
        try:
            teardown.release(self.plan, self.cgroup, self.endpoint)
            self.after()
            from estiva.engine.monitor.life import death

            death.unstarted(self.plan, error, told, self.began)
        finally:
            self.streams.say(told)
