"""A further process in a running container: its namespaces are joined, the rest is as for its init."""

from __future__ import annotations

import os

from estiva.errors import Conflict, EngineError
from estiva.linux import namespace as ns
from estiva.linux import process as proc
from estiva.linux import procinfo
from estiva.runtime import child, sync
from estiva.runtime.launch import init
from estiva.runtime.launch.clone import Init, clone
from estiva.runtime.launch.plan import Process, personality
from estiva.runtime.process import command, null

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.cgroup import Cgroup

# Joining one that is the same already does no harm, except for the user namespace (EINVAL).
_ALWAYS = ns.CLONE_NEWNS | ns.CLONE_NEWNET | ns.CLONE_NEWIPC | ns.CLONE_NEWUTS | ns.CLONE_NEWCGROUP


def execute(
    pid: int,
    process: dict[str, Any],
    *,
    cgroup: Cgroup | None = None,
    stdio: tuple[int, int, int] = (0, 1, 2),
    bpf: bytes | None = None,
    preserve_fds: int = 0,
    keyring: str = "",
    linux: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
    exact: bool = False,
) -> Init:
    """Clone a child that becomes an OCI `process` in the container whose init is `pid`.

    The same Init as of container.create: `ready`, `start`, `wait`. The caller must have one thread, and have
    checked that `pid` still is that init (state.alive). `linux` is that section of the container's config.
    `exact` means no other cgroup than this one will do. Raises Conflict when it is gone, InvalidInput.
    """
    what = Process(process, stdio=stdio, bpf=bpf, preserve_fds=preserve_fds)
    what.keyring = keyring
    what.handlers = os.path.exists(command.HANDLERS)
    if bpf and linux and linux.get("seccomp"):
        what.filtered(linux["seccomp"], state or {})
    if linux:
        if linux.get("memoryPolicy"):
            from estiva.runtime.process import scheduling

            what.scheduling = scheduling.plan(process, linux)
        what.domain = personality(linux.get("personality"))
    try:
        target = sync.at_least(procinfo.pidfd_open(pid), 3 + preserve_fds)
    except ProcessLookupError:
        raise Conflict(f"process {pid} is gone: its container is not running") from None
    try:
        if cgroup is not None and not exact:
            cgroup = place(cgroup, pid)
        flags = _ALWAYS
        user = differs(pid, "user")
        if user:
            flags |= ns.CLONE_NEWUSER
        if differs(pid, "time"):
            flags |= ns.CLONE_NEWTIME
        joins = [("pid", target, ns.CLONE_NEWPID)]
        root = sync.at_least(os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC), 3 + preserve_fds)

        # An ordinary user may join nothing before the user namespace, and from there is no way back; nor may
        # he join what is the machine's, where he is already.
        before = 0
        if not proc.may(proc.CAP_SYS_ADMIN) or procinfo.in_user_namespace():
            before = ns.CLONE_NEWPID | (flags & ns.CLONE_NEWUSER)
            for flag, name in ns.NAMESPACES.values():
                if flag & flags and not differs(pid, name):
                    flags &= ~flag

        def body(channel: sync.Channel) -> None:
            enter(what, target, root, flags, None if before else cgroup, channel, before)

        try:
            if before:
                from estiva.runtime.launch import join

                init = join.clone_beyond(0, what, cgroup, lambda: ns.setns(target, before), body)
            else:
                init = clone(0, joins, what, cgroup, body)
            if what.notifier is not None:
                what.notifier.watch(init.pid, init.pidfd)
            return init
        finally:
            os.close(root)
    except (ProcessLookupError, FileNotFoundError):
        raise Conflict(f"process {pid} is gone: its container is not running") from None
    finally:
        os.close(target)


def place(cgroup: Cgroup, pid: int) -> Cgroup:
    """The container's cgroup, or its init's where that one can't take a process.

    That is on v2, when the container (systemd in it, say) has given its controllers to cgroups below, and
    when init has gone elsewhere and taken the last process along.
    """
    if cgroup.places.version == "v1":
        return cgroup
    from estiva.runtime.cgroup.v2.tree import THREADED  # what one may distribute and still hold processes

    try:
        with open(f"{cgroup.directories[0]}/cgroup.subtree_control") as file:
            if not set(file.read().split()) - set(THREADED):
                return cgroup
    except OSError:
        pass
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            path = next(line[3:].rstrip("\n") for line in file if line.startswith("0::/"))
        return type(cgroup)(path, cgroup.places)
    except (OSError, StopIteration):
        raise EngineError(f"the cgroup of process {pid} is not known") from None


def differs(pid: int, name: str) -> bool:
    """Whether a process is in another namespace of that kind than we. Raises Conflict when it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
    except FileNotFoundError:
        if os.path.exists(f"/proc/{pid}"):
            return False  # a kernel without that kind
        raise Conflict(f"process {pid} is gone: its container is not running") from None


def enter(
    what: Process,
    target: int,
    root: int,
    flags: int,
    cgroup: Cgroup | None,
    channel: sync.Channel,
    before: int = 0,
) -> None:
    """The child's side: become a process of the container, joining the namespaces of `flags`, those `before`
    excepted, in which it is already. The numbers are those of sync.py."""
    init.isolate_process(what, channel, [target, root])
    if what.scheduling is not None:
        channel.step = "place the process"
        what.scheduling.place(what.scheduling.initial)
    if cgroup is not None:
        channel.step = "enter the cgroup"
        cgroup.enter()
    channel.step = "join the container's namespaces"
    if what.labels is not None:
        what.labels.open()
    child.forbid_imports()
    channel.step = "look up the user"
    identity = init.look_up(root, what)  # while /proc, by which a verified fd is opened, is the host's
    channel.step = "join the container's namespaces"
    ns.setns(target, flags & ~before, "the container's namespaces")
    os.close(target)
    if what.scheduling is not None:
        what.scheduling.place(what.scheduling.final)
    # In a mount namespace that the container shares with others, its root is not that of the namespace.
    if not os.path.samestat(os.fstat(root), os.stat("/")):
        os.fchdir(root)
        os.chroot(".")
    os.close(root)
    if flags & ns.CLONE_NEWUSER:
        init.become_root()
    null.own()
    if what.terminal:
        channel.step = "open the terminal"
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        init.take_terminal(root, what, channel, console=False)
        os.close(root)
    if what.domain is not None:
        proc.personality(what.domain)
    init.settle(what, identity, channel)
    channel.send(sync.READY)  # (3)
    channel.expect(sync.GO)  # (4)
    init.launch(what, channel)
