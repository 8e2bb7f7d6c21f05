"""The child's side: from a fresh clone to execve, in one order. The numbers are those of sync.py.

The order is forced by the kernel and by what went wrong elsewhere:
- not dumpable and without the host's fds before anything of the container exists (K3, K4);
- into the cgroup before the cgroup namespace is made, which takes the place it finds as its root;
- all mounts, masks and device nodes while the host's /proc is still there to name fds by, then pivot_root;
- the user is looked up, cwd made and entered as root; then limits, ids, capabilities;
- seccomp last of all, so that a profile need allow nothing but execve.
"""

from __future__ import annotations

import _signal
import _socket
import os

from estiva.errors import EstivaError, InvalidInput
from estiva.linux import fs, process
from estiva.linux import namespace as ns
from estiva.linux.libc import (
    SYS_execve,
    SYS_execveat,
    SYS_getcwd,
    SYS_getsockname,
    SYS_openat,
    SYS_read,
    SYS_sendmsg,
)
from estiva.runtime import sync
from estiva.runtime.child import ALL_SIGNALS, forbid_imports, put, run
from estiva.runtime.process import byname, command, credentials, null, reaper, user
from estiva.runtime.rootfs import devices, mounts, protect, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.launch.plan import Plan, Process
    from estiva.runtime.process.user import Identity

_DEFAULT_UMASK = 0o022
_SHOWING = (SYS_openat, SYS_getcwd, SYS_getsockname, SYS_sendmsg, SYS_read)  # of Channel.report with a root


def become(plan: Plan, channel: sync.Channel) -> None:
    """Become the container's first process."""
    what = plan.process
    isolate_process(what, channel, plan.opened())
    if plan.prepared is not None:  # it is in the cgroup and in all other namespaces
        channel.step = "make the namespaces"
        ns.unshare(ns.CLONE_NEWNS)
    else:
        enter_namespaces(plan, channel)
    identity = build(plan, channel)
    null.own()
    channel.step = "set the hostname"
    if plan.hostname:
        _socket.sethostname(plan.hostname)
    if plan.domainname:
        process.setdomainname(plan.domainname)
    if plan.personality is not None:
        process.personality(plan.personality)
    if plan.init:
        channel.send(sync.READY)  # (3)
        channel.expect(sync.GO)  # (4)
        reaper.run(
            (lambda: run(channel, lambda: _command(what, identity, channel))) if what.args else None,
            channel,
            terminal=what.terminal,
            agent=plan.agent,
            pid_namespace=bool(plan.flags & ns.CLONE_NEWPID),
        )
    settle(what, identity, channel)
    if plan.listener >= 0:
        if what.args:
            channel.step = "find the command"
            channel.sought = what.args[0], what.path
            command.find(what.args[0], what.path)
            channel.sought = None
        from estiva.runtime.launch import start_socket  # loaded by who made the listener

        channel.send(sync.READY)  # (3)
        start_socket.mortal(True)
        start_socket.await_start(channel, plan.listener)  # (4)
        start_socket.mortal(False)
    else:
        channel.send(sync.READY)  # (3)
        channel.expect(sync.GO)  # (4)
    if plan.hooks is not None:
        channel.step = "run the hooks"
        plan.hooks.run("startContainer", os.getpid(), "created", env=what.env, confine=lambda: _confine(what))
    launch(what, channel)


def enter_namespaces(plan: Plan, channel: sync.Channel) -> None:
    """Into the cgroup, and then the namespaces that are not made by clone3."""
    if plan.cgroup is not None and not plan.other_user:
        channel.step = "enter the cgroup"
        plan.cgroup.enter()
    if plan.other_user and plan.flags & ns.CLONE_NEWTIME and plan.time_offsets:
        # Once we are root of the user namespace and not dumpable, the file is not ours to open.
        plan.late["offsets"] = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
    if plan.flags & ns.CLONE_NEWUSER:
        channel.expect(sync.MAPPED)  # (1)
    if plan.other_user:
        channel.step = "become root of the user namespace"
        become_root()
    channel.step = "make the namespaces"
    enter_late_namespaces(plan)
    if plan.flags & ns.CLONE_NEWNET:
        ns.loopback_up()


def _confine(what: Process) -> None:
    """The filter of the command holds for a hook that is executed in the container too. Nobody is asked for
    it: what SCMP_ACT_NOTIFY stands for is ENOSYS there."""
    credentials.finish(what.capabilities, what.bpf, keep_admin=what.keep_admin, flags=what.seccomp_flags)


def _command(what: Process, identity: Identity, channel: sync.Channel) -> None:
    """With --init: the forked command takes its credentials and goes. An init that is a program of its own
    would have lost at its execve what an execve takes, and looked the command up without it."""
    if identity.uid != 0:
        what.capabilities.lapse()
    settle(what, identity, channel)
    launch(what, channel)


def isolate_process(what: Process, channel: sync.Channel, keep: list[int]) -> None:
    """Out of reach of the container, and with no fd but those it is to have."""
    channel.step = "prepare the process"
    if what.oom_score_adj is not None:
        channel.step = "set oom_score_adj"
        put("/proc/self/oom_score_adj", str(what.oom_score_adj))
    channel.step = "arrange the file descriptors"
    place_stdio(what.stdio)
    if what.notifier is not None:
        keep = [*keep, what.notifier.fd]
    process.close_all_but([channel.fd, *keep], 3 + what.preserve_fds)
    for fd in range(3, 3 + what.preserve_fds):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            pass  # not open: the count may be larger than what there is
    os.setsid()
    if what.keyring:
        channel.step = "join the session keyring"
        process.join_session_keyring(what.keyring)
    os.umask(0)


def place_stdio(stdio: tuple[int, int, int]) -> None:
    """dup2 the three to 0, 1, 2; -1 stands for /dev/null."""
    sources = []
    for wanted, fd in enumerate(stdio):
        if fd < 0:
            fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if fd < 3 and fd != wanted:  # it would be overwritten before its turn
            import fcntl

            fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        sources.append(fd)
    for wanted, fd in enumerate(sources):
        if fd == wanted:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, wanted)
    null.guard()


def become_root() -> None:
    """Take the ids 0 of the new user namespace, and be not dumpable from here on: the maps are written."""
    credentials.set_groups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    process.set_dumpable(False)


def enter_late_namespaces(plan: Plan) -> None:
    """The cgroup namespace, rooted where the process now is, and the time namespace with its offsets."""
    late = plan.flags & (ns.CLONE_NEWCGROUP | ns.CLONE_NEWTIME)
    for name in ("cgroup", "time"):
        if name in plan.late:
            fd = plan.late.pop(name)
            ns.setns(fd, ns.NAMESPACES[name][0], plan.joined[name])
            os.close(fd)
    if late:
        ns.unshare(late)
    if plan.flags & ns.CLONE_NEWTIME and plan.time_offsets:
        lines = [f"{c} {o.get('secs', 0)} {o.get('nanosecs', 0)}\n" for c, o in plan.time_offsets.items()]
        fd = plan.late.pop("offsets", -1)
        if fd < 0:
            put("/proc/self/timens_offsets", "".join(lines))
        else:
            os.write(fd, "".join(lines).encode())
            os.close(fd)


def build(plan: Plan, channel: sync.Channel) -> Identity:
    """The root filesystem with all that is mounted in it, up to pivot_root; who the process will be."""
    what = plan.process
    if what.labels is not None:
        what.labels.open()
    channel.step = "mount the root filesystem"
    if not plan.own_mounts:
        if "mount" not in plan.late:
            plan.late["mount"] = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        ns.unshare(ns.CLONE_NEWNS)
    here = rootfs.isolate(plan.propagation, plan.receiving)
    root = plan.root_fd if plan.root_fd >= 0 else plan.rootfs.mount()
    hooked = plan.hooks is not None and plan.hooks.while_created
    at = "/"
    if hooked and plan.hooks is not None:
        at = plan.hooks.place or plan.rootfs.path or "/"
    elif plan.inward:
        at = plan.rootfs.path or "/"
    rootfs.attach(plan.rootfs, root, plan.propagation, at)
    done = 0
    if plan.prepared is not None:
        channel.step = "attach the kernel's filesystems"
        done = plan.prepared.attach(root)
    mounts.apply_all(plan.mounts[done:], root, channel, None if plan.cgroup is None else plan.cgroup.path)
    if not done and devices.is_ours(plan.mounts):
        channel.step = "make the devices"
        devices.populate(root, plan.devices)
    if what.terminal:
        channel.step = "open the terminal"
        take_terminal(root, what, channel, console=True)
    channel.step = "look up the user"
    identity = look_up(root, what)
    if what.cwd != "/":
        channel.step = "make the working directory"
        try:
            os.close(fs.mkdir_in_root(root, what.cwd))
        except OSError as error:
            raise OSError(error.errno, error.strerror, what.cwd) from error
    if plan.sysctls:
        channel.step = "set sysctls"
        protect.write_sysctls(plan.sysctls)
    if not done:
        channel.step = "guard kernel files"
        protect.make_readonly(root, plan.readonly_paths)
        protect.mask(root, plan.masked)
        mounts.seal(plan.mounts, root)
    if plan.hooks is not None and hooked:
        channel.step = "run the hooks"
        channel.send(sync.HOOKS)
        channel.expect(sync.HOOKS)
        plan.hooks.run("createContainer", os.getpid(), "created", directory=at)
    channel.step = "change the root"
    forbid_imports()
    if plan.own_mounts:
        rootfs.pivot(root, here, plan.propagation, plan.readonly, chroot=not plan.pivot)
    else:
        os.close(here)
        rootfs.leave_for(plan.late.pop("mount"), root, plan.propagation, plan.readonly)
    os.close(root)
    return identity


def look_up(root: int, what: Process) -> Identity:
    """The identity, whose home becomes HOME unless the config gives one that is not empty."""
    identity = user.resolve(root, what.user, need_home=not what.env.get(b"HOME"))
    set_home(what, identity)
    return identity


def set_home(what: Process, identity: Identity) -> None:
    """The identity's home, where the environment has none; an empty one is none, as runc has it."""
    if not what.env.get(b"HOME"):
        what.env[b"HOME"] = os.fsencode(identity.home)


def take_terminal(root: int, what: Process, channel: sync.Channel, *, console: bool) -> None:
    """Make a pty: its master goes to the parent, its slave becomes fds 0-2 and the controlling terminal."""
    from estiva.linux import tty  # loaded by Process

    master, slave = devices.open_console(root, what.console_size)
    if console:
        devices.bind_console(root, slave)
    channel.send_fd(sync.CONSOLE, master)  # (2)
    os.close(master)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.close(slave)
    tty.set_controlling(0)


def settle(what: Process, identity: Identity, channel: sync.Channel) -> None:
    """cwd, limits, ids, capabilities: after this only the command's own rights are left."""
    channel.step = "enter the working directory"
    enter_cwd(what.cwd)
    channel.step = "set resource limits"
    credentials.set_rlimits(what.rlimits)
    if what.scheduling is not None:
        channel.step = "set scheduling"
        what.scheduling.apply()
    channel.step = "take the user's credentials"
    credentials.own_stdio(identity.uid, what.terminal)
    if what.no_new_privileges:
        process.no_new_privs()
    credentials.drop(identity, what.capabilities, keep_admin=what.keep_admin)
    # The change of ids has reset it to fs.suid_dumpable.
    process.set_dumpable(False)
    os.umask(_DEFAULT_UMASK if identity.umask < 0 else identity.umask)


def enter_cwd(path: str) -> None:
    """chdir by an fd that can't lead out of the root, and prove it: getcwd(2) fails for what is out (K3)."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = fs.open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    finally:
        os.close(root)
    try:
        os.fchdir(fd)
        os.getcwd()
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(fd)


def _twice(what: Process) -> bool:
    """Whether one execve may come before another and nothing else is different.

    A security label is for the first, who is told of system calls sees both, and a filter must let the
    second one pass. Of its capabilities a user other than root keeps the ambient ones, root what its bounding
    set has: those that the first one takes away may be what the command is looked up with.
    """
    sets = what.capabilities
    kept = sets.bounding if os.geteuid() == 0 else sets.ambient
    if what.labels is not None or what.notifier is not None or sets.permitted & ~kept:
        return False
    return allows(what, SYS_execve)


def allows(what: Process, number: int) -> bool:
    """Whether its filter, if it has one, lets a system call go ahead."""
    if not what.bpf:
        return True
    if number not in what.allowed:
        what.allowed[number] = process.filter_allows(what.bpf, number)
    return what.allowed[number]


def restore_signals() -> None:
    """What Python has made of them, and of SIGPIPE, is no command's."""
    for number in ALL_SIGNALS:
        if _signal.getsignal(number) not in (_signal.SIG_DFL, None):
            _signal.signal(number, _signal.SIG_DFL)


def launch(what: Process, channel: sync.Channel) -> None:
    """Find the command with the rights it will have, and become it."""
    channel.step = "find the command"
    if not what.args:
        raise InvalidInput("process is not set: there is nothing to start")
    channel.sought = what.args[0], what.path
    path = command.find(what.args[0], what.path)
    fd, arguments = command.inspect(path, what.args, what.contested, what.handlers)
    channel.sought = None
    if fd >= 0 and not allows(what, SYS_execveat):
        fd, arguments = -1, what.args  # a profile that knows execve alone
    named = byname.open_program(path, fd) if fd >= 0 and _twice(what) else -1
    channel.step = "restore signals"
    restore_signals()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    if what.labels is not None:
        channel.step = "set the security label"
        what.labels.apply()
    channel.leave()
    channel.step = "install the seccomp filter"
    credentials.finish(
        what.capabilities,
        what.bpf,
        keep_admin=what.keep_admin,
        flags=what.seccomp_flags,
        notifier=what.notifier,
    )
    channel.step = "execute the command"
    try:
        if named >= 0:
            byname.execute(named, what.args, what.env)  # (5)
        command.execute(path, arguments, what.env, fd)  # (5)
    except EstivaError:
        if all(allows(what, number) for number in _SHOWING):
            channel.sought = what.args[0], what.path
        raise
