"""The launcher's side of a container's start. The numbers are those of sync.py.

init = create(config, Rootfs(...), id=...)    clone3; the child builds while the caller sets the network up
init.ready()                                  built, or the child's error
init.start()                                  executed, or CommandNotFound and the like
init.wait()                                   its wait status
"""

from __future__ import annotations

import os

from estiva.linux import namespace as ns
from estiva.linux import process as proc
from estiva.linux import procinfo
from estiva.runtime import child, sync
from estiva.runtime.launch.clone import Init, clone
from estiva.runtime.launch.init import become
from estiva.runtime.launch.plan import Plan, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.launch.hooks import Hooks
    from estiva.runtime.rootfs.rootfs import Rootfs


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
    agent: int = -1,
) -> Init:
    """Clone the child that becomes the container of an OCI `config`; returns at once, while it builds.

    The caller must have one thread. `id` is for messages. `stdio` are fds of the caller for the child's 0-2
    (-1: /dev/null), without use with a terminal. `bpf` is the seccomp filter. `init` keeps a reaper as pid 1,
    which without a command only waits, for what is executed in the container later. `preserve_fds` fds from 3
    on are passed on. With a `listener` (start_socket.listen) it may be left by `leave`, and the command may
    be missing until then. `keyring` names a session keyring to join; without `pivot` the root is changed by
    chroot(2), for a root on the initial ramfs. `mounted` has detached mounts (fds) for bind mounts, by
    destination. An idle `init` executes what is asked for over the socket `agent` (agent.py).
    Raises InvalidInput, Unsupported, EngineError.
    """
    idle = init or listener >= 0
    process = Process(config.get("process") or {}, stdio=stdio, bpf=bpf, preserve_fds=preserve_fds, idle=idle)
    process.keyring = keyring
    if bpf and (config.get("linux") or {}).get("seccomp"):
        state = {"ociVersion": config.get("ociVersion", ""), "id": id} if hooks is None else hooks.state
        process.filtered(config["linux"]["seccomp"], state)
    plan = Plan(config, rootfs, process, cgroup=cgroup, init=init)
    if agent >= 0:
        from estiva.runtime.launch import agent as agents

        if init and agents.may_serve(config):
            plan.agent = agents.Agent(agent, process)
    plan.listener, plan.hooks, plan.pivot = listener, hooks or None, pivot
    if not pivot:
        from estiva.runtime.rootfs import nopivot  # noqa: F401  (now, so that the child doesn't have to)
    held: list[int] = []
    try:
        started = _clone(plan, held, mounted or {})
        started.hooks = plan.hooks
        if process.notifier is not None:
            process.notifier.watch(started.pid, started.pidfd)
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
            _map_ids(started, plan, cgroup)
        except BaseException:
            started.close()
            raise
    return started


def _clone(plan: Plan, held: list[int], mounted: dict[str, int]) -> Init:
    """Open what the child can't, and clone it; the fds go to `held`, for the caller to close."""
    joins: list[tuple[str, int, int]] = []
    user = -1
    if plan.joined:
        from estiva.runtime.launch import join

        joins, user = join.open_namespaces(plan, held)
    for mount in plan.mounts if mounted else ():
        if mount.bind and mount.destination in mounted:
            mount.fd = sync.at_least(os.dup(mounted[mount.destination]), 3 + plan.process.preserve_fds)
            held.append(mount.fd)
    if plan.other_user or not plan.own_mounts or plan.sharing or plan.id_mapped:
        from estiva.runtime.launch import sources

        sources.open_sources(plan, held)
        sources.open_mapped(plan, held)
    early = plan.flags & ~(ns.CLONE_NEWCGROUP | ns.CLONE_NEWTIME)
    # After a join there is no way back to a namespace of the machine's for root of a user namespace only.
    if user >= 0 or (joins and procinfo.in_user_namespace()):
        from estiva.runtime.launch import join

        return join.clone_into_user(early, joins, user, plan)
    return clone(early, joins, plan.process, plan.cgroup, lambda channel: become(plan, channel))


def _map_ids(init: Init, plan: Plan, cgroup: Cgroup | None) -> None:
    """Write the child's id maps (user_namespaces(7)), place it in its cgroup, and let it go on."""
    privileged = proc.may(proc.CAP_SETUID)
    if not privileged:
        from estiva.runtime.launch import newuidmap

        newuidmap.map_ids(init.pid, plan.uid_map, plan.gid_map)
    for name, text in (("uid_map", plan.uid_map), ("gid_map", plan.gid_map)) if privileged else ():
        try:
            child.put(f"/proc/{init.pid}/{name}", text)
        except OSError as error:
            raise sync.StepFailed(
                "map ids", "write", f"{name} {text!r}", error.errno or 0, error.strerror or ""
            ) from error
    if cgroup is not None:
        cgroup.add(init.pid)
    init.mapped()
