"""The launcher's side of a container's start. The numbers are those of sync.py.

init = create(config, Rootfs(...), id=...)    clone3; the child builds while the caller sets the network up
init.ready()                                  built, or the child's error
init.start()                                  executed, or CommandNotFound and the like
init.wait()                                   its wait status
"""

from __future__ import annotations

import _signal
import os

from estiva.errors import EngineError
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux import process as proc
from estiva.runtime import init as child
from estiva.runtime import sync
from estiva.runtime.plan import Plan, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.hooks import Hooks
    from estiva.runtime.mount_plan import Mount
    from estiva.runtime.rootfs import Rootfs


class Init:
    """A started child. `pid` and `pidfd` at once, `console` (the pty's master, or -1) after `ready`.

    The object owns its fds until `close`. The process is the caller's child: `wait` reaps it.
    """

    def __init__(self, pid: int, pidfd: int, channel: sync.Channel) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.console = -1
        self._channel = channel
        self._status: int | None = None
        self._started = False
        self._hooks: Hooks | None = None

    @classmethod
    def adopt(cls, pid: int, pidfd: int, console: int) -> Init:
        """A child that was started before this process executed another program."""
        init = cls(pid, pidfd, sync.Channel(-1))
        init.console = console
        init._started = True
        return init

    def ready(self) -> None:
        """Wait until the root filesystem stands and the credentials are taken. Raises the child's error."""
        while True:
            kind, payload, fd = self._channel.receive()
            if kind == sync.CONSOLE:  # (2)
                self.console = fd
            elif kind == sync.READY:  # (3)
                return
            elif kind == sync.HOOKS:
                self._run_hooks()
            else:
                self._fail(kind, payload)

    def _run_hooks(self) -> None:
        """What the runtime's side has to run while init waits. Raises EngineError; the caller then closes."""
        assert self._hooks is not None
        for kind in ("prestart", "createRuntime"):
            self._hooks.run(kind, self.pid, "created")
        self._channel.send(sync.HOOKS)

    def leave(self) -> None:
        """After `ready`, of one with a `listener`: it waits there for whoever starts it, without us."""
        self._channel.send(sync.LEAVE)
        self._started = True
        self._channel.close()

    def start(self) -> None:
        """Let it execute the command; returns once execve has happened.

        Raises CommandNotFound (exit status 127), CommandNotExecutable (126), or EngineError.
        """
        try:
            self._channel.send(sync.GO)  # (4)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died while it waited: there may still be a message that says why
        kind, payload, _ = self._channel.receive()
        if kind:
            self._fail(kind, payload)
        self._started = True  # (5)
        self._channel.close()

    def _fail(self, kind: bytes, payload: bytes) -> None:
        """The child could not go on: reap it and raise why."""
        status = self.wait()
        if kind == sync.ERROR:
            raise sync.decode(payload)
        if os.WIFSIGNALED(status):
            raise EngineError(
                f"the container's init was killed by signal {os.WTERMSIG(status)} while starting"
            )
        raise EngineError("the container's init ended while starting, without a word")

    def wait(self) -> int:
        """The wait status (os.waitpid, os.waitstatus_to_exitcode); may be called again."""
        if self._status is None:
            try:
                self._status = os.waitpid(self.pid, 0)[1]
            except ChildProcessError:  # reaped by a program that this process was meanwhile
                self._status = proc.pidfd_exit_status(self.pidfd)
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal by pidfd, so that a recycled pid is never hit. Raises ProcessLookupError."""
        proc.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Close all fds. One that was never started ends: it sees end of file; it is reaped."""
        self._channel.close()
        if not self._started and self._status is None:
            try:
                self.signal(_signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.wait()
        for fd in (self.pidfd, self.console):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.console = -1


def create(
    config: dict[str, Any],
    rootfs: Rootfs,
    *,
    id: str,
    cgroup: Cgroup | None = None,
    stdio: tuple[int, int, int] = (0, 1, 2),
    bpf: bytes | None = None,
    init: bool = False,
    preserve_fds: int = 0,
    listener: int = -1,
    hooks: Hooks | None = None,
    keyring: str = "",
    pivot: bool = True,
    mounted: dict[str, int] | None = None,
) -> Init:
    """Clone the child that becomes the container of an OCI `config`; returns at once, while it builds.

    The caller must have one thread. `id` is for messages. `stdio` are fds of the caller for the child's 0-2
    (-1: /dev/null), without use with a terminal. `bpf` is the seccomp filter. `init` keeps a reaper as pid 1,
    which without a command only waits, for what is executed in the container later.
    `preserve_fds` fds from 3 on are passed on. With a `listener` (listener.listen) it may be left by `leave`,
    and the command may be missing until then. `keyring` names a session keyring to join; without `pivot` the
    root is changed by chroot(2), for a root on the initial ramfs. `mounted` has detached mounts (fds) for
    bind mounts, by destination.
    Raises InvalidInput, Unsupported, EngineError.
    """
    idle = init or listener >= 0
    process = Process(config.get("process") or {}, stdio=stdio, bpf=bpf, preserve_fds=preserve_fds, idle=idle)
    process.keyring = keyring
    if bpf and (config.get("linux") or {}).get("seccomp"):
        state = {"ociVersion": config.get("ociVersion", ""), "id": id} if hooks is None else hooks.state
        process.filtered(config["linux"]["seccomp"], state)
    plan = Plan(config, rootfs, process, cgroup=cgroup, init=init)
    plan.listener, plan.hooks, plan.pivot = listener, hooks or None, pivot
    if not pivot:
        from estiva.runtime import nopivot  # noqa: F401  (now, so that the child doesn't have to)
    held: list[int] = []
    try:
        joins: list[tuple[str, int, int]] = []
        user = -1
        if plan.joined:
            from estiva.runtime import joining

            joins, user = joining.open_namespaces(plan, held)
        for mount in plan.mounts:
            if mounted is not None and mount.bind and mount.destination in mounted:
                mount.fd = sync.at_least(os.dup(mounted[mount.destination]), 3 + preserve_fds)
                held.append(mount.fd)
        if plan.foreign or not plan.own_mounts or plan.sharing:
            _open_sources(plan, held)
        if plan.id_mapped:
            from estiva.runtime import idmap

            idmap.open_mounts(plan, held)
        early = plan.flags & ~(ns.CLONE_NEWCGROUP | ns.CLONE_NEWTIME)
        if user >= 0:
            child_init = joining.clone_into_user(early, joins, user, plan)
        elif joins and ns.in_user_namespace():  # as under podman: the machine's can't be gone back to
            from estiva.runtime import joining

            child_init = joining.clone_into_user(early, joins, -1, plan)
        else:
            child_init = clone(early, joins, process, cgroup, lambda channel: child.become(plan, channel))
        child_init._hooks = plan.hooks
        if process.notifier is not None:
            process.notifier.watch(child_init.pid, child_init.pidfd)
    except OSError as error:
        raise sync.StepFailed(
            f"start container {id}",
            sync.syscall_of(error),
            str(error.filename or ""),
            error.errno or 0,
            error.strerror or str(error),
        ) from error
    finally:
        for fd in held:
            os.close(fd)
    if plan.flags & ns.CLONE_NEWUSER:
        try:
            _map_ids(child_init, plan, cgroup)
        except BaseException:
            child_init.close()
            raise
    return child_init


def clone(
    flags: int,
    joins: list[tuple[str, int, int]],
    process: Process,
    cgroup: Cgroup | None,
    body: Callable[[sync.Channel], None],
) -> Init:
    """clone3 a child that runs `body`, inside the namespaces of `joins`: (kind, fd, setns flags).

    They are joined by the caller for the moment of the clone and left again: a pid namespace can only be
    given to children. All signals are blocked meanwhile, so that no handler of the caller's runs in the
    child, and the child is not dumpable from its first instant on, for those who already are in its pid
    namespace (K4).
    """
    mine, theirs = sync.pair(3 + process.preserve_fds)
    own: list[tuple[int, int]] = []
    cgroup_fd = cgroup.enter_fd() if cgroup is not None else -1
    hide = not flags & ns.CLONE_NEWUSER and proc.dumpable() == 1
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, child.ALL_SIGNALS)
    try:
        try:
            for kind, fd, which in joins:
                flag, name = ns.NAMESPACES[kind]
                back = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
                own.append((back, flag))
                ns.setns(fd, which or flag, kind)
            if hide:
                proc.set_dumpable(False)
            pid, pidfd = ns.clone3(flags, cgroup_fd=cgroup_fd)
            if pid == 0:
                child.run(theirs, lambda: body(theirs))
        finally:
            # Only the parent comes here: the child never returns.
            if hide:
                proc.set_dumpable(True)
            for back, flag in own:
                ns.setns(back, flag)
                os.close(back)
    except BaseException:
        mine.close()
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        theirs.close()
        if cgroup_fd >= 0:
            os.close(cgroup_fd)
    return Init(pid, pidfd, mine)


def _open_sources(plan: Plan, held: list[int]) -> None:
    """The root filesystem and bind sources, where the child can't open them by their names.

    Root of a user namespace may not reach them, and in a joined mount namespace there may be other things.
    And a bind mount that is to show on the host what is mounted in it must be of its source's peer group,
    which the child is cut off from. That one only if there is such a group: the kernel lists mounts by age,
    and the config's order is to be seen. An ordinary user can open nothing here, and his child can: it has
    his rights, as root of the user namespace.
    """
    least = 3 + plan.process.preserve_fds
    everything = not plan.own_mounts or (plan.foreign and proc.may(proc.CAP_SYS_ADMIN))
    if everything:
        plan.root_fd = sync.at_least(plan.rootfs.mount(), least)
        held.append(plan.root_fd)
    for mount in plan.mounts if everything else plan.sharing:
        wanted = mount.fd < 0 and mount.bind and not mount.flags & mnt.MS_REMOUNT
        if wanted and (everything or _has_peers(mount)):
            mount.fd = sync.at_least(mount.open(), least)
            held.append(mount.fd)


def _has_peers(mount: Mount) -> bool:
    from estiva.runtime import peers

    return peers.shared(mount.source)


def _map_ids(init: Init, plan: Plan, cgroup: Cgroup | None) -> None:
    """Write the child's id maps (user_namespaces(7)), place it in its cgroup, and let it go on."""
    privileged = proc.may(proc.CAP_SETUID)
    if not privileged:
        from estiva.runtime import rootless

        rootless.map_ids(init.pid, plan.uid_map, plan.gid_map)
    for name, text in (("uid_map", plan.uid_map), ("gid_map", plan.gid_map)) if privileged else ():
        try:
            child.put(f"/proc/{init.pid}/{name}", text)
        except OSError as error:
            raise sync.StepFailed(
                "map ids", "write", f"{name} {text!r}", error.errno or 0, error.strerror or ""
            ) from error
    if cgroup is not None:
        cgroup.add(init.pid)
    try:
        init._channel.send(sync.MAPPED)  # (1)
    except BrokenPipeError:
        pass
