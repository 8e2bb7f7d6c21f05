"""Keyword options of the Python API as Docker's Config and HostConfig.

They only get that shape here, from values that have the types of run_options.py already. What a value may
be is judged in engine/spec, as for the command line: what can't be is refused there by its field's name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.engine.spec import confinement, linefile, security_opt
from estiva.engine.spec import devices as nodes
from estiva.errors import InvalidInput, brief
from estiva.oci import units
from estiva.sdk import shapes, values
from estiva.sdk.run_options import CreateOptions, UpdateOptions
from estiva.sdk.shapes import listed, path, size, texts
from estiva.sdk.typed import options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Reader = Callable[[Any], Any]
    Several = Callable[[Any, dict[str, Any], dict[str, Any]], None]

CREATION = ("name", "platform", "pull")  # options of create.prepare
FILES = ("env_file", "label_file")
NETWORKING = ("ip", "ip6", "link_local_ips", "links", "mac_address", "network", "network_alias")


def host_config_of(
    options: Mapping[str, Any], config: dict[str, Any], kind: type = CreateOptions
) -> dict[str, Any]:
    """The HostConfig of keyword options; what belongs to the Config goes into `config`. Raises InvalidInput
    for an option that there isn't, of another type, and for words that can't be read.
    """
    host: dict[str, Any] = {}
    health: dict[str, Any] = {}
    given = options_of(kind, options)
    paths = {name: values.paths(name, given.pop(name, None)) for name in FILES}
    for keyword, value in given.items():
        try:
            if keyword in CONFIG:
                name, read = CONFIG[keyword]
                config[name] = read(value)
            elif keyword in HOST:
                name, read = HOST[keyword]
                host[name] = read(value)
            elif keyword in SEVERAL:
                SEVERAL[keyword](value, host, config)
            elif keyword in HEALTH:
                name, read = HEALTH[keyword]
                health[name] = read(value)
        except ValueError as error:
            raise InvalidInput(f"invalid {keyword}: {brief(str(error))}") from None
    if paths["env_file"]:  # what is given itself counts more
        config["Env"] = [*variables_of(paths["env_file"]), *config.get("Env", ())]
    for file in reversed(paths["label_file"]):
        config["Labels"] = {**linefile.labels(file), **config.get("Labels", {})}
    if health.pop("None", False):
        if health:
            raise InvalidInput("no_healthcheck conflicts with the other options of a health check")
        health["Test"] = ["NONE"]
    if health:
        config["Healthcheck"] = health
    return host


def variables_of(paths: list[str]) -> list[str]:
    """The environment variables in files. Raises NotFound, InvalidInput."""
    return [word for file in paths for word in linefile.variables(file)]


def networking_of(options: Mapping[str, Any], kind: type = CreateOptions) -> dict[str, Any] | None:
    """EndpointsConfig, where something of it was asked for. Raises InvalidInput, Conflict."""
    return shapes.endpoints(options_of(kind, {key: options[key] for key in NETWORKING if key in options}))


def changes_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of an update. Raises InvalidInput also for what can't be changed."""
    for keyword in options:
        if keyword in {**CONFIG, **HOST} and keyword not in UpdateOptions.__annotations__:
            raise InvalidInput(f"{(CONFIG.get(keyword) or HOST[keyword])[0]} can't be changed")
    return host_config_of(options, {}, UpdateOptions)


def _plain(value: Any) -> Any:
    return value


def _nano_cpus(value: Any) -> int:
    return units.nano_cpus(f"{value:.9f}" if isinstance(value, float) else str(value))


def _pids(value: int) -> int:
    """0 is unlimited, as on the command line; in a HostConfig it is the default."""
    return value or -1


def _ulimits(value: dict[str, Any]) -> Any:
    """{name: limit, name: (soft, hard)}."""
    pairs = {
        name: limits if isinstance(limits, (tuple, list)) and len(limits) == 2 else (limits, limits)
        for name, limits in value.items()
    }
    return [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in pairs.items()]


def _tmpfs(value: Any) -> dict[str, str]:
    """Places, or {place: options}."""
    return value if isinstance(value, dict) else dict.fromkeys(map(os.fspath, listed(value)), "")


def _devices(value: Any, host: dict[str, Any], config: dict[str, Any]) -> None:
    """ "HOST[:PLACE][:rwm]" or CDI names ("vendor.com/class=name")."""
    words = listed(value)
    named = [word for word in words if not word.startswith("/")]
    host["Devices"] = [nodes.from_word(word) for word in words if word not in named]
    if named:
        from estiva.engine.spec.cdi import devices

        host.setdefault("DeviceRequests", []).append(devices.request(named))


def _gpus(value: Any, host: dict[str, Any], config: dict[str, Any]) -> None:
    host.setdefault("DeviceRequests", []).append(shapes.gpus(value))


def _security(value: Any, host: dict[str, Any], config: dict[str, Any]) -> None:
    host.update(confinement.paths([security_opt.absolute(word) for word in listed(value)]))


def _volumes(value: Any, host: dict[str, Any], config: dict[str, Any]) -> None:
    """What has no source is a volume without a name."""
    words = shapes.binds(value)
    host["Binds"] = [word for word in words if ":" in word]
    places = [word for word in words if ":" not in word]
    if places:
        config["Volumes"] = {place: {} for place in places}


def _mapping(key: str) -> Several:
    def read(value: Any, host: dict[str, Any], config: dict[str, Any]) -> None:
        host.setdefault("IDMappings", {})[key] = listed(value)

    return read


def _log(key: str) -> Several:
    def read(value: Any, host: dict[str, Any], config: dict[str, Any]) -> None:
        host.setdefault("LogConfig", {"Type": "json-file"})[key] = texts(value) if key == "Config" else value

    return read


CONFIG: dict[str, tuple[str, Reader]] = {
    "domainname": ("Domainname", _plain),
    "entrypoint": ("Entrypoint", shapes.words),
    "env": ("Env", shapes.environment),
    "expose": ("ExposedPorts", shapes.exposed),
    "health_on_failure": ("HealthcheckOnFailureAction", _plain),
    "hostname": ("Hostname", _plain),
    "interactive": ("OpenStdin", _plain),
    "labels": ("Labels", shapes.labels),
    "stop_signal": ("StopSignal", shapes.number),
    "stop_timeout": ("StopTimeout", _plain),
    "tty": ("Tty", _plain),
    "user": ("User", shapes.number),
    "workdir": ("WorkingDir", path),
}
HEALTH: dict[str, tuple[str, Reader]] = {
    "health_cmd": ("Test", shapes.check),
    "health_interval": ("Interval", shapes.nanoseconds),
    "health_retries": ("Retries", shapes.count),
    "health_start_interval": ("StartInterval", shapes.nanoseconds),
    "health_start_period": ("StartPeriod", shapes.nanoseconds),
    "health_timeout": ("Timeout", shapes.nanoseconds),
    "no_healthcheck": ("None", _plain),
}
HOST: dict[str, tuple[str, Reader]] = {
    "add_host": ("ExtraHosts", shapes.hosts),
    "allow": ("AllowHosts", listed),
    "annotations": ("Annotations", texts),
    "auto_remove": ("AutoRemove", _plain),
    "blkio_weight": ("BlkioWeight", _plain),
    "blkio_weight_device": ("BlkioWeightDevice", shapes.each("Weight")),
    "cap_add": ("CapAdd", listed),
    "cap_drop": ("CapDrop", listed),
    "cgroup_parent": ("CgroupParent", _plain),
    "cgroupns": ("CgroupnsMode", _plain),
    "cpu_period": ("CpuPeriod", _plain),
    "cpu_quota": ("CpuQuota", _plain),
    "cpu_rt_period": ("CpuRealtimePeriod", _plain),
    "cpu_rt_runtime": ("CpuRealtimeRuntime", _plain),
    "cpu_shares": ("CpuShares", _plain),
    "cpus": ("NanoCpus", _nano_cpus),
    "cpuset_cpus": ("CpusetCpus", _plain),
    "cpuset_mems": ("CpusetMems", _plain),
    "device_cgroup_rules": ("DeviceCgroupRules", listed),
    "device_read_bps": ("BlkioDeviceReadBps", shapes.each("Rate", size)),
    "device_read_iops": ("BlkioDeviceReadIOps", shapes.each("Rate")),
    "device_write_bps": ("BlkioDeviceWriteBps", shapes.each("Rate", size)),
    "device_write_iops": ("BlkioDeviceWriteIOps", shapes.each("Rate")),
    "dns": ("Dns", listed),
    "dns_option": ("DnsOptions", listed),
    "dns_search": ("DnsSearch", listed),
    "group_add": ("GroupAdd", shapes.numbers),
    "init": ("Init", _plain),
    "ipc": ("IpcMode", _plain),
    "memory": ("Memory", size),
    "memory_reservation": ("MemoryReservation", size),
    "memory_swap": ("MemorySwap", size),
    "memory_swappiness": ("MemorySwappiness", _plain),
    "mounts": ("Mounts", _plain),
    "network": ("NetworkMode", shapes.mode),
    "oom_kill_disable": ("OomKillDisable", _plain),
    "oom_score_adj": ("OomScoreAdj", _plain),
    "output_limit": ("OutputLimit", size),
    "pid": ("PidMode", _plain),
    "pids_limit": ("PidsLimit", _pids),
    "ports": ("PortBindings", shapes.ports),
    "privileged": ("Privileged", _plain),
    "profile": ("Profile", _plain),
    "publish_all": ("PublishAllPorts", _plain),
    "read_only": ("ReadonlyRootfs", _plain),
    "restart": ("RestartPolicy", shapes.restart),
    "shm_size": ("ShmSize", size),
    "subgidname": ("SubgidName", _plain),
    "subuidname": ("SubuidName", _plain),
    "sysctls": ("Sysctls", texts),
    "time_limit": ("TimeLimit", shapes.nanoseconds),
    "tmpfs": ("Tmpfs", _tmpfs),
    "ulimits": ("Ulimits", _ulimits),
    "userns": ("UsernsMode", _plain),
    "uts": ("UTSMode", _plain),
    "volume_driver": ("VolumeDriver", _plain),
    "volumes_from": ("VolumesFrom", listed),
}
SEVERAL: dict[str, Several] = {
    "devices": _devices,
    "gidmap": _mapping("GidMap"),
    "gpus": _gpus,
    "log_driver": _log("Type"),
    "log_opts": _log("Config"),
    "security_opt": _security,
    "uidmap": _mapping("UidMap"),
    "volumes": _volumes,
}
