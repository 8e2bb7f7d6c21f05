"""From a container's record to the OCI runtime config that the launcher takes (runtime-spec,
config-linux.md).

The defaults are Docker's: six namespaces, masked and read-only kernel files, 14 capabilities, a private /dev.
"""

from __future__ import annotations

from estiva.engine.spec.defaults import MODES, PIDS_LIMIT, RESOURCES, SHM_SIZE
from estiva.engine.spec.security_opt import security_options, split_option
from estiva.engine.state.record import merge_env
from estiva.oci.config import DEFAULT_PATH
from estiva.runtime.security import capabilities as caps
from estiva.runtime.security import device_rules, kernel_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import Config, HostConfig
    from estiva.engine.state.types import OCI, Record


def mounts(host_config: HostConfig, ipc_mounts: bool = True) -> list[OCI]:
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


def resources(host_config: HostConfig) -> OCI:
    """linux.resources from Docker's HostConfig. Raises InvalidInput when a device isn't there."""
    if RESOURCES.isdisjoint(host_config):
        rules = device_rules.device_rules((), (), bool(host_config.get("Privileged")))
        return {"pids": {"limit": PIDS_LIMIT}, "devices": rules}
    from estiva.engine.spec import resources

    return resources.oci(host_config)


def special(host_config: HostConfig) -> bool:
    """Whether a namespace is another than a container has by default, so that engine/spec/namespaces.py is
    needed.
    """
    return ":" in (host_config.get("NetworkMode") or "") or not MODES.isdisjoint(host_config)


def namespaces(host_config: HostConfig, shared: dict[str, str]) -> list[dict[str, str]]:
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


def process(config: Config, host_config: HostConfig, args: list[str]) -> OCI:
    """The OCI process object: what runs, as whom, with which capabilities and limits."""
    tty = bool(config.get("Tty"))
    env = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={config.get('Hostname') or 'localhost'}"]
    if tty:
        env.append("TERM=xterm")
    capabilities = caps.capabilities(
        host_config.get("CapAdd") or [], host_config.get("CapDrop") or [], bool(host_config.get("Privileged"))
    )
    result: OCI = {
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
            {"type": f"RLIMIT_{u['Name'].upper()}", "soft": u.get("Soft") or 0, "hard": u.get("Hard") or 0}
            for u in host_config["Ulimits"]
        ]
    if tty and host_config.get("ConsoleSize"):
        result["consoleSize"] = dict(zip(("height", "width"), host_config["ConsoleSize"], strict=True))
    if host_config.get("OomScoreAdj"):
        result["oomScoreAdj"] = host_config["OomScoreAdj"]
    return result


def make(record: Record, extra_mounts: list[OCI], shared: dict[str, str]) -> OCI:
    """The whole OCI config of a container. `extra_mounts` follow the kernel's own, in order."""
    config, host_config = record["Config"], record["HostConfig"]
    privileged = bool(host_config.get("Privileged"))
    linux: OCI = {
        "namespaces": namespaces(host_config, shared),
        "resources": resources(host_config),
        "maskedPaths": [] if privileged else kernel_paths.masked_paths(),
        "readonlyPaths": [] if privileged else kernel_paths.READONLY_PATHS,
        "rootfsPropagation": "rprivate",
    }
    if host_config.get("MaskedPaths") is not None:
        linux["maskedPaths"] = host_config["MaskedPaths"]
    if host_config.get("ReadonlyPaths") is not None:
        linux["readonlyPaths"] = host_config["ReadonlyPaths"]
    if privileged or host_config.get("Devices"):
        from estiva.engine.spec import devices

        linux["devices"] = devices.linux_devices(host_config.get("Devices"))
        linux["devices"] += devices.host_devices() if privileged else ()
    if host_config.get("Sysctls"):
        from estiva.runtime.rootfs import protect

        linux["sysctl"] = host_config["Sysctls"]
        protect.plan_sysctls(linux["sysctl"], {entry["type"] for entry in linux["namespaces"]})
    ipc_mounts = "ipc" not in shared and host_config.get("IpcMode") != "host"
    spec = {
        "ociVersion": "1.2.0",
        "process": process(config, host_config, [record["Path"], *record["Args"]]),
        "root": {"readonly": bool(host_config.get("ReadonlyRootfs"))},
        "mounts": order(mounts(host_config, ipc_mounts), extra_mounts),
        "linux": linux,
    }
    if "uts" not in shared and host_config.get("UTSMode") != "host":
        spec["hostname"] = config.get("Hostname") or ""
        if config.get("Domainname"):
            spec["domainname"] = config["Domainname"]
    if any(
        split_option(option)[0] in ("apparmor", "label") for option in host_config.get("SecurityOpt") or ()
    ):
        from estiva.engine.spec import confinement

        confinement.label(spec, host_config["SecurityOpt"], privileged)
    if host_config.get("DeviceRequests"):
        from estiva.engine.spec.cdi import devices as cdi

        cdi.apply(spec, host_config["DeviceRequests"])
    return spec


def order(base: list[OCI], extra: list[OCI]) -> list[OCI]:
    """A user's mount replaces ours on the same place; otherwise parents come before what lies in them."""
    taken = {mount["destination"].rstrip("/") for mount in extra}
    kept = [mount for mount in base if mount["destination"] not in taken]
    return kept + sorted(extra, key=lambda mount: mount["destination"].rstrip("/").count("/"))
