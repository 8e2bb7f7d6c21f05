"""linux.namespaces with a path: opened and checked by the runtime, entered around the clone or by the child.

pid, network, ipc, uts   by the runtime for the moment of the clone: a pid namespace is for children only
cgroup, time             by the child, once it is in its cgroup
mount                    by the child, last: its root filesystem is built in a namespace of its own first
user                     by a process in between, which can't come back, and clones the child as ours
"""

from __future__ import annotations

import _signal
import os

from estiva.errors import Conflict, EngineError
from estiva.linux import fs, procinfo
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux import process as proc
from estiva.runtime import child, helper, sync
from estiva.runtime.launch import init
from estiva.runtime.launch.clone import Init
from estiva.runtime.launch.open_namespace import open_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.launch.plan import Plan, Process

_STRICT = fs.RESOLVE_IN_ROOT | fs.RESOLVE_NO_SYMLINKS
_LATE = ("cgroup", "time", "mount")


def open_namespaces(plan: Plan, held: list[int]) -> tuple[list[tuple[str, int, int]], int]:
    """Open all that have a path: ((kind, fd, 0) for those entered around the clone, the user namespace's fd).

    Those that the child enters go to `plan.late`. All fds go to `held`, for the caller to close. Raises
    InvalidInput for a path that is no namespace of that kind.
    """
    least = 3 + plan.process.preserve_fds
    around: list[tuple[str, int, int]] = []
    user = -1
    for kind, path in plan.joined.items():
        fd = sync.at_least(open_namespace(kind, path), least)
        held.append(fd)
        if kind in _LATE:
            plan.late[kind] = fd
        elif kind != "user":
            around.append((kind, fd, 0))
        elif not os.path.samestat(os.fstat(fd), os.stat("/proc/self/ns/user")):
            user = fd
    if user < 0:  # our own: setns(2) would refuse it, and there is nothing to do
        plan.joined.pop("user", None)
    return around, user


def clone_into_user(flags: int, joins: list[tuple[str, int, int]], user: int, plan: Plan) -> Init:
    """clone3 the child inside an existing user namespace, `joins` and new ones of `flags` that it then owns.
    The others are joined first, while the process in between may. -1 stands for our own user namespace."""

    def join() -> None:
        for kind, fd, _ in joins:
            ns.setns(fd, ns.NAMESPACES[kind][0], plan.joined[kind])
        if user >= 0:
            ns.setns(user, ns.CLONE_NEWUSER, plan.joined["user"])

    return clone_beyond(flags, plan.process, plan.cgroup, join, lambda channel: init.become(plan, channel))


def clone_beyond(
    flags: int,
    process: Process,
    cgroup: Cgroup | None,
    join: Callable[[], None],
    body: Callable[[sync.Channel], None],
) -> Init:
    """As clone.clone, from inside the user namespace that `join` goes to.

    Who has joined a user namespace can't return, so a process in between does, with CLONE_PARENT. It enters
    the cgroup too, which root of the user namespace may not. Raises the error of whichever side fails.
    """
    mine, theirs = sync.pair(3 + process.preserve_fds)
    told, tell = os.pipe()
    cgroup_fd = cgroup.enter_fd() if cgroup is not None else -1

    def between() -> None:
        if cgroup is not None:
            theirs.step = "enter the cgroup"
            cgroup.enter()
        theirs.step = "join the namespaces"
        join()
        proc.set_dumpable(False)
        pid, _ = ns.clone3(flags | ns.CLONE_PARENT, pidfd=False)
        if pid == 0:
            child.run(theirs, lambda: body(theirs))
        os.write(tell, str(pid).encode())
        os._exit(0)

    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, child.ALL_SIGNALS)
    try:
        first, first_fd = ns.clone3(0, cgroup_fd=cgroup_fd)
        if first == 0:
            child.run(theirs, between)
    except BaseException:
        mine.close()
        os.close(told)
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        theirs.close()
        os.close(tell)
        if cgroup_fd >= 0:
            os.close(cgroup_fd)
    os.close(first_fd)
    with open(told, "rb") as pipe:
        text = pipe.read()
    os.waitpid(first, 0)
    if not text:
        kind, payload, _ = mine.receive()
        mine.close()
        if kind == sync.ERROR:
            raise sync.decode(payload)
        raise EngineError("the process that joins the user namespace ended without a word")
    return Init(int(text), procinfo.pidfd_open(int(text)), mine)


def share_tmpfs(pidfd: int, path: str) -> int:
    """A detached copy of the tmpfs that the process of `pidfd` has at `path`, as /dev/shm of who shares ipc.

    A process of its own goes into that mount namespace for it: before Linux 6.15 only a mount of one's own
    can be copied, and what is there is the other container's to shape. Raises Conflict when there is none.
    """

    def inside(channel: sync.Channel) -> None:
        channel.step = f"take {path} of the other container"
        proc.set_dumpable(False)
        child.forbid_imports()
        ns.setns(pidfd, ns.CLONE_NEWNS, "mount namespace")
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        where = fs.openat2(root, path.lstrip("/"), os.O_PATH | os.O_DIRECTORY, 0, _STRICT)
        if fs.fstatfs(where) != fs.TMPFS_MAGIC:
            raise Conflict(f"the other container has no tmpfs at {path} to share")
        copy = mnt.clone_tree("", dirfd=where)
        mnt.mount_setattr(copy, "", propagation=mnt.MS_PRIVATE)
        channel.send_fd(sync.READY, copy)

    return helper.fetch(0, inside, f"{path} could not be taken")
