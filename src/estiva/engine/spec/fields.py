"""The fields of a container's Config and HostConfig that the engine knows, each with the rule of its values
(oci/rules.py): those of the Docker Engine API, POST /containers/create, and a few of our own.

What else a value must be, judge.py says.
"""

from __future__ import annotations

from estiva.oci.rules import EACH, EACH_SAID, ONLY, Later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STRINGS = ["string"]
_MAP = {EACH_SAID: "string"}
_EMPTY: dict[str, Any] = {EACH: {ONLY: None}}
_RATES = [{ONLY: None, "Path!": "absolute", "Rate!": "uint63"}]

CONFIG: dict[str, Any] = {
    ONLY: None,
    **dict.fromkeys(("Domainname", "Hostname", "StopSignal", "User", "WorkingDir"), "string"),
    **dict.fromkeys(
        ("ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"),
        "bool",
    ),
    **dict.fromkeys(("Cmd", "Entrypoint", "Env", "OnBuild", "Shell"), _STRINGS),
    "ExposedPorts": _EMPTY,
    "Healthcheck": {
        ONLY: None,
        "Test": _STRINGS,
        **dict.fromkeys(("Interval", "Retries", "StartInterval", "StartPeriod", "Timeout"), "int64"),
    },
    "HealthcheckOnFailureAction": "string",  # our own, in Podman's words: none, kill, restart, stop
    "Image!": "string",
    "Labels": _MAP,
    "MacAddress": Later("string"),
    "NetworkDisabled": Later("bool"),
    "StopTimeout": "int32",  # seconds; -1: never killed
    "Volumes": _EMPTY,
}  # fmt: skip

_MOUNT = {
    ONLY: None,
    "Type!": "string",
    "Target!": "string",
    "Source": "string",
    "ReadOnly": "bool",
    "Consistency": "string",
    "BindOptions": {
        ONLY: None,
        "Propagation": "string",
        "NonRecursive": "bool",
        "CreateMountpoint": "bool",
        "ReadOnlyNonRecursive": "bool",
        "ReadOnlyForceRecursive": "bool",
    },
    "VolumeOptions": {
        ONLY: None,
        "NoCopy": "bool",
        "Labels": _MAP,
        "Subpath": "string",
        "DriverConfig": {ONLY: None, "Name": "string", "Options": _MAP},
    },
    "TmpfsOptions": {ONLY: None, "SizeBytes": "uint63", "Mode": "mode"},
    "ImageOptions": {ONLY: None, "Subpath": "string", "ReadWrite": "bool"},
    # our own: Podman's idmap= and U, and options of devpts
    "DevptsOptions": {ONLY: None, "Uid": "uint63", "Gid": "uint63", "Mode": "mode", "Max": "uint63"},
    "IDMap": "string",
    "Chown": "bool",
    "TmpfsFlags": "string",
}

HOST: dict[str, Any] = {
    ONLY: None,
    **dict.fromkeys(
        ("CgroupParent", "CgroupnsMode", "ContainerIDFile", "CpusetCpus", "CpusetMems", "IpcMode",
         "Isolation", "NetworkMode", "PidMode", "Profile", "Runtime", "SubgidName", "SubuidName", "UTSMode",
         "UsernsMode", "VolumeDriver"),
        "string",
    ),
    **dict.fromkeys(
        ("AutoRemove", "Init", "OomKillDisable", "Privileged", "PublishAllPorts", "ReadonlyRootfs"), "bool"
    ),
    **dict.fromkeys(
        ("BlkioWeight", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpuShares",
         "KernelMemory", "Memory", "MemoryReservation", "MemorySwap", "MemorySwappiness", "NanoCpus",
         "OomScoreAdj", "OutputLimit", "PidsLimit", "ShmSize", "TimeLimit"),
        "int64",
    ),
    **dict.fromkeys(
        ("AllowHosts", "Binds", "CapAdd", "CapDrop", "DeviceCgroupRules", "Dns", "DnsOptions", "DnsSearch",
         "ExtraHosts", "GroupAdd", "SecurityOpt"),
        _STRINGS,
    ),
    **dict.fromkeys(("Annotations", "Sysctls", "Tmpfs"), _MAP),
    **dict.fromkeys(
        ("BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps"), _RATES
    ),
    **dict.fromkeys(("MaskedPaths", "ReadonlyPaths"), ["absolute"]),
    **dict.fromkeys(("CpuCount", "CpuPercent", "IOMaximumBandwidth", "IOMaximumIOps"), Later("int64")),
    "BlkioWeightDevice": [{ONLY: None, "Path!": "absolute", "Weight!": "int64"}],
    "Cgroup": Later("string"),
    "ConsoleSize": ["uint16"],
    "DeviceRequests": [
        {
            ONLY: None,
            "Driver": "string",
            "Count": "int64",
            "DeviceIDs": _STRINGS,
            "Capabilities": [_STRINGS],
            "Options": _MAP,
        }
    ],
    "Devices": [
        {
            ONLY: None,
            "PathOnHost!": "absolute",
            "PathInContainer": "string",
            "CgroupPermissions": "string",
        }
    ],
    "IDMappings": {ONLY: None, "UidMap": _STRINGS, "GidMap": _STRINGS},
    "KernelMemoryTCP": Later("int64"),
    "Links": Later(_STRINGS),
    "LogConfig": {ONLY: None, "Type": "string", "Config": _MAP},
    "Mounts": [_MOUNT],
    "PortBindings": {EACH: [{ONLY: None, "HostIp": "string", "HostPort": "string"}]},
    "RestartPolicy": {ONLY: None, "Name": "string", "MaximumRetryCount": "int64"},
    "StorageOpt": Later(_MAP),
    "Ulimits": [{ONLY: None, "Name!": "string", "Soft": "int64", "Hard": "int64"}],
    "VolumesFrom": _STRINGS,
}  # fmt: skip
