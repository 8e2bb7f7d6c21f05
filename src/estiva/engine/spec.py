"""From a container's record to the OCI runtime config that the launcher takes (runtime-spec,
config-linux.md).

The defaults are Docker's: six namespaces, masked and read-only kernel files, 14 capabilities, a private /dev.
"""

from __future__ import annotations

from estiva.engine.record import DEFAULT_PATH, merge_env
from estiva.errors import InvalidInput, Unsupported, reason
from estiva.runtime import security

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CPU_PERIOD = 100_000  # microseconds
PIDS_LIMIT = 2048
SHM_SIZE = 64 << 20  # bytes
CPUSET = frozenset("0123456789,-")
HOSTNAME_LIMIT = 64  # bytes: __NEW_UTS_LEN


def mounts(host_config: dict[str, Any], ipc_mounts: bool = True) -> list[dict[str, Any]]:
    """The kernel's own filesystems, in the order in which they are mounted."""
    privileged = bool(host_config.get("Privileged"))
    secure = ["nosuid", "noexec", "nodev"]
    access = [] if privileged else ["ro"]
    shm = host_config.get("ShmSize") or SHM_SIZE
    table = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": secure},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": secure + access},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": secure + access},
    ]
    if ipc_mounts:
        table += [
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": secure},
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": [*secure, "mode=1777", f"size={shm}"],
            },
        ]
    return table


def resources(host_config: dict[str, Any]) -> dict[str, Any]:
    """linux.resources from Docker's HostConfig. Bytes, microseconds, shares; only what was asked for."""
    get = host_config.get
    memory: dict[str, Any] = {}
    if get("Memory"):
        memory["limit"] = get("Memory")
        # Docker: as much swap as memory, unless said otherwise; the value is memory plus swap
        memory["swap"] = get("MemorySwap") or 2 * get("Memory", 0)
    elif get("MemorySwap"):
        raise InvalidInput("--memory-swap needs --memory", hint="set both, swap counts memory plus swap")
    if get("Memory") and (get("MemorySwap") or 0) > 0 and get("MemorySwap", 0) < get("Memory", 0):
        raise InvalidInput(
            "--memory-swap is smaller than --memory", hint="it counts memory plus swap; -1 is unlimited"
        )
    if get("MemoryReservation"):
        memory["reservation"] = get("MemoryReservation")
    if get("MemorySwappiness") is not None and get("MemorySwappiness") != -1:
        memory["swappiness"] = get("MemorySwappiness")
    if get("OomKillDisable"):
        memory["disableOOMKiller"] = True
    cpu: dict[str, Any] = {}
    if get("NanoCpus"):
        if get("CpuQuota") or get("CpuPeriod"):
            raise InvalidInput("--cpus can't be used with --cpu-period or --cpu-quota")
        cpu["period"] = CPU_PERIOD
        cpu["quota"] = get("NanoCpus", 0) * CPU_PERIOD // 1_000_000_000
    if get("CpuQuota"):
        cpu["quota"] = get("CpuQuota")
    if get("CpuPeriod"):
        cpu["period"] = get("CpuPeriod")
    if get("CpuShares"):
        cpu["shares"] = get("CpuShares")
    for key, name in (("CpusetCpus", "cpus"), ("CpusetMems", "mems")):
        value = get(key)
        if value:
            if not CPUSET.issuperset(value):  # the kernel takes a newline, and what follows it, for a comma
                raise InvalidInput(f"invalid --cpuset-{name}: {value}", hint="a list such as 0-3,7")
            cpu[name] = value
    limit = get("PidsLimit")
    result: dict[str, Any] = {"pids": {"limit": PIDS_LIMIT if limit is None or limit == 0 else limit}}
    if memory:
        result["memory"] = memory
    if cpu:
        result["cpu"] = cpu
    if get("BlkioWeight"):
        result["blockIO"] = {"weight": get("BlkioWeight")}
    result["devices"] = security.device_rules(
        linux_devices(get("Devices")), get("DeviceCgroupRules") or (), bool(get("Privileged"))
    )
    return result


def linux_devices(devices: Any) -> list[dict[str, Any]]:
    """linux.devices from HostConfig.Devices: the host's node gives type and number."""
    import os
    import stat

    result = []
    for device in devices or ():
        source = device["PathOnHost"]
        try:
            status = os.stat(source)
        except OSError as error:
            raise InvalidInput(f"device {source} can't be used: {reason(error)}") from None
        if stat.S_ISCHR(status.st_mode):
            kind = "c"
        elif stat.S_ISBLK(status.st_mode):
            kind = "b"
        else:
            raise InvalidInput(f"{source} is not a device", hint="use -v to share a file or folder")
        result.append(
            {
                "path": device.get("PathInContainer") or source,
                "type": kind,
                "major": os.major(status.st_rdev),
                "minor": os.minor(status.st_rdev),
                "fileMode": stat.S_IMODE(status.st_mode),
                "uid": status.st_uid,
                "gid": status.st_gid,
                "access": device.get("CgroupPermissions") or "rwm",
            }
        )
    return result


def namespaces(host_config: dict[str, Any], shared: dict[str, str]) -> list[dict[str, str]]:
    """linux.namespaces. `shared` has the path of each namespace that another container lends, by type."""
    host = {
        kind
        for kind, key in (
            ("network", "NetworkMode"),
            ("pid", "PidMode"),
            ("ipc", "IpcMode"),
            ("uts", "UTSMode"),
        )
        if host_config.get(key) == "host"
    }
    if host_config.get("CgroupnsMode") == "host":
        host.add("cgroup")
    result = []
    for kind in ("mount", "pid", "ipc", "uts", "network", "cgroup"):
        if kind in shared:
            result.append({"type": kind, "path": shared[kind]})
        elif kind not in host:
            result.append({"type": kind})
    return result


def security_options(host_config: dict[str, Any]) -> tuple[str, bool]:
    """(seccomp: "" for the default, "unconfined" or a file; no_new_privileges) from
    HostConfig.SecurityOpt.
    """
    seccomp, no_new_privileges = "", False
    for option in host_config.get("SecurityOpt") or ():
        # the first of both separates: a profile's path may have the other in it
        key, separator, value = option.partition("=" if "=" in option.partition(":")[0] else ":")
        if key == "seccomp" and value:
            seccomp = value
        elif key == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif key in ("apparmor", "label", "systempaths", "mask", "unmask") and separator:
            if option in ("apparmor=unconfined", "label=disable", "apparmor:unconfined", "label:disable"):
                continue
            raise Unsupported(f"--security-opt {option} is not supported yet")
        else:
            raise InvalidInput(
                f"invalid --security-opt: {option}", hint="seccomp=FILE|unconfined or no-new-privileges"
            )
    return ("unconfined" if host_config.get("Privileged") and not seccomp else seccomp), no_new_privileges


def process(config: dict[str, Any], host_config: dict[str, Any], args: list[str]) -> dict[str, Any]:
    """The OCI process object: what runs, as whom, with which capabilities and limits."""
    tty = bool(config.get("Tty"))
    env = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={config.get('Hostname') or 'localhost'}"]
    if tty:
        env.append("TERM=xterm")
    capabilities = security.capabilities(
        host_config.get("CapAdd") or [], host_config.get("CapDrop") or [], bool(host_config.get("Privileged"))
    )
    result: dict[str, Any] = {
        "terminal": tty,
        "args": args,
        "env": merge_env(env, config.get("Env") or ()),
        "cwd": config.get("WorkingDir") or "/",
        "user": {"username": config.get("User") or "", "additionalGroups": host_config.get("GroupAdd") or []},
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        "noNewPrivileges": security_options(host_config)[1],
    }
    if host_config.get("Ulimits"):
        result["rlimits"] = [
            {"type": f"RLIMIT_{u['Name'].upper()}", "soft": u["Soft"], "hard": u["Hard"]}
            for u in host_config["Ulimits"]
        ]
    if tty and host_config.get("ConsoleSize"):
        result["consoleSize"] = dict(zip(("height", "width"), host_config["ConsoleSize"], strict=True))
    if host_config.get("OomScoreAdj"):
        result["oomScoreAdj"] = host_config["OomScoreAdj"]
    return result


def make(
    record: dict[str, Any], extra_mounts: list[dict[str, Any]], shared: dict[str, str]
) -> dict[str, Any]:
    """The whole OCI config of a container. `extra_mounts` follow the kernel's own, in order."""
    config, host_config = record["Config"], record["HostConfig"]
    privileged = bool(host_config.get("Privileged"))
    linux: dict[str, Any] = {
        "namespaces": namespaces(host_config, shared),
        "resources": resources(host_config),
        "maskedPaths": [] if privileged else security.masked_paths(),
        "readonlyPaths": [] if privileged else security.READONLY_PATHS,
        "rootfsPropagation": "rprivate",
    }
    if host_config.get("Devices"):
        linux["devices"] = linux_devices(host_config["Devices"])
    if host_config.get("Sysctls"):
        linux["sysctl"] = host_config["Sysctls"]
    if privileged:
        linux["devices"] = [*linux.get("devices", ()), *host_devices()]
    ipc_mounts = "ipc" not in shared and host_config.get("IpcMode") != "host"
    spec = {
        "ociVersion": "1.2.0",
        "process": process(config, host_config, [record["Path"], *record["Args"]]),
        "root": {"readonly": bool(host_config.get("ReadonlyRootfs"))},
        "mounts": order(mounts(host_config, ipc_mounts), extra_mounts),
        "linux": linux,
    }
    if "uts" not in shared and host_config.get("UTSMode") != "host":
        spec["hostname"] = uts_name("hostname", config.get("Hostname") or "")
        if config.get("Domainname"):
            spec["domainname"] = uts_name("domain name", config["Domainname"])
    return spec


def uts_name(kind: str, name: str) -> str:
    """`name` if the kernel takes it and no file of the container is garbled by it. Raises InvalidInput."""
    if name and (not name.isprintable() or " " in name or len(name.encode()) > HOSTNAME_LIMIT):
        raise InvalidInput(
            f'invalid {kind} "{name}"',
            hint=f"at most {HOSTNAME_LIMIT} bytes, without spaces and control characters",
        )
    return name


def order(base: list[dict[str, Any]], extra: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A user's mount replaces ours on the same place; otherwise parents come before what lies in them."""
    taken = {mount["destination"].rstrip("/") for mount in extra}
    kept = [mount for mount in base if mount["destination"] not in taken]
    return kept + sorted(extra, key=lambda mount: mount["destination"].rstrip("/").count("/"))


def host_devices() -> list[dict[str, Any]]:
    """Every device node of the host's /dev (not pts, shm, mqueue), for --privileged."""
    import os
    import stat

    skip = {"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/ptmx", "/dev/fd"}
    found: list[dict[str, str]] = []
    pending = ["/dev"]
    while pending:
        directory = pending.pop()
        for entry in os.scandir(directory):
            if entry.path in skip or entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            else:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                    found.append({"PathOnHost": entry.path})
    return linux_devices(found)
