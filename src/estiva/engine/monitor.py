"""The monitor: the parent of one container's init, from before its first instruction to after its last.

    1  own session, no signals of the terminal's, only the fds that it needs
    2  cgroup with its limits
    3  init cloned (runtime/container.py); it builds its rootfs while we ...
    4  ... plug in the network
    5  init ready: run state written, so that exec and ps find it
    6  init executes the command; the caller hears "started"
    7  streams copied, log written, signals and sizes passed on, until init ends
    8  what is left is killed; cgroup, network, run state go; the row is updated, or all is removed (--rm)
    9  the caller hears "exited"

It holds an flock on the container's run folder from before 1 until it dies, however it dies: that lock is
what
"running" means (engine/life.py). Killed itself, it leaves init to be found and ended by the next sweep.
"""

from __future__ import annotations

import _signal
import gc
import os

from estiva import fastjson
from estiva.engine import life
from estiva.engine.clock import rfc3339
from estiva.engine.launch import encode_error
from estiva.engine.logs import Writer
from estiva.engine.streams import Conversation
from estiva.linux import process
from estiva.runtime import container, security, state
from estiva.runtime.cgroup import Cgroup
from estiva.runtime.rootfs import Rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    from estiva.runtime.container import Init

DRAIN = 2000  # milliseconds to wait for output that is still in the pipes after the end


def seccomp_filter(plan: dict[str, Any]) -> bytes | None:
    """The BPF program of plan["seccomp"]: None, {} for the default profile, or {"profile": {...}}."""
    wanted = plan["seccomp"]
    if wanted is None:
        return None
    capabilities = plan["config"]["process"]["capabilities"]["bounding"]
    if "profile" in wanted:
        return security.profile_filter(wanted["profile"], capabilities, plan["cache"])
    return security.default_filter(capabilities, plan["cache"])


def main(plan: dict[str, Any], channel: socket, stdio: tuple[int, int, int], hold: int) -> None:
    """The whole life of one monitor; `plan` is made by engine/run.py. Errors before the start go to the
    caller.
    """
    gc.disable()
    os.chdir("/")
    keep = {channel.fileno(), hold, *(fd for fd in stdio if fd >= 0)}
    process.close_all_but(list(keep))
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        if fd not in keep:
            null = os.open("/dev/null", flags)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
    monitor = Monitor(plan, channel, stdio)
    try:
        monitor.start()
    except BaseException as error:
        monitor.abandon(error)
        return
    monitor.supervise()
    monitor.finish(hold)


class Monitor:
    def __init__(self, plan: dict[str, Any], channel: socket, stdio: tuple[int, int, int]) -> None:
        self.plan = plan
        self.streams = Conversation(stdio, channel, bound=plan["ephemeral"])
        self.cgroup: Cgroup | None = None
        self.init: Init | None = None
        self.endpoint: Any = None
        self.log: Writer | None = None
        self.started = ""

    def start(self) -> None:
        """Steps 2 to 6. Raises the error that keeps the command from running."""
        plan = self.plan
        config = plan["config"]
        terminal = config["process"]["terminal"]
        self.cgroup = Cgroup.create(life.cgroup_path(plan["id"]), config["linux"]["resources"])
        bpf = seccomp_filter(plan)
        rootfs = Rootfs(
            lowerdirs=plan["lowerdirs"],
            upper=plan["upper"],
            work=plan["work"],
            readonly=config["root"]["readonly"],
            options=[(key, value) for key, value in plan["overlay"]],
        )
        if plan["log"]:
            self.log = Writer(plan["log"])
        out, err = (self.log.stream("stdout"), self.log.stream("stderr")) if self.log else (None, None)
        ends = (0, 1, 2) if terminal else self.streams.pipes(plan["stdin"], (out, err))
        self.init = container.create(
            config, rootfs, id=plan["id"], cgroup=self.cgroup, stdio=ends, bpf=bpf, init=plan["init"]
        )
        for fd in () if terminal else ends:
            os.close(fd)
        try:
            self.connect()
        except BaseException:
            self.init.ready()  # when init has failed, its netns has gone: its own error tells why
            raise
        self.init.ready()
        if terminal:
            self.streams.console(self.init.console, plan["stdin"], out)
        self.write_state()
        self.init.start()
        self.streams.say({"event": "started", "pid": self.init.pid})

    def connect(self) -> None:
        """Step 4."""
        assert self.init is not None
        network = self.plan["network"]
        if network["mode"] == "bridge":
            from estiva.network import bridge

            self.endpoint = bridge.connect(
                life.database(self.plan),
                life.paths(self.plan),
                self.plan["id"],
                self.init.pid,
                ports=network["ports"],
                hostname=self.plan["name"],
                address=network["address"],
            )

    def write_state(self) -> None:
        assert self.init is not None and self.cgroup is not None
        plan = self.plan
        self.started = rfc3339()
        network: dict[str, Any] = {}
        if self.endpoint is not None:
            network = {
                "address": self.endpoint.ip,
                "prefix": self.endpoint.prefix,
                "gateway": self.endpoint.gateway,
                "mac": self.endpoint.mac,
                "ports": self.endpoint.ports,
            }
        run = f"{plan['run_root']}/containers/{plan['id']}"
        state.write(
            run,
            {
                "id": plan["id"],
                "name": plan["name"],
                "pid": self.init.pid,
                "start_time": process.start_time(self.init.pid),
                "monitor": os.getpid(),
                "started": self.started,
                "cgroup": self.cgroup.path,
                "process": plan["config"]["process"],
                "seccomp": plan["seccomp"],
                "network": network,
                "stop_signal": plan["stop_signal"],
            },
        )
        if plan["name"]:
            life.link_name(plan["run_root"], plan["name"], plan["id"])

    def supervise(self) -> None:
        """Step 7: until init has ended and its output is read."""
        assert self.init is not None and self.cgroup is not None
        if all(fd < 0 for fd in self.streams.stdio):
            process.trim_memory()  # it may sleep for days
        else:
            life.database(self.plan).open()  # while the container works
        # killing the cgroup also ends those in a shared pid namespace
        self.streams.run(self.init, DRAIN, self.cgroup.kill)

    def finish(self, hold: int) -> None:
        """Steps 8 and 9."""
        assert self.init is not None and self.cgroup is not None
        status = os.waitstatus_to_exitcode(self.init.wait())
        code = 128 - status if status < 0 else status
        oom = self.cgroup.oom_kills() > 0
        if self.log is not None:
            self.log.close()
        os.pwrite(hold, b"%d" % code, 0)  # for those in `wait`
        problem = ""
        try:
            life.release(self.plan, self.cgroup, self.endpoint)
            life.settle(self.plan, {"ExitCode": code, "OOMKilled": oom, "StartedAt": self.started})
        except Exception as error:  # the exit status must reach the caller even so; a sweep finishes the rest
            problem = f"{type(error).__name__}: {error}"
        self.streams.say({"event": "exited", "status": code, "oom": oom, "problem": problem})

    def abandon(self, error: BaseException) -> None:
        """A start that failed: nothing stays but a created container, with the error in its record."""
        if self.init is not None:
            try:
                self.init.signal(_signal.SIGKILL)
                self.init.wait()
            except (OSError, ChildProcessError):
                pass
        message = encode_error(error)
        try:
            life.release(self.plan, self.cgroup, self.endpoint)
            text = fastjson.loads(message)["message"]
            from estiva import errors

            code = errors.status(error)[0] if isinstance(error, errors.EstivaError) else 125
            life.settle(self.plan, {"ExitCode": code, "Error": text}, failed=True)
        finally:
            self.streams.say(fastjson.loads(message))
