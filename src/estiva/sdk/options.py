"""Keyword options of the Python API as Docker's Config and HostConfig."""

from __future__ import annotations

import os
from typing import Any

from estiva.errors import InvalidInput
from estiva.oci import units

# keyword -> key of HostConfig, for numbers and texts that are taken as they are
LIMITS = {
    "blkio_weight": "BlkioWeight",
    "cgroup_parent": "CgroupParent",
    "cpu_period": "CpuPeriod",
    "cpu_quota": "CpuQuota",
    "cpu_rt_period": "CpuRealtimePeriod",
    "cpu_rt_runtime": "CpuRealtimeRuntime",
    "cpu_shares": "CpuShares",
    "cpuset_cpus": "CpusetCpus",
    "cpuset_mems": "CpusetMems",
    "device_cgroup_rules": "DeviceCgroupRules",
    "memory_swappiness": "MemorySwappiness",
    "oom_kill_disable": "OomKillDisable",
    "oom_score_adj": "OomScoreAdj",
    "pids_limit": "PidsLimit",
    "sysctls": "Sysctls",
}


def size(value: int | str, option: str) -> int:
    """Bytes of 1024 or "256m". Raises InvalidInput."""
    if isinstance(value, int):
        return value
    try:
        return units.size(value)
    except ValueError as error:
        raise InvalidInput(f"invalid {option}: {error}", hint="bytes, or a number with k, m or g") from None


def devices_of(words: list[str]) -> dict[str, Any]:
    """ "HOST[:PLACE[:rwm]]" or CDI names ("vendor.com/class=name"). Raises InvalidInput."""
    named = [word for word in words if not word.startswith("/")]
    nodes = []
    for word in words:
        if word.startswith("/"):
            source, _, rest = word.partition(":")
            place, _, access = rest.partition(":")
            nodes.append(
                {"PathOnHost": source, "PathInContainer": place, "CgroupPermissions": access or "rwm"}
            )
    host: dict[str, Any] = {"Devices": nodes} if nodes else {}
    if named:
        from estiva.engine.spec.cdi import devices

        host["DeviceRequests"] = [devices.request(named)]
    return host


def ulimit_of(name: str, limits: int | tuple[int, int]) -> dict[str, Any]:
    soft, hard = (limits, limits) if isinstance(limits, int) else limits
    return {"Name": name, "Soft": soft, "Hard": hard}


def host_config_of(options: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The HostConfig of keyword options; what belongs to the Config goes into `config`."""
    host: dict[str, Any] = {}
    simple = {
        **LIMITS,
        "network": "NetworkMode",
        "read_only": "ReadonlyRootfs",
        "privileged": "Privileged",
        "cap_add": "CapAdd",
        "cap_drop": "CapDrop",
        "init": "Init",
        "userns": "UsernsMode",
        "pid": "PidMode",
        "ipc": "IpcMode",
        "uts": "UTSMode",
        "cgroupns": "CgroupnsMode",
    }
    own = {"user": "User", "workdir": "WorkingDir", "hostname": "Hostname", "entrypoint": "Entrypoint"}
    for key, value in options.items():
        if key in simple:
            host[simple[key]] = value
        elif key in ("uidmap", "gidmap"):
            lines = [value] if isinstance(value, str) else list(value)
            host.setdefault("IDMappings", {})["UidMap" if key == "uidmap" else "GidMap"] = lines
        elif key in own:
            config[own[key]] = [value] if key == "entrypoint" and isinstance(value, str) else value
        elif key in ("memory", "memory_swap", "memory_reservation", "shm_size"):
            name = "".join(part.capitalize() for part in key.split("_"))
            host[name] = size(value, key)
        elif key == "cpus":
            host["NanoCpus"] = int(float(value) * 1_000_000_000)
        elif key == "security_opt":
            from estiva.engine.spec import confinement

            host.update(confinement.paths(list(value)))
        elif key == "devices":
            host.update(devices_of(value))
        elif key == "ulimits":
            host["Ulimits"] = [ulimit_of(name, limits) for name, limits in dict(value).items()]
        elif key == "env":
            config["Env"] = [f"{name}={text}" for name, text in dict(value).items()]
        elif key == "labels":
            config["Labels"] = dict(value)
        elif key == "volumes":
            host["Binds"] = [f"{os.fspath(source)}:{place}" for source, place in dict(value).items()]
        elif key == "tmpfs":
            host["Tmpfs"] = dict.fromkeys(value, "") if not isinstance(value, dict) else value
        elif key == "ports":
            host["PortBindings"] = {
                port if "/" in str(port) else f"{port}/tcp": [{"HostPort": str(published or "")}]
                for port, published in dict(value).items()
            }
        else:
            raise InvalidInput(f"unknown option: {key}", hint="the options are in estiva.container's help")
    return host
