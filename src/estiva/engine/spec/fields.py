"""The fields of a container's Config and HostConfig that the engine knows, each with the rule of its values
(oci/rules.py): those of the Docker Engine API, POST /containers/create, and a few of our own.

What else a value must be, judge.py says.
"""

from __future__ import annotations

from estiva.oci.rules import EACH, EACH_SAID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STRINGS = ["string"]
_MAP = {EACH_SAID: "string"}
_EMPTY: dict[str, Any] = {EACH: {}}
_RATES = [{"Path!": "absolute", "Rate!": "uint63"}]

CONFIG: dict[str, Any] = {
    **dict.fromkeys(
        ("Domainname", "Hostname", "Image", "MacAddress", "StopSignal", "User", "WorkingDir"), "string"
    ),
    **dict.fromkeys(
        ("ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "NetworkDisabled", "OpenStdin",
         "StdinOnce", "Tty"),
        "bool",
    ),
    **dict.fromkeys(("Cmd", "Entrypoint", "Env", "OnBuild", "Shell"), _STRINGS),
    "ExposedPorts": _EMPTY,
    "Healthcheck": {
        "Test": _STRINGS,
        **dict.fromkeys(("Interval", "Retries", "StartInterval", "StartPeriod", "Timeout"), "int64"),
    },
    "Labels": _MAP,
    "StopTimeout": "int32",  # seconds; negative: never killed
    "Volumes": _EMPTY,
}  # fmt: skip

_MOUNT = {
    "Type!": "string",
    "Target!": "string",
    "Source": "string",
    "ReadOnly": "bool",
    "Consistency": "string",
    "BindOptions": {"Propagation": "string", "NonRecursive": "bool", "CreateMountpoint": "bool"},
    "VolumeOptions": {
        "NoCopy": "bool",
        "Labels": _MAP,
        "Subpath": "string",
        "DriverConfig": {"Name": "string", "Options": _MAP},
    },
    "TmpfsOptions": {"SizeBytes": "uint63", "Mode": "mode"},
    # our own: Podman's idmap= and U
    "IDMap": "string",
    "Chown": "bool",
}

HOST: dict[str, Any] = {
    **dict.fromkeys(
        ("Cgroup", "CgroupParent", "CgroupnsMode", "ContainerIDFile", "CpusetCpus", "CpusetMems", "IpcMode",
         "Isolation", "NetworkMode", "PidMode", "Runtime", "SubgidName", "SubuidName", "UTSMode",
         "UsernsMode", "VolumeDriver"),
        "string",
    ),
    **dict.fromkeys(
        ("AutoRemove", "Init", "OomKillDisable", "Privileged", "PublishAllPorts", "ReadonlyRootfs"), "bool"
    ),
    **dict.fromkeys(
        ("BlkioWeight", "CpuCount", "CpuPercent", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod",
         "CpuRealtimeRuntime", "CpuShares", "IOMaximumBandwidth", "IOMaximumIOps", "KernelMemory",
         "KernelMemoryTCP", "Memory", "MemoryReservation", "MemorySwap", "MemorySwappiness", "NanoCpus",
         "OomScoreAdj", "PidsLimit", "ShmSize"),
        "int64",
    ),
    **dict.fromkeys(
        ("Binds", "CapAdd", "CapDrop", "DeviceCgroupRules", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts",
         "GroupAdd", "Links", "SecurityOpt", "VolumesFrom"),
        _STRINGS,
    ),
    **dict.fromkeys(("Annotations", "StorageOpt", "Sysctls", "Tmpfs"), _MAP),
    **dict.fromkeys(
        ("BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps"), _RATES
    ),
    **dict.fromkeys(("MaskedPaths", "ReadonlyPaths"), ["absolute"]),
    "BlkioWeightDevice": [{"Path!": "absolute", "Weight!": "int64"}],
    "ConsoleSize": ["uint16"],
    "DeviceRequests": [
        {
            "Driver": "string",
            "Count": "int64",
            "DeviceIDs": _STRINGS,
            "Capabilities": [_STRINGS],
            "Options": _MAP,
        }
    ],
    "Devices": [{"PathOnHost!": "absolute", "PathInContainer": "string", "CgroupPermissions": "string"}],
    "IDMappings": {"UidMap": _STRINGS, "GidMap": _STRINGS},
    "LogConfig": {"Type": "string", "Config": _MAP},
    "Mounts": [_MOUNT],
    "PortBindings": {EACH: [{"HostIp": "string", "HostPort": "string"}]},
    "RestartPolicy": {"Name": "string", "MaximumRetryCount": "int64"},
    "Ulimits": [{"Name!": "string", "Soft": "int64", "Hard": "int64"}],
}  # fmt: skip

# known, and not there yet: they may be empty
LATER = frozenset((
    "Config.MacAddress", "Config.NetworkDisabled", "HostConfig.Cgroup", "HostConfig.CpuCount",
    "HostConfig.CpuPercent", "HostConfig.IOMaximumBandwidth", "HostConfig.IOMaximumIOps",
    "HostConfig.KernelMemoryTCP", "HostConfig.Links", "HostConfig.StorageOpt", "HostConfig.VolumesFrom",
))  # fmt: skip
