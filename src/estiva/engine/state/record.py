"""A container's record: one dict in the shape of Docker's inspect, kept in the database.

`merge` joins what the user asked with what the image says; `new` makes the whole record.
"""

from __future__ import annotations

import os

from estiva import fastjson
from estiva.errors import InvalidInput, StateError
from estiva.timestamps import ZERO, rfc3339

DAMAGED = "`estiva rm -f` removes it; `estiva system check` looks for more that is damaged"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.config_types import Config, HostConfig
    from estiva.engine.state.types import MountPoint, Record
    from estiva.store.images import Image


def merge(config: Config, image: dict[str, Any]) -> Config:
    """The container's Config: the user's, completed from the image's, with Docker's rules.

    An entrypoint of the user's drops the image's command. The image's variables come first.
    """
    base = image.get("config") or {}
    asked: Any = config
    merged: Any = dict(config)
    if config.get("Entrypoint") is None:
        merged["Entrypoint"] = base.get("Entrypoint")
        if not config.get("Cmd"):
            merged["Cmd"] = base.get("Cmd")
    elif config["Entrypoint"] == [""] or config["Entrypoint"] == []:
        merged["Entrypoint"] = None
    for key in ("WorkingDir", "User", "StopSignal"):
        if not asked.get(key):
            merged[key] = base.get(key) or ""
    if base.get("Healthcheck"):
        own = {key: value for key, value in (merged.get("Healthcheck") or {}).items() if value}
        merged["Healthcheck"] = {**base["Healthcheck"], **own}
    merged["Env"] = merge_env(base.get("Env") or (), config.get("Env") or ())
    values = {pair.partition("=")[0] for pair in merged["Env"]}
    # a name alone stays, as in Docker's: it takes away what the engine itself would set
    merged["Env"] += dict.fromkeys(n for n in config.get("Env") or () if "=" not in n and n not in values)
    for key in ("Labels", "ExposedPorts", "Volumes"):
        merged[key] = {**(base.get(key) or {}), **(asked.get(key) or {})}
    if not [*(merged.get("Entrypoint") or ()), *(merged.get("Cmd") or ())]:
        raise InvalidInput(
            "no command specified", hint="give one after the image's name, or an image with CMD"
        )
    result: Config = merged
    return result


def merge_env(first: Any, then: Any) -> list[str]:
    """KEY=VALUE lists joined; a later value wins in the earlier place; KEY without = removes it."""
    values: dict[str, str | None] = {}
    for pair in (*first, *then):
        key, equals, value = pair.partition("=")
        values[key] = value if equals else None
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def new(
    container_id: str,
    name: str,
    image: Image | None,
    config: Config,
    host_config: HostConfig,
    mounts: list[MountPoint],
) -> Record:
    """The record of a container that is being created. `config` is merged already."""
    args = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    config.setdefault("Hostname", "")
    network = str(host_config.get("NetworkMode", ""))
    if not config["Hostname"] and not network.startswith("container:"):
        config["Hostname"] = os.uname().nodename if network == "host" else container_id[:12]
    made: Record = {
        "Id": container_id,
        "Created": rfc3339(),
        "Path": args[0],
        "Args": args[1:],
        "State": {"ExitCode": 0, "OOMKilled": False, "Error": "", "StartedAt": ZERO, "FinishedAt": ZERO},
        "Image": image.id if image else "",
        "Name": "/" + name,
        "RestartCount": 0,
        "Platform": "linux",
        "Config": config,
        "HostConfig": host_config,
        "Mounts": mounts,
        "NetworkSettings": {"IPAddress": "", "Ports": {}},
    }
    if image and image.states:
        made["States"] = image.states
        if image.memory:
            made["Memory"] = image.memory
    return made


def sound(container_id: str, text: str) -> Record:
    """A row's record, if it is one. Raises StateError, which names the container."""
    what = f"the record of container {container_id[:12]}"
    record: Record = fastjson.stored(text, what=what)
    kinds = {"Config": dict, "HostConfig": dict, "State": dict, "Mounts": list, "Args": list}
    kinds |= dict.fromkeys(("Id", "Name", "Image", "Created", "Path"), str)
    parts: Any = record
    if not isinstance(parts, dict):
        raise StateError(f"{what} is not a json object", hint=DAMAGED)
    for key, kind in kinds.items():
        if not isinstance(parts.get(key), kind):
            raise StateError(f"{what} is damaged: {key} is missing or no {kind.__name__}", hint=DAMAGED)
    if record["Id"] != container_id:
        raise StateError(f"{what} is of another container", hint=DAMAGED)
    return record


def has_run(record: Record) -> bool:
    """Whether a run of it has ever begun: one that has is `exited` when it does not run, else `created`."""
    return record["State"].get("StartedAt", ZERO) != ZERO


def complete(record: Record) -> None:
    """Fill in what `inspect` shows of options that were not given, so that templates find Docker's fields."""
    whole: Any = record
    host, config = whole["HostConfig"], whole["Config"]
    if host.get("Memory") and "MemorySwap" not in host:
        host["MemorySwap"] = 2 * host["Memory"]
    from copy import deepcopy

    from estiva.runtime.security import kernel_paths

    privileged = bool(host.get("Privileged"))
    for key, paths in (
        ("MaskedPaths", kernel_paths.masked_paths()),
        ("ReadonlyPaths", kernel_paths.READONLY_PATHS),
    ):
        host.setdefault(key, None if privileged else list(paths))
    for key in ("ExposedPorts", "StopSignal"):  # absent where there are none
        if not config.get(key, True):
            del config[key]
    for key in ("Env", "Volumes"):
        config[key] = config.get(key) or None
    settings = whole["NetworkSettings"]
    mode = host.get("NetworkMode") or "bridge"
    networks = settings.setdefault("Networks", {} if ":" in mode else {mode: {}})
    for part, defaults in (
        (host, HOST_DEFAULTS),
        (config, CONFIG_DEFAULTS),
        (whole, RECORD_DEFAULTS),
        (settings, NETWORK_DEFAULTS),
        *((endpoint, ENDPOINT_DEFAULTS) for endpoint in networks.values()),
    ):
        for key, value in defaults.items():
            if key not in part:
                part[key] = deepcopy(value) if isinstance(value, (dict, list)) else value


HOST_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(
        (
            "BlkioWeight", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpuShares",
            "Memory", "MemoryReservation", "MemorySwap", "NanoCpus", "OomScoreAdj", "CpuCount", "CpuPercent",
            "IOMaximumBandwidth", "IOMaximumIOps",
        ),
        0,
    ),
    **dict.fromkeys(
        ("Cgroup", "CgroupParent", "ContainerIDFile", "CpusetCpus", "CpusetMems", "Isolation", "PidMode",
         "UTSMode", "UsernsMode", "VolumeDriver"),
        "",
    ),
    **dict.fromkeys(("AutoRemove", "Privileged", "PublishAllPorts", "ReadonlyRootfs"), False),
    **dict.fromkeys(
        ("Binds", "CapAdd", "CapDrop", "DeviceCgroupRules", "DeviceRequests", "ExtraHosts", "GroupAdd",
         "Links", "MemorySwappiness", "OomKillDisable", "PidsLimit", "SecurityOpt", "VolumesFrom"),
    ),
    **dict.fromkeys(
        ("BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps",
         "BlkioWeightDevice", "Devices", "Dns", "DnsOptions", "DnsSearch", "Ulimits"),
        [],
    ),
    "CgroupnsMode": "private",
    "ConsoleSize": [0, 0],
    "IpcMode": "private",
    "LogConfig": {"Type": "json-file", "Config": {}},
    "PortBindings": {},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "Runtime": "estiva",
    "ShmSize": 64 << 20,
}  # fmt: skip
CONFIG_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("Domainname", "User", "WorkingDir"), ""),
    **dict.fromkeys(("AttachStdin", "OpenStdin", "StdinOnce", "Tty"), False),
    **dict.fromkeys(("AttachStderr", "AttachStdout"), True),
    **dict.fromkeys(("Cmd", "Entrypoint", "Env", "OnBuild", "Volumes")),
    "Labels": {},
}
RECORD_DEFAULTS: dict[str, Any] = {
    "AppArmorProfile": "",
    "ExecIDs": None,
    "MountLabel": "",
    "ProcessLabel": "",
}
_ADDRESSES: dict[str, Any] = {
    **dict.fromkeys(
        ("EndpointID", "Gateway", "GlobalIPv6Address", "IPAddress", "IPv6Gateway", "MacAddress"), ""
    ),
    **dict.fromkeys(("GlobalIPv6PrefixLen", "IPPrefixLen"), 0),
}
NETWORK_DEFAULTS: dict[str, Any] = {
    **_ADDRESSES,
    **dict.fromkeys(("Bridge", "LinkLocalIPv6Address", "SandboxID", "SandboxKey"), ""),
    **dict.fromkeys(("SecondaryIPAddresses", "SecondaryIPv6Addresses")),
    "HairpinMode": False,
    "LinkLocalIPv6PrefixLen": 0,
    "Ports": {},
}
ENDPOINT_DEFAULTS: dict[str, Any] = {
    **_ADDRESSES,
    **dict.fromkeys(("Aliases", "DNSNames", "DriverOpts", "IPAMConfig", "Links")),
    "NetworkID": "",
}
