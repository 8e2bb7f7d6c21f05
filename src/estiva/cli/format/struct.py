"""What templates are given where a dict alone does not say all."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


# What Docker declares as maps: any key may be asked for.
MAPS = frozenset((
    "Labels", "Options", "Sysctls", "Tmpfs", "Volumes", "ExposedPorts", "Ports", "PortBindings", "Networks",
    "Annotations", "Attributes", "Data", "DriverOpts", "Config", "StorageOpt", "Runtimes", "Status",
))  # fmt: skip


LISTS = frozenset((
    "Aliases", "Authorization", "BindMounts", "Binds", "CapAdd", "CapDrop", "Cmd", "DNSNames",
    "DeviceCgroupRules", "DeviceRequests", "Devices", "DriverStatus", "Entrypoint", "Env", "ExecIDs",
    "ExtraHosts", "GenericResources", "GroupAdd", "Links", "Mounts", "OnBuild", "RemoteManagers",
    "RepoDigests", "RepoTags", "SecondaryIPAddresses", "SecondaryIPv6Addresses", "SecurityOpt", "Shell",
    "Ulimits", "VolumesFrom", "Warnings",
))  # fmt: skip
POINTERS = frozenset((
    "ClusterVolume", "Health", "Healthcheck", "IPAMConfig", "Init", "MemorySwappiness", "OomKillDisable",
    "PidsLimit", "RegistryConfig", "StopTimeout", "UsageData",
))  # fmt: skip
# Fields whose names in Go are not those of the JSON
IN_GO = {
    "CPUPeriod": "CpuPeriod", "CPUQuota": "CpuQuota", "CPURealtimePeriod": "CpuRealtimePeriod",
    "CPURealtimeRuntime": "CpuRealtimeRuntime", "CPUShares": "CpuShares", "DNS": "Dns",
    "DNSOptions": "DnsOptions", "DNSSearch": "DnsSearch", "ID": "Id", "NanoCPUs": "NanoCpus",
}  # fmt: skip
OF_LISTS = ("Ports", "PortBindings")  # maps whose values are lists
OF_NOTHING = ("ExposedPorts", "Volumes")  # maps whose values are structs without fields
_STATE = (
    "Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "Pid", "ExitCode", "Error", "StartedAt",
    "FinishedAt", "Health",
)  # fmt: skip
# Structs that print as Go prints them, by their fields in Docker's order.
STRUCTS = {
    frozenset(_STATE[:-1]): _STATE,  # the JSON of one without a health check does not have that field
    **{
        frozenset(fields): fields
        for fields in (
            ("Name", "MaximumRetryCount"),
            ("Type", "Config"),
            ("HostIp", "HostPort"),
            ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"),
            _STATE,
        )
    },
}
ADDRESS = "0xc000000000"  # what Go shows of a pointer in a struct, whatever that says


class Nil:
    """null where Docker has a list, a map or a pointer, each printed in Go's way: empty, and null again in
    JSON."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __eq__(self, other: object) -> bool:
        return other is None or other is self

    __hash__ = None  # type: ignore[assignment]


NIL_LIST, NIL_MAP, NIL_POINTER = Nil("[]"), Nil("map[]"), Nil("<nil>")


class Map(dict):  # type: ignore[type-arg]
    """What Docker declares as a map: a key that it does not have is no error, wherever it is asked for."""


class Struct(dict):  # type: ignore[type-arg]
    """A thing with fields and methods that a template may name, and that are not shown with the others: what
    Docker leaves out where it is empty, and what takes an argument, as `.Label "key"`.
    """

    def __init__(self, shown: dict[str, Any], hidden: dict[str, Any]) -> None:
        super().__init__(shown)
        self.hidden = hidden


def labelled(row: dict[str, Any], labels: dict[str, str] | None) -> dict[str, Any]:
    """A row of what has labels: with them all as the field `Labels`, and `.Label "key"` for one."""
    known = labels or {}
    words = ",".join(f"{key}={value}" for key, value in sorted(known.items()))
    return Struct({**row, "Labels": words}, {"Label": lambda key: known.get(key, "")})


def typed(name: str, value: Any) -> Any:
    """A field's value as what Docker declares it to be, by the field's name: JSON alone tells neither a map
    from a struct nor what null is."""
    if value is None:
        kinds = ((LISTS, NIL_LIST), (MAPS, NIL_MAP), (POINTERS, NIL_POINTER))
        return next((nil for names, nil in kinds if name in names), None)
    if name not in MAPS or not isinstance(value, dict) or isinstance(value, Struct):
        return value
    if name in OF_LISTS:
        return Map({key: NIL_LIST if item is None else item for key, item in value.items()})
    if name in OF_NOTHING:
        return Map({key: item or Struct({}, {}) for key, item in value.items()})
    return Map(value)


def fields(value: dict[Any, Any]) -> list[Any] | None:
    """What a struct that is known prints, in its order; None of any other thing."""
    if isinstance(value, Map):
        return None
    if isinstance(value, Struct):
        value = {**value.hidden, **value}
        if not value:
            return []
    names = STRUCTS.get(frozenset(value))
    return None if names is None else [_field(name, value.get(name)) for name in names]


def _field(name: str, value: Any) -> Any:
    return ADDRESS if name in POINTERS and isinstance(value, dict) else typed(name, value)
