"""create: runtime-spec runtime.md, "Lifecycle", steps 1 to 6, and "Operations"."""

from __future__ import annotations

import os

from estiva import files
from estiva.errors import Conflict, InvalidInput, Unsupported
from estiva.linux import procinfo
from estiva.runtime import cgroup as cgroups
from estiva.runtime import state
from estiva.runtime.cgroup import factory
from estiva.runtime.launch import container
from estiva.runtime.launch.hooks import Hooks
from estiva.runtime.lifecycle import containers, operations
from estiva.runtime.lifecycle.containers import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.runtime.bundle.bundle import Bundle
    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.launch.clone import Init

_MOST_CPUS = 1 << 13


class Options:
    """How to create: the flags of `create` and `run`."""

    def __init__(self) -> None:
        self.pivot = True
        self.keyring = True
        self.preserve_fds = 0
        self.cache = ""  # where compiled seccomp filters are kept
        self.wait_for_start = True  # by another process
        self.systemd = False  # the cgroup is a scope of systemd's
        self.notify = False  # make the directory for NOTIFY_SOCKET
        self.console: Callable[[int], None] | None = None  # is given the pty's master
        self.pidfd: Callable[[int, bytes], None] | None = None  # is given init's pidfd, and "standard"
        self.rootless = False  # there may be no right to make a cgroup


def begin(root: str, id: str, bundle: Bundle) -> Container:
    """A new container's directory, with its config.json. Raises Conflict when the id is taken."""
    directory = f"{root}/{containers.check_id(id)}"
    os.makedirs(root, mode=0o700, exist_ok=True)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        raise Conflict(f"container with id {id} exists already") from None
    made = Container(directory, state.new(id, bundle))
    try:
        made.held = containers.lock(directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(f"{directory}/{containers.CONFIG}", flags, 0o600)
        try:
            files.write_all(fd, bundle.raw)
        finally:
            os.close(fd)
    except BaseException:
        operations.undo(made)
        made.let_go()
        raise
    return made


def create(root: str, id: str, bundle: Bundle, options: Options) -> tuple[Container, Init]:
    """The operation: the container stands, its command waits. The caller `leave`s or starts it.

    Nothing is left behind on an error. Raises Conflict when the id is taken, and what the launcher raises.
    """
    init: Init | None = None
    made = begin(root, id, bundle)
    try:
        if options.notify:
            files.make_directory(f"{made.directory}/notify", 0o755)
        init = _launch(made, bundle, options)
        made.let_go()
        init.ready()
        if made.making is not None:
            made.making.settled()
        if init.console >= 0 and options.console is not None:
            options.console(init.console)
        if options.pidfd is not None:
            options.pidfd(init.pidfd, b"standard")
    except BaseException:
        if init is not None:
            init.close()
        operations.undo(made)
        made.let_go()
        raise
    return made, init


def _launch(made: Container, bundle: Bundle, options: Options) -> Init:
    """Everything up to the clone; state.json is there before a hook can ask for it."""
    record, config = made.record, bundle.config
    linux = config.get("linux") or {}
    keys = ("ociVersion", "id", "bundle", "annotations")
    hooks = Hooks(config.get("hooks"), {key: record[key] for key in keys})
    group = cgroup_of(made, bundle, options.systemd, options.rootless)
    listening = -1
    if options.wait_for_start:
        from estiva.runtime.launch import start_socket

        listening = start_socket.listen(made.directory, 3 + options.preserve_fds)
    anywhere()
    try:
        init = container.create(
            config,
            bundle.rootfs,
            id=made.id,
            cgroup=group,
            bpf=filter_of(config, options.cache),
            preserve_fds=options.preserve_fds,
            listener=listening,
            hooks=hooks,
            keyring=f"_ses.{made.id}" if options.keyring else "",
            pivot=options.pivot,
        )
    finally:
        if listening >= 0:
            os.close(listening)
    try:
        record["pid"] = made.pid = init.pid
        record["start_time"] = procinfo.start_time(init.pid)
        if linux.get("netDevices"):
            from estiva.runtime import netdevices

            netdevices.move(linux["netDevices"], init.pid)
        if linux.get("intelRdt"):
            from estiva.runtime import rdt

            record["rdt"] = rdt.planned(linux["intelRdt"], made.id)
        state.write(made.directory, record)
        if linux.get("intelRdt"):
            rdt.apply(linux["intelRdt"], made.id, init.pid)
    except BaseException:
        init.close()
        raise
    return init


def anywhere() -> None:
    """Undo a taskset(1) of the caller's, which is not the container's: its cpuset says where it may run.

    runc does the same. The kernel takes what is possible of the mask, now and when the cpuset changes.
    """
    if len(os.sched_getaffinity(0)) < (os.cpu_count() or 1):
        try:
            os.sched_setaffinity(0, range(_MOST_CPUS))
        except OSError:
            pass


def cgroup_of(made: Container, bundle: Bundle, systemd: bool, rootless: bool | None = None) -> Cgroup | None:
    """Make its cgroup, which `settled` is said to once it is used, and put it on record. The directory names
    it first; not so a scope, which systemd takes away when nobody is in it.

    None where we may not make any and no limit was asked for (`rootless`; by default an ordinary user is)."""
    group = _make_cgroup(made, bundle, systemd, os.geteuid() != 0 if rootless is None else rootless)
    if group is not None:
        made.making = group
        made.record["cgroup"] = group.path
        if group.unit:
            made.record["scope"] = group.unit
    return group


def _make_cgroup(made: Container, bundle: Bundle, systemd: bool, rootless: bool) -> Cgroup | None:
    linux = bundle.config.get("linux") or {}
    path = linux.get("cgroupsPath") or ""
    if not isinstance(path, str):
        raise InvalidInput("linux.cgroupsPath is not a string")
    if systemd:
        from estiva.runtime.cgroup.systemd.scope import Scope

        return Scope.begin(path, made.id, bundle.resources())
    path = cgroups.resolve(path, made.id)
    os.symlink(path, f"{made.directory}/{containers.CGROUP}")
    try:
        return factory.create(path, bundle.resources())
    except Unsupported:
        asked = linux.get("resources") or {}
        if not rootless or any(value for key, value in asked.items() if key != "devices"):
            raise
        return None


def filter_of(config: dict[str, Any], cache: str) -> bytes | None:
    """The BPF program of linux.seccomp."""
    profile = (config.get("linux") or {}).get("seccomp")
    if not profile:
        return None
    from estiva.runtime.security import capabilities, seccomp

    names = ((config.get("process") or {}).get("capabilities") or {}).get("bounding") or ()
    granted = [name for name in names if name in capabilities.ALL_CAPABILITIES]
    return seccomp.profile_filter(profile, granted, cache)
