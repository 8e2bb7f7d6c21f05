"""Namespaces other than a container's own: the host's, another container's, one by its path; and user
namespaces. Loaded only for a container that asks for such.

    check    at create: which modes there are
    settle   at create: names become ids (HostConfig holds `container:ID`)
    Joining  at start: whose are joined, and what the OCI config must say for it
    Joined   in the monitor (engine/monitor/namespaces.py): the namespaces, opened once their owner is
    verified
"""

from __future__ import annotations

import fcntl
import os

from estiva.engine.spec import userns
from estiva.engine.state import lookup
from estiva.errors import Conflict, InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.config_types import Config, HostConfig
    from estiva.engine.state.types import OCI, Lender, Record, Sharing
    from estiva.paths import Paths

# kind of namespace, HostConfig's key, name under /proc/PID/ns, option, modes beside container:X and ns:PATH
KINDS = (
    ("user", "UsernsMode", "user", "userns", ()),
    ("network", "NetworkMode", "net", "network", ("bridge", "none", "host", "default")),
    ("pid", "PidMode", "pid", "pid", ("host", "private")),
    ("ipc", "IpcMode", "ipc", "ipc", ("host", "private", "shareable", "none")),
    ("uts", "UTSMode", "uts", "uts", ("host", "private")),
    ("cgroup", "CgroupnsMode", "cgroup", "cgroupns", ("host", "private")),
)
_NS_GET_USERNS = 0xB701  # ioctl_ns(2)


def check(host_config: HostConfig) -> None:
    """Judge the modes. Raises InvalidInput, Conflict, Unsupported."""
    userns.check(host_config)
    modes: Any = host_config
    for kind, key, _, option, known in KINDS:
        mode = modes.get(key) or ""
        start, _, name = mode.partition(":")
        if start == "ns":
            if not name.startswith("/"):
                raise InvalidInput(f"--{option}: {mode} needs an absolute path")
        elif mode in ("", *known) or (start == "container" and name) or kind == "user":
            pass
        elif kind == "network" and ":" not in mode:
            pass  # endpoints.settle knows whether there is such a network
        elif kind == "network":
            raise Unsupported(
                f"network '{mode}' is not available",
                hint="bridge, none, host, container:NAME or the name of a network",
            )
        else:
            raise InvalidInput(
                f"--{option}: invalid {option} mode '{mode}'",
                hint=", ".join((*known, "container:NAME", "ns:PATH")),
            )


def settle(engine: Engine, config: Config, host_config: HostConfig, *, starts: bool) -> None:
    """Replace the names in judged modes by ids, and check what goes with them. Who lends must run for a
    container that `starts` at once. Raises NotFound, Conflict, InvalidInput.
    """
    userns.settle(config, host_config)
    modes: Any = host_config
    lenders: dict[str, Record] = {}
    for kind, key, _, _, _ in KINDS:
        start, _, name = str(host_config.get(key) or "").partition(":")
        if start == "container" and name:
            lender = lenders[kind] = lookup.resolve(engine, name)
            if starts and not lender["State"]["Running"]:
                raise Conflict(f"container {name} is not running", hint=f"`estiva start {name}` starts it")
            modes[key] = f"container:{lender['Id']}"
    _check_network(config, host_config, lenders.get("network"))
    uts = str(host_config.get("UTSMode") or "")
    if uts not in ("", "private"):
        if config.get("Hostname") or config.get("Domainname"):
            raise Conflict(
                f"--hostname and --domainname can't be used with --uts {uts}: the name is another's"
            )
        if uts == "host":
            config["Hostname"] = os.uname().nodename
    for kind in ("uts", "network"):
        if kind in lenders and not config.get("Hostname"):
            config["Hostname"] = lenders[kind]["Config"].get("Hostname") or ""
    if "ipc" in lenders:
        _check_ipc(lenders["ipc"])
    if "user" in lenders and lenders["user"]["HostConfig"].get("IDMappings"):
        host_config["IDMappings"] = lenders["user"]["HostConfig"]["IDMappings"]


def _check_network(config: Config, host_config: HostConfig, lender: Record | None) -> None:
    mode = str(host_config.get("NetworkMode") or "")
    if lender is None and not mode.startswith("ns:"):
        return
    taken: list[tuple[str, object]] = [
        ("--publish", host_config.get("PortBindings") or host_config.get("PublishAllPorts")),
        ("--expose", config.get("ExposedPorts")),
    ]
    if lender is not None:
        taken += [
            ("--hostname", config.get("Hostname")),
            (
                "--dns",
                host_config.get("Dns") or host_config.get("DnsSearch") or host_config.get("DnsOptions"),
            ),
            ("--add-host", host_config.get("ExtraHosts")),
        ]
    for option, value in taken:
        if value:
            whose = "container" if lender is not None else "namespace"
            raise Conflict(f"{option} can't be used with the network of another {whose}")


def _check_ipc(lender: Record) -> None:
    """As with Docker, only what was made for it is shared."""
    mode = lender["HostConfig"].get("IpcMode") or "private"
    if mode in ("private", "none"):
        raise Conflict(
            f"the ipc namespace of container {lender['Id'][:12]} is its own",
            hint="run that one with --ipc shareable",
        )


def _keeper(engine: Engine, name: str) -> str:
    """The id of the container whose /etc/hosts and resolv.conf this one has: of one that has joined another's
    network, that one's, and so on; each was made after the one that it joins."""
    while True:
        record = lookup.resolve(engine, name)
        start, _, lender = str(record["HostConfig"].get("NetworkMode")).partition(":")
        if start != "container":
            return record["Id"]
        name = lender


class Joining:
    """What a container that is being started gets from others.

    shared: kind of namespace -> path, for the OCI config; network: the id of the container that has the files
    of its network; wanted: what the monitor needs, as JSON-able data. Raises NotFound, Conflict.
    """

    def __init__(self, engine: Engine, made: Record) -> None:
        self.host = made["HostConfig"]
        self.shared: dict[str, str] = {}
        self.network = ""
        lenders: list[Lender] = []
        shm = -1
        for kind, key, proc, _, _ in KINDS:
            start, _, name = str(self.host.get(key) or "").partition(":")
            if start == "ns":
                self.shared[kind] = name
            elif start == "container":
                live = lookup.running_state(engine, name)
                path = f"/proc/{live['pid']}/ns/{proc}"
                if kind == "network":
                    self.network = _keeper(engine, name)
                if kind == "ipc":
                    shm = len(lenders)
                self.shared[kind] = path
                lenders.append(
                    {"kind": kind, "pid": live["pid"], "start_time": live["start_time"], "id": live["id"]}
                )
        if "user" in self.shared and _same(self.shared["user"], "/proc/self/ns/user"):
            del self.shared["user"]
        mappings = self.host.get("IDMappings")
        self.mappings = mappings
        self.in_userns = bool(mappings) or "user" in self.shared
        self.mapped = self.in_userns and not (mappings and userns.identical(mappings))
        self.wanted: Sharing = {"lenders": lenders, "shm": shm, "mapped": self.mapped}
        if mappings:
            self.wanted["maps"] = [userns.text(mappings[key]) for key in ("UidMap", "GidMap")]
            self.wanted["root"] = userns.root(mappings)

    def adapt(self, oci: OCI, paths: Paths) -> None:
        """Make an OCI config of spec.make what its namespaces demand. Raises Unsupported."""
        self._ipc(oci)
        if not self.in_userns:
            return
        self._map_files(oci, paths)
        self._bind_devices(oci)
        linux = oci["linux"]
        entry = {"type": "user"}
        if "user" in self.shared:
            entry["path"] = self.shared["user"]
        elif self.mappings:
            linux["uidMappings"] = userns.oci(self.mappings["UidMap"])
            linux["gidMappings"] = userns.oci(self.mappings["GidMap"])
        linux["namespaces"].insert(0, entry)
        # What the kernel lets root of a user namespace mount new is only what belongs to namespaces that this
        # one owns; of the others the host's are bound, without what is mounted in them.
        modes: Any = self.host
        for kind, key in (("network", "NetworkMode"), ("pid", "PidMode"), ("cgroup", "CgroupnsMode")):
            theirs = kind in self.shared and not self._owned(self.shared[kind])
            if theirs and kind != "network":
                raise Unsupported(
                    f"the {kind} namespace of {modes[key]} belongs to another user namespace",
                    hint="join that too, with --userns, or neither",
                )
            if theirs or modes.get(key) == "host":
                self._bind(oci, {"network": "/sys", "pid": "/proc", "cgroup": "/sys/fs/cgroup"}[kind])
        if not (self.mappings and userns.has(self.mappings["GidMap"], 5)):
            for mount in oci["mounts"]:
                if mount["type"] == "devpts":
                    mount["options"].remove("gid=5")

    def _map_files(self, oci: OCI, paths: Paths) -> None:
        """What the engine keeps for containers, volumes and /etc/hosts, has a container's ids on the disk."""
        ours = (paths.containers + "/", paths.volumes + "/")
        for mount in oci["mounts"]:
            if mount["type"] == "bind" and mount["source"].startswith(ours) and "uidMappings" not in mount:
                mount["options"].append("idmap")
            if not self.mapped and "uidMappings" not in mount and "idmap" in mount["options"]:
                mount["options"] = [o for o in mount["options"] if o != "idmap"]  # the ids are the same

    def _bind_devices(self, oci: OCI) -> None:
        """Nodes can't be made in a user namespace, and the launcher binds those that have the same name."""
        named = {
            device["PathInContainer"]: device["PathOnHost"]
            for device in self.host.get("Devices") or ()
            if device.get("PathInContainer") not in (None, "", device["PathOnHost"])
        }
        for device in [one for one in oci["linux"].get("devices") or () if one["path"] in named]:
            oci["linux"]["devices"].remove(device)
            oci["mounts"].append(
                {
                    "destination": device["path"],
                    "type": "bind",
                    "source": named[device["path"]],
                    "options": ["bind", "rprivate", "nosuid", "noexec"],
                }
            )

    def _owned(self, path: str) -> bool:
        """Whether the namespace at `path` belongs to the user namespace that is joined."""
        return "user" in self.shared and _owner(path) == _identity(self.shared["user"])

    def _ipc(self, oci: OCI) -> None:
        """/dev/shm and /dev/mqueue of the ipc namespace that it is."""
        mode = str(self.host.get("IpcMode") or "")
        if mode in ("", "private", "shareable"):
            return
        places = {mount["destination"].rstrip("/"): mount for mount in oci["mounts"]}
        secure = ["nosuid", "noexec", "nodev"]
        mounts = []
        if mode == "none":
            oci["mounts"] = [
                m for m in oci["mounts"] if m["destination"] != "/dev/shm" or m["source"] != "shm"
            ]
            return
        theirs = self.in_userns and ("ipc" not in self.shared or not self._owned(self.shared["ipc"]))
        if "/dev/mqueue" not in places and not theirs:
            mounts.append(
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": secure}
            )
        if "/dev/shm" not in places and (mode == "host" or self.wanted["shm"] >= 0):
            source = {"destination": "/dev/shm", "type": "bind", "source": "/dev/shm"}
            if mode != "host" or os.path.isdir("/dev/shm"):
                mounts.append({**source, "options": ["bind", "rprivate", *secure]})
        else:
            self.wanted["shm"] = -1  # something of the user's is there
        after = next((i for i, m in enumerate(oci["mounts"]) if m["destination"] == "/dev/pts"), 0) + 1
        oci["mounts"][after:after] = mounts

    def _bind(self, oci: OCI, place: str) -> None:
        for mount in oci["mounts"]:
            if mount["destination"] == place and mount["type"] in ("sysfs", "proc", "cgroup"):
                if place == "/sys/fs/cgroup" and not os.path.exists(place + "/cgroup.controllers"):
                    return  # cgroup v1: the container's own directories are bound in any case
                mount.update(type="bind", source=place, options=["bind", "rprivate", *mount["options"]])


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _same(one: str, other: str) -> bool:
    try:
        return _identity(one) == _identity(other)
    except OSError:
        return False  # the launcher says what is wrong with the path


def _owner(path: str) -> tuple[int, int]:
    """The user namespace that a namespace belongs to; (0, 0) for what is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return 0, 0
    try:
        owner = fcntl.ioctl(fd, _NS_GET_USERNS)
        try:
            found = os.fstat(owner)
            return found.st_dev, found.st_ino
        finally:
            os.close(owner)
    except OSError:
        return 0, 0
    finally:
        os.close(fd)
