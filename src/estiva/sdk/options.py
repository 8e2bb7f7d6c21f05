"""Keyword options of the Python API as Docker's Config and HostConfig.

They only get that shape here. What a value may be is judged in engine/spec, as for the command line: what
can't be read is handed on as it is, and refused there by the name of its field.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.engine.spec import confinement, mounts, security_opt
from estiva.engine.spec import devices as nodes
from estiva.errors import InvalidInput, brief
from estiva.oci import units
from estiva.sdk import values

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[Any], Any]


OCTETS = (bytes, bytearray, memoryview)  # iterable, but no list of anything that is meant here


def host_config_of(options: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The HostConfig of keyword options; what belongs to the Config goes into `config`. Raises InvalidInput
    for an option that there isn't, and for words that can't be read.
    """
    host: dict[str, Any] = {}
    for keyword, value in options.items():
        try:
            if keyword in CONFIG:
                name, read = CONFIG[keyword]
                config[name] = read(value)
            elif keyword in HOST:
                name, read = HOST[keyword]
                host[name] = read(value)
            elif keyword in SEVERAL:
                SEVERAL[keyword](value, host)
            else:
                raise InvalidInput(
                    f"unknown option: {keyword}", hint="the options are in estiva.container's help"
                )
        except ValueError as error:
            raise InvalidInput(f"invalid {keyword}: {brief(str(error))}") from None
    return host


def changes_of(options: dict[str, Any]) -> dict[str, Any]:
    """The changes of an update. Raises InvalidInput also for what can't be changed."""
    config: dict[str, Any] = {}
    host = host_config_of(options, config)
    if config:
        raise InvalidInput(f"{next(iter(config))} can't be changed")
    return host


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _listed(value: Any) -> Any:
    """A list of any iterable, or of one text."""
    if isinstance(value, str):
        return [value]
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, (*OCTETS, dict)) else value


def _mapped(value: Any) -> Any:
    """A dict of a mapping, or of pairs."""
    if isinstance(value, (str, *OCTETS)):
        return value  # an empty one would do
    try:
        return dict(value)
    except (TypeError, ValueError):
        return value


def _text(value: Any) -> Any:
    return str(value) if type(value) in (int, float) else _plain(value)


def _texts(value: Any) -> Any:
    table = _mapped(value)
    return {key: _text(each) for key, each in table.items()} if isinstance(table, dict) else value


def _size(value: Any) -> Any:
    """Bytes of 1024 or "256m"; -1 where that is unlimited."""
    if isinstance(value, str):
        return -1 if value == "-1" else units.size(value)
    return value


def _nano_cpus(value: Any) -> int:
    return units.nano_cpus(f"{value:.9f}" if isinstance(value, float) else str(value))


def _pids(value: Any) -> Any:
    """0 is unlimited, as on the command line; in a HostConfig it is the default."""
    return -1 if value == 0 and type(value) is int else value


def _environment(value: Any) -> Any:
    """NAME=VALUE of a dict, NAME alone for None, which removes the image's; a list as it is."""
    table = _mapped(value)
    if not isinstance(table, dict):
        return _listed(value)
    return values.pairs(table)


def _ports(value: Any) -> Any:
    """{80: 8080, "53/udp": None}: a port of the container, and the host's; None is any free one."""
    table = _mapped(value)
    if not isinstance(table, dict):
        return value
    return {
        port if "/" in str(port) else f"{port}/tcp": [{"HostPort": str(published or "")}]
        for port, published in table.items()
    }


def _exposed(value: Any) -> Any:
    listed = _listed(value)
    if not isinstance(listed, list):
        return value
    return {str(port) if "/" in str(port) else f"{port}/tcp": {} for port in listed}


def _hosts(value: Any) -> Any:
    table = _mapped(value)
    return [f"{name}:{text}" for name, text in table.items()] if isinstance(table, dict) else _listed(value)


def _binds(value: Any) -> Any:
    """{source: place}: a path of the host, or a volume's name; the place may have ":ro" after it."""
    table = _mapped(value)
    if not isinstance(table, dict):
        return _listed(value)
    return [f"{mounts.absolute(str(_plain(source)))}:{place}" for source, place in table.items()]


def _tmpfs(value: Any) -> Any:
    """Places, or {place: options}."""
    if isinstance(value, dict):
        return value
    places = _listed(value)
    return dict.fromkeys(map(str, places), "") if isinstance(places, list) else value


def _ulimits(value: Any) -> Any:
    """{name: limit, name: (soft, hard)}."""
    table = _mapped(value)
    if not isinstance(table, dict):
        return value
    pairs = {
        name: limits if isinstance(limits, (tuple, list)) and len(limits) == 2 else (limits, limits)
        for name, limits in table.items()
    }
    return [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in pairs.items()]


def _devices(value: Any, host: dict[str, Any]) -> None:
    """ "HOST[:PLACE][:rwm]" or CDI names ("vendor.com/class=name")."""
    words = _listed(value)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        host["Devices"] = words
        return
    named = [word for word in words if not word.startswith("/")]
    host["Devices"] = [nodes.from_word(word) for word in words if word not in named]
    if named:
        from estiva.engine.spec.cdi import devices

        host["DeviceRequests"] = [devices.request(named)]


def _security(value: Any, host: dict[str, Any]) -> None:
    words = _listed(value)
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        host.update(confinement.paths([security_opt.absolute(word) for word in words]))
    else:
        host["SecurityOpt"] = words


def _mapping(key: str) -> Callable[[Any, dict[str, Any]], None]:
    def read(value: Any, host: dict[str, Any]) -> None:
        host.setdefault("IDMappings", {})[key] = _listed(value)

    return read


CONFIG: dict[str, tuple[str, Reader]] = {
    "domainname": ("Domainname", _plain),
    "entrypoint": ("Entrypoint", _listed),
    "env": ("Env", _environment),
    "expose": ("ExposedPorts", _exposed),
    "hostname": ("Hostname", _plain),
    "labels": ("Labels", _texts),
    "stop_signal": ("StopSignal", _plain),
    "stop_timeout": ("StopTimeout", _plain),
    "user": ("User", _text),
    "workdir": ("WorkingDir", _plain),
}
HOST: dict[str, tuple[str, Reader]] = {
    "add_host": ("ExtraHosts", _hosts),
    "annotations": ("Annotations", _texts),
    "blkio_weight": ("BlkioWeight", _plain),
    "cap_add": ("CapAdd", _listed),
    "cap_drop": ("CapDrop", _listed),
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
    "device_cgroup_rules": ("DeviceCgroupRules", _listed),
    "dns": ("Dns", _listed),
    "dns_option": ("DnsOptions", _listed),
    "dns_search": ("DnsSearch", _listed),
    "group_add": ("GroupAdd", _listed),
    "init": ("Init", _plain),
    "ipc": ("IpcMode", _plain),
    "memory": ("Memory", _size),
    "memory_reservation": ("MemoryReservation", _size),
    "memory_swap": ("MemorySwap", _size),
    "memory_swappiness": ("MemorySwappiness", _plain),
    "network": ("NetworkMode", _plain),
    "oom_kill_disable": ("OomKillDisable", _plain),
    "oom_score_adj": ("OomScoreAdj", _plain),
    "pid": ("PidMode", _plain),
    "pids_limit": ("PidsLimit", _pids),
    "ports": ("PortBindings", _ports),
    "privileged": ("Privileged", _plain),
    "publish_all": ("PublishAllPorts", _plain),
    "read_only": ("ReadonlyRootfs", _plain),
    "shm_size": ("ShmSize", _size),
    "sysctls": ("Sysctls", _texts),
    "tmpfs": ("Tmpfs", _tmpfs),
    "ulimits": ("Ulimits", _ulimits),
    "userns": ("UsernsMode", _plain),
    "uts": ("UTSMode", _plain),
    "volumes": ("Binds", _binds),
}
SEVERAL: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "devices": _devices,
    "gidmap": _mapping("GidMap"),
    "security_opt": _security,
    "uidmap": _mapping("UidMap"),
}
