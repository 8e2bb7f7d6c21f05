"""An OCI runtime config read and checked before anything is made: what the child needs, and nothing else.

Runs in the parent, so that a wrong config is an error at once, and so that the child imports nothing.
"""

from __future__ import annotations

import os

from estiva.errors import InvalidInput, Unsupported
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.oci.config import DEFAULT_PATH
from estiva.runtime.process import command
from estiva.runtime.process.credentials import Capabilities
from estiva.runtime.rootfs import mount_plan, protect
from estiva.runtime.security.capabilities import ALL_CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.launch.hooks import Hooks
    from estiva.runtime.process.labels import Labels
    from estiva.runtime.process.reaper import Agent
    from estiva.runtime.process.scheduling import Scheduling
    from estiva.runtime.rootfs.mount_plan import Mount
    from estiva.runtime.rootfs.prepared import Prepared
    from estiva.runtime.rootfs.rootfs import Rootfs
    from estiva.runtime.security.seccomp_notify import Notifier

_SCHEDULED = ("scheduler", "ioPriority", "execCPUAffinity")
_PERSONALITIES = {"LINUX": 0, "LINUX32": 0x0008}


class Process:
    """What is to run: an OCI config's `process`, with the fds and the filter that the caller gives it."""

    def __init__(
        self,
        process: dict[str, Any],
        *,
        stdio: tuple[int, int, int],
        bpf: bytes | None,
        preserve_fds: int = 0,
        idle: bool = False,
    ) -> None:
        self.args: list[str] = [str(a) for a in process.get("args") or ()]
        if not self.args and not idle:
            raise InvalidInput("no command was given, and the image has none")
        if any("\0" in a for a in self.args):
            raise InvalidInput("an argument of the command holds a NUL byte")
        self.env = command.environment(process.get("env") or ())
        self.cwd: str = process.get("cwd") or "/"
        if not self.cwd.startswith("/"):
            raise InvalidInput(f"the working directory {self.cwd!r} is not an absolute path")
        self.user: dict[str, Any] = process.get("user") or {}
        self.terminal = bool(process.get("terminal"))
        if self.terminal:
            from estiva.linux import tty  # noqa: F401  (now: the child may import nothing once names are others')
        self.console_size: dict[str, Any] | None = process.get("consoleSize")
        self.capabilities = Capabilities(process.get("capabilities"), ALL_CAPABILITIES)
        self.no_new_privileges = bool(process.get("noNewPrivileges"))
        self.rlimits: list[dict[str, Any]] = process.get("rlimits") or []
        self.oom_score_adj: int | None = process.get("oomScoreAdj")
        self.stdio = stdio
        self.bpf = bpf
        self.allowed: dict[int, bool] = {}  # what of it is known: init.allows
        self.preserve_fds = preserve_fds
        self.scheduling: Scheduling | None = None
        self.labels: Labels | None = None
        self.notifier: Notifier | None = None
        if any(field in process for field in _SCHEDULED):
            from estiva.runtime.process import scheduling

            self.scheduling = scheduling.plan(process)
        if process.get("apparmorProfile") or process.get("selinuxLabel"):
            from estiva.runtime.process import labels

            self.labels = labels.Labels(process)
        self.seccomp_flags = 0
        self.domain: int | None = None  # of exec: personality(2)
        self.keyring = ""
        # Whether others may be changing the container's files while its command is looked up: command.inspect
        self.contested = True
        self.handlers = False  # whether the kernel has been told of programs of other machines
        # A filter without no_new_privs can only be installed with CAP_SYS_ADMIN: it is held until then.
        self.keep_admin = bool(bpf) and not self.no_new_privileges

    def filtered(self, seccomp: dict[str, Any], state: dict[str, Any]) -> None:
        """linux.seccomp: the flags of its filter, which is `bpf`, and who is told of SCMP_ACT_NOTIFY.

        Raises InvalidInput.
        """
        from estiva.linux.seccomp_names import FLAGS
        from estiva.runtime.security import seccomp_notify

        self.notifier = seccomp_notify.plan(seccomp, state, 3 + self.preserve_fds)
        for flag in seccomp.get("flags") or ():
            if self.notifier is not None or flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
                self.seccomp_flags |= FLAGS[flag]

    @property
    def path(self) -> str:
        """The PATH that the command is looked for on."""
        return self.env.get(b"PATH", DEFAULT_PATH.encode()).decode("utf-8", "surrogateescape")


class Plan:
    """One container: see the module. Raises InvalidInput and Unsupported."""

    def __init__(
        self, config: dict[str, Any], rootfs: Rootfs, process: Process, *, cgroup: Cgroup | None, init: bool
    ) -> None:
        linux: dict[str, Any] = config.get("linux") or {}
        self.process = process
        if "memoryPolicy" in linux:
            from estiva.runtime.process import scheduling

            process.scheduling = scheduling.plan(config.get("process") or {}, linux)
        self.rootfs = rootfs
        self.cgroup = cgroup
        self.init = init
        self.flags = 0
        self.joined: dict[str, str] = {}  # kind of namespace -> its path
        self._namespaces(linux.get("namespaces") or ())
        own = {name for name, (flag, _) in ns.NAMESPACES.items() if self.flags & flag} | self.joined.keys()
        if "user" in own and "mount" not in own:
            raise Unsupported("a user namespace can't go with the host's mount namespace")
        # fds of namespaces that the child joins by itself: join.py
        self.late: dict[str, int] = {}
        self.hostname: str = config.get("hostname") or ""
        self.domainname: str = config.get("domainname") or ""
        if (self.hostname or self.domainname) and "uts" not in own:
            raise InvalidInput("a hostname can't be set while the uts namespace is the host's")
        label: str = linux.get("mountLabel") or ""
        if label:
            from estiva.runtime.process import labels

            label = label if labels.selinux() else ""
        self.mounts: list[Mount] = mount_plan.plan(config.get("mounts") or [], label)
        if any(m.fstype in ("cgroup", "cgroup2") for m in self.mounts):
            from estiva.runtime.cgroup.layout import layout

            layout()  # read once here, not in every child
        self.devices: list[dict[str, Any]] = linux.get("devices") or []
        self.masked: list[str] = list(dict.fromkeys(linux.get("maskedPaths") or ()))
        self.readonly_paths: list[str] = linux.get("readonlyPaths") or []
        self.sysctls = protect.plan_sysctls(linux.get("sysctl") or {}, own)
        self.propagation: str = linux.get("rootfsPropagation") or ""
        self.readonly = rootfs.readonly or bool((config.get("root") or {}).get("readonly"))
        self.personality = personality(linux.get("personality"))
        self.uid_map = mount_plan.id_map(linux.get("uidMappings") or (), "linux.uidMappings")
        self.gid_map = mount_plan.id_map(linux.get("gidMappings") or (), "linux.gidMappings")
        self.id_mapped = [m for m in self.mounts if m.idmap]
        self.receiving = any(m.bind and m.propagation & mnt.MS_SLAVE for m in self.mounts)
        self.sharing = [m for m in self.mounts if m.bind and m.propagation & mnt.MS_SHARED]
        if self.flags & ns.CLONE_NEWUSER and not (self.uid_map and self.gid_map):
            raise InvalidInput("a new user namespace needs uidMappings and gidMappings")
        self.time_offsets: dict[str, dict[str, int]] = linux.get("timeOffsets") or {}
        # Sources below the root itself mean what is mounted there by then: it must be at its path.
        self.inward = rootfs.path is not None and any(
            m.bind and m.source.startswith(f"{rootfs.path}/") for m in self.mounts
        )
        self.root_fd = -1
        self.prepared: Prepared | None = None  # of an init that waited: standby.py
        self.listener = -1  # fd: start_socket.py
        self.agent: Agent | None = None  # of an idle init that executes commands
        self.hooks: Hooks | None = None
        self.pivot = True
        # An overlay of its own has nobody in it yet. A directory may be another container's root too.
        process.contested = rootfs.path is not None
        process.handlers = process.contested and os.path.exists(command.HANDLERS)

    def _namespaces(self, entries: list[dict[str, str]] | tuple[()]) -> None:
        seen = set()
        for index, entry in enumerate(entries):
            name = entry.get("type", "")
            where = f"linux.namespaces[{index}]"
            if name not in ns.NAMESPACES:
                raise InvalidInput(f"{where}.type: {name!r} is not a kind of namespace")
            if name in seen:
                raise InvalidInput(f"{where}.type: the {name} namespace is given twice")
            seen.add(name)
            path = entry.get("path")
            if not path:
                self.flags |= ns.NAMESPACES[name][0]
            elif path.startswith("/"):
                self.joined[name] = path
            else:
                raise InvalidInput(f"{where}.path: {path!r} is not an absolute path")

    def opened(self) -> list[int]:
        """The fds that were opened for the child beforehand."""
        fds = [self.root_fd, self.listener, *self.late.values(), *[m.fd for m in self.mounts]]
        if self.agent is not None:
            fds.append(self.agent.fd)
        if self.prepared is not None:
            fds += self.prepared.fds()
        return [fd for fd in fds if fd >= 0]

    @property
    def other_user(self) -> bool:
        """Whether the child is in another user namespace than we, and so may not what we may."""
        return bool(self.flags & ns.CLONE_NEWUSER) or "user" in self.joined

    @property
    def own_mounts(self) -> bool:
        """Whether the container gets a mount namespace of its own: not the host's, nor one that is joined."""
        return bool(self.flags & ns.CLONE_NEWNS)


def personality(entry: dict[str, Any] | None) -> int | None:
    if entry is None:
        return None
    domain = entry.get("domain")
    if domain not in _PERSONALITIES:
        raise InvalidInput(
            f"linux.personality.domain: {domain!r} is not a personality",
            hint="one of " + ", ".join(_PERSONALITIES),
        )
    if entry.get("flags"):
        raise InvalidInput(f"linux.personality.flags: {entry['flags'][0]!r} is not a flag of a personality")
    return _PERSONALITIES[domain]
