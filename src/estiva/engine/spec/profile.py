"""--profile untrusted: what a container is held to that runs code which nobody has read.

    settle   of what was asked, judged already by its types: what contradicts is refused by its name, the
             rest of the profile is put into HostConfig, where `inspect` shows it
    place    once the image's config is known: the working folder, and the places of the image's volumes

A limit is another than the profile's only where it was asked for. docs/sandbox.md tells what is denied, and
by what. Loaded only for a container with a profile.
"""

from __future__ import annotations

import os
import stat

from estiva.engine.spec.security_opt import BUILT_IN, split_option
from estiva.errors import Conflict, InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.config_types import Config, HostConfig, Mount

UNTRUSTED = "untrusted"
MEMORY = 512 << 20  # bytes; as much with swap, so that there is none
CPUS = 10**9  # in 1e-9 of one
PIDS = 256
OUTPUT = 64 << 20  # bytes of a command
TIME = 3600 * 10**9  # nanoseconds
LOG = {"max-size": "16m", "max-file": "2"}  # an entry of a log is many times as long as a short line
# core: 1 keeps a host's handler of core dumps (core(5)) from being started, which 0 would not
ULIMITS = {"nofile": 1024, "core": 1}
ROOM = "exec,size=128m,nr_inodes=16384"  # of each tmpfs; what is in it counts as memory, too
HOME = "/work"  # the working folder, where neither image nor caller have one

# what has no place in the profile, as people say it
REFUSED = (
    ("Privileged", "--privileged"),
    ("CapAdd", "--cap-add"),
    ("Devices", "--device"),
    ("DeviceRequests", "--gpus, or a CDI device,"),
    ("DeviceCgroupRules", "--device-cgroup-rule"),
    ("PortBindings", "--publish"),
    ("PublishAllPorts", "--publish-all"),
    ("VolumesFrom", "--volumes-from"),
    ("Sysctls", "--sysctl"),
    ("OomKillDisable", "--oom-kill-disable"),
    ("IDMappings", "--uidmap, or --gidmap,"),
    ("SubuidName", "--subuidname"),
    ("SubgidName", "--subgidname"),
)
MODES = (
    ("PidMode", "--pid", ("private",)),
    ("IpcMode", "--ipc", ("private", "none")),
    ("UTSMode", "--uts", ("private",)),
    ("CgroupnsMode", "--cgroupns", ("private",)),
)
KERNEL = ("/proc", "/sys", "/dev")


def settle(config: Config, host: HostConfig) -> None:
    """Raises InvalidInput for a profile that there is not, Conflict for what contradicts it."""
    name = host.get("Profile") or ""
    if name != UNTRUSTED:
        raise InvalidInput(f"there is no profile '{brief(name, 40)}'", hint=f"{UNTRUSTED} is one")
    asked: Any = host
    for key, option in REFUSED:
        if asked.get(key) and asked[key] != {"UidMap": [], "GidMap": []}:
            raise against(option)
    for key, option, known in MODES:
        if asked.get(key) not in (None, "", *known):
            raise against(f"{option} {asked[key]}")
    if host.get("ReadonlyRootfs") is False:
        raise against("a root filesystem that can be written to")
    restart = (host.get("RestartPolicy") or {}).get("Name") or "no"
    if restart != "no":
        raise against(f"--restart {restart}", "each run has its limit of time")
    if config.get("HealthcheckOnFailureAction") == "restart":
        raise against("--health-on-failure restart")
    _network(host)
    _users(host)
    _security(host)
    _files(config, host)
    _limits(host)
    host["ReadonlyRootfs"] = True
    host["CapDrop"] = ["ALL"]


def against(option: str, hint: str = "") -> Conflict:
    """The refusal of an option."""
    return Conflict(f"{brief(option, 200)} can't be used with --profile {UNTRUSTED}", hint=hint)


def _network(host: HostConfig) -> None:
    mode = host.get("NetworkMode") or "default"
    if not host.get("AllowHosts"):
        if mode not in ("default", "none"):
            raise against(f"--network {mode}", "--allow-host NAME:PORT lets it reach some hosts")
        host["NetworkMode"] = "none"
        return
    from estiva.network.dns import allow

    allow.table(host["AllowHosts"])
    if mode in ("none", "host") or ":" in mode:
        raise against(f"--network {mode} and --allow-host")
    host["NetworkMode"] = "bridge" if mode == "default" else mode


def _users(host: HostConfig) -> None:
    mode = host.get("UsernsMode") or ""
    kind, _, details = mode.partition(":")
    if kind not in ("", "auto", "private") or "mapping=" in details:
        raise against(f"--userns {mode}", "it has a user namespace and a range of ids of its own")
    host["UsernsMode"] = mode if kind == "auto" else "auto"


def _security(host: HostConfig) -> None:
    options = list(host.get("SecurityOpt") or ())
    for option in options:
        key, value = split_option(option)
        weaker = (
            (key == "seccomp" and (value == "unconfined" or value not in BUILT_IN))
            or (key == "no-new-privileges" and value == "false")
            or (key, value) in (("apparmor", "unconfined"), ("label", "disable"))
        )
        if weaker:
            raise against(f"--security-opt {option}")
    from estiva.runtime.security import kernel_paths

    for given, least in (
        (host.get("MaskedPaths"), kernel_paths.masked_paths()),
        (host.get("ReadonlyPaths"), kernel_paths.READONLY_PATHS),
    ):
        if given is not None and not set(least) <= set(given):
            raise against("--security-opt unmask, or systempaths,")
    if not any(split_option(option)[0] == "no-new-privileges" for option in options):
        options.append("no-new-privileges")
    host["SecurityOpt"] = options


def _files(config: Config, host: HostConfig) -> None:
    from estiva.engine.spec import mounts

    places = set()
    for mount in mounts.wanted(config, host):
        places.add(mount["Target"])
        if mount["Type"] in ("bind", "volume", "image"):
            _look(mount)
    if "/tmp" not in places:
        host["Tmpfs"] = {**(host.get("Tmpfs") or {}), "/tmp": f"{ROOM},mode=1777"}


def _look(mount: Mount) -> None:
    """Raise Conflict for a mount by which it could write outside of its memory, or reach a service."""
    kind, source, target = mount["Type"], mount.get("Source") or "", mount["Target"]
    options = mount.get("BindOptions") or {}
    written = not mount.get("ReadOnly")
    if kind == "image":
        written = bool((mount.get("ImageOptions") or {}).get("ReadWrite"))
    if written or "Overlay" in mount or mount.get("Chown") or options.get("ReadOnlyNonRecursive"):
        what = f"a {kind} mount at {target} that can be written to"
        raise against(what, "mount it read-only (ro); what it makes is read by `estiva cp`, or box.files")
    if options.get("Propagation") not in (None, "", "private", "rprivate"):
        raise against(f"the propagation {options['Propagation']} of {target}")
    if kind != "bind":
        return
    path = os.path.realpath(source)
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # what is not there is made, or refused, with the other mounts
    service = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    inside = any(path == each or path.startswith(each + "/") for each in KERNEL)
    runs = path == "/run" or (path.startswith("/run/") and not stat.S_ISREG(mode))
    if service or inside or runs or path == "/":
        raise against(
            f"a bind mount of {source}", "sockets, devices, the host's root and its /run lead to the host"
        )


def _limits(host: HostConfig) -> None:
    asked: Any = host
    if not host.get("Memory"):
        asked["Memory"] = MEMORY
    if not host.get("MemorySwap"):
        asked["MemorySwap"] = host["Memory"]
    if not any(asked.get(key) for key in ("NanoCpus", "CpuQuota", "CpuPeriod")):
        asked["NanoCpus"] = CPUS
    for key, most in (("PidsLimit", PIDS), ("OutputLimit", OUTPUT), ("TimeLimit", TIME)):
        if not asked.get(key):
            asked[key] = most
    log = host.get("LogConfig") or {}
    if log.get("Type") in (None, "", "json-file") and "max-size" not in (log.get("Config") or {}):
        asked["LogConfig"] = {"Type": "json-file", "Config": {**LOG, **(log.get("Config") or {})}}
    own = list(host.get("Ulimits") or ())
    named = {limit["Name"] for limit in own}
    asked["Ulimits"] = own + [
        {"Name": name, "Soft": most, "Hard": most} for name, most in ULIMITS.items() if name not in named
    ]


def place(config: Config, host: HostConfig) -> None:
    """Of a config that the image has completed: a tmpfs on the working folder, and where the image has
    volumes, with what the image has there."""
    from estiva.engine.spec import mounts

    taken = {mount["Target"] for mount in mounts.wanted({**config, "Volumes": {}}, host)}
    room = dict(host.get("Tmpfs") or {})
    for target in config.get("Volumes") or ():
        where = mounts.destination(target, f"volume of the image: '{target}'")
        if where not in taken:
            room[where] = f"{ROOM},tmpcopyup"
            taken.add(where)
    config["Volumes"] = {}
    folder = os.path.normpath("/" + (config.get("WorkingDir") or "").lstrip("/"))
    if folder == "/":
        folder = config["WorkingDir"] = HOME
        if folder not in taken:
            room[folder] = f"{ROOM},mode=1777"
    elif not any(folder == each or folder.startswith(each + "/") for each in taken):
        room[folder] = f"{ROOM},tmpcopyup"
    host["Tmpfs"] = room
