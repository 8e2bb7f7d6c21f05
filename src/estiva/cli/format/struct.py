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
ADDRESS = "0xc000000000"  # what Go shows of a pointer in a struct, whatever that says


class Nil:
    """null where Docker has a list, a map or a pointer, each printed in Go's way: empty, and null again in
    JSON."""

    def __init__(self, text: str, zero: Any = None) -> None:
        self.text = text
        self.zero = zero  # of a map: what a key that is not there is

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __eq__(self, other: object) -> bool:
        return other is None or other is self

    __hash__ = None  # type: ignore[assignment]


NIL_LIST, NIL_MAP, NIL_POINTER = Nil("[]"), Nil("map[]", ""), Nil("<nil>")


class Shown:
    """What is one thing in JSON, and is printed as another."""

    def shown(self) -> str:
        raise NotImplementedError


class Map(dict):  # type: ignore[type-arg]
    """What Docker declares as a map: a key that it does not have is no error, wherever it is asked for;
    `index` gives `zero` for one.
    """

    def __init__(self, items: dict[Any, Any], zero: Any = None) -> None:
        super().__init__(items)
        self.zero = zero


class Struct(dict):  # type: ignore[type-arg]
    """A thing with fields and methods that a template may name, and that are not shown with the others: what
    Docker leaves out where it is empty, and what takes an argument, as `.Label "key"`.

    `order` has the fields that are printed, and whether each is a pointer; `text` is what is printed in their
    place; `pointer` says that Docker has a pointer to it.
    """

    def __init__(
        self,
        shown: dict[str, Any],
        hidden: dict[str, Any],
        order: dict[str, bool] | None = None,
        text: str = "",
    ) -> None:
        super().__init__(shown)
        self.hidden = hidden
        self.order = order
        self.text = text
        self.pointer = False

    def printed(self) -> list[Any] | None:
        """What is printed of it, in that order; None where its order is not known."""
        if self.order is None:
            return None
        items = {**self.hidden, **self}
        return [
            ADDRESS if pointer and not isinstance(items[name], Nil) else items[name]
            for name, pointer in self.order.items()
        ]


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
    if name not in MAPS or not isinstance(value, dict) or isinstance(value, Struct | Map):
        return value
    return Map(value, "" if all(isinstance(item, str) for item in value.values()) else None)
