"""create, start, delete: runtime-spec runtime.md, "Lifecycle" and "Operations". No process of ours stays."""

from __future__ import annotations

import _signal
import os
import time

from estiva import files
from estiva.errors import Conflict, EngineError, EstivaError, InvalidInput, Unsupported
from estiva.linux import process as proc
from estiva.runtime import cgroup as cgroups
from estiva.runtime import state, sync
from estiva.runtime.bundle import bundle as bundles
from estiva.runtime.bundle.bundle import Bundle
from estiva.runtime.cgroup import factory
from estiva.runtime.launch import container, start_socket
from estiva.runtime.launch.hooks import Hooks
from estiva.runtime.lifecycle import containers
from estiva.runtime.lifecycle.containers import Container
from estiva.runtime.security import capabilities, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.launch.clone import Init

_MOST_CPUS = 1 << 13
_DEATH = 10.0  # seconds that a killed process may take to go


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
        with open(f"{directory}/{bundles.CONFIG}", "wb", opener=_private) as file:
            file.write(bundle.raw)
    except BaseException:
        undo(made)
        raise
    return made


def create(root: str, id: str, bundle: Bundle, options: Options) -> tuple[Container, Init]:
    """The `create` operation: the container stands, its command waits. The caller `leave`s or starts it.

    Nothing is left behind on an error. Raises Conflict when the id is taken, and what the launcher raises.
    """
    init: Init | None = None
    made = begin(root, id, bundle)
    try:
        if options.notify:
            files.make_directory(f"{made.directory}/notify", 0o755)
        init = _launch(made, bundle, options)
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
        undo(made)
        raise
    return made, init


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _launch(made: Container, bundle: Bundle, options: Options) -> Init:
    """Everything up to the clone; state.json is there before a hook can ask for it."""
    record, config = made.record, bundle.config
    linux = config.get("linux") or {}
    keys = ("ociVersion", "id", "bundle", "annotations")
    hooks = Hooks(config.get("hooks"), {key: record[key] for key in keys})
    group = cgroup_of(made, bundle, options.systemd, options.rootless)
    listening = (
        start_socket.listen(made.directory, 3 + options.preserve_fds) if options.wait_for_start else -1
    )
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
        record["start_time"] = proc.start_time(init.pid)
        if linux.get("netDevices"):
            from estiva.runtime import netdevices

            netdevices.move(linux["netDevices"], init.pid)
        if linux.get("intelRdt"):
            from estiva.runtime import rdt

            record["rdt"] = rdt.apply(linux["intelRdt"], made.id, init.pid)
        state.write(made.directory, record)
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
    """Make its cgroup, which `settled` is said to once it is used, and put it on record.

    None where we may not make any and no limit was asked for (`rootless`; by default an ordinary user is)."""
    group = _make_cgroup(bundle, made.id, systemd, os.geteuid() != 0 if rootless is None else rootless)
    if group is not None:
        made.making = group
        made.record["cgroup"] = group.path
        if group.unit:
            made.record["scope"] = group.unit
    return group


def _make_cgroup(bundle: Bundle, id: str, systemd: bool, rootless: bool) -> Cgroup | None:
    linux = bundle.config.get("linux") or {}
    path = linux.get("cgroupsPath") or ""
    if not isinstance(path, str):
        raise InvalidInput("linux.cgroupsPath is not a string")
    if systemd:
        from estiva.runtime.cgroup.systemd.scope import Scope

        return Scope.begin(path, id, bundle.resources())
    try:
        return factory.create(cgroups.resolve(path, id), bundle.resources())
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
    names = ((config.get("process") or {}).get("capabilities") or {}).get("bounding") or ()
    granted = [name for name in names if name in capabilities.ALL_CAPABILITIES]
    return seccomp.profile_filter(profile, granted, cache)


def undo(made: Container) -> list[str]:
    """Take away what a container was made of, and run its poststop hooks: what they had to complain of."""
    group = made.cgroup
    if group is not None:
        group.kill()
        group.remove()
    if made.record.get("rdt"):
        from estiva.runtime import rdt

        rdt.remove(made.record["rdt"])
    warnings = []
    try:
        hooks = made.hooks()
    except (EstivaError, OSError):
        pass
    else:
        warnings = hooks.run_all("poststop", 0, "stopped")
    files.remove_tree(made.directory)
    return warnings


def start(made: Container) -> None:
    """The `start` operation: returns once the command runs.

    Raises Conflict when it was started before or is stopped, init's error when it can't go on, and that of a
    poststart hook.
    """
    held = made.lock()
    try:
        status = made.status()
        if status != "created":
            raise Conflict(f"cannot start a container that is {status}: {made.id}")
        channel = start_socket.connect(made.directory)
    finally:
        os.close(held)
    try:
        channel.send(sync.GO)
        kind, payload, _ = channel.receive()
    except (BrokenPipeError, ConnectionResetError):
        raise containers.not_running(made.id) from None
    finally:
        channel.close()
    if kind == sync.ERROR:
        raise sync.decode(payload)
    started(made)


def started(made: Container) -> None:
    """The poststart hooks. When one fails its error is raised and nothing is left of the container:
    runtime-spec 1.3, "Lifecycle", step 9."""
    hooks = made.hooks()
    try:
        hooks.run("poststart", made.pid, "running")
    except EngineError:
        delete(made, force=True)
        raise


def delete(made: Container, *, force: bool = False) -> list[str]:
    """The `delete` operation; what poststop hooks had to complain of.

    Raises Conflict for one that is not stopped, unless forced: then it is killed.
    """
    held = made.lock()
    try:
        status = made.status()
        if status != "stopped":
            if not force:
                raise Conflict(
                    f"cannot delete container {made.id} that is not stopped: {status}",
                    hint="kill it first, or use --force",
                )
            _kill(made)
        return undo(made)
    finally:
        os.close(held)


def _kill(made: Container) -> None:
    """SIGKILL init and wait for its end: with a pid namespace of its own all others end with it."""
    group = made.cgroup
    try:
        made.signal(_signal.SIGKILL)
    except Conflict:
        pass
    if group is not None and group.frozen():
        group.thaw()  # a frozen process of cgroup v1 does not die
    deadline = time.monotonic() + _DEATH
    while made.alive:
        if time.monotonic() > deadline:
            raise EngineError(f"container {made.id} does not die")
        time.sleep(0.001)
