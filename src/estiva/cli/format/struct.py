"""What templates are given where a dict alone does not say all."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# What Docker declares as maps: any key may be asked for.
MAPS = frozenset((
    "Labels", "Options", "Sysctls", "Tmpfs", "Volumes", "ExposedPorts", "Ports", "PortBindings", "Networks",
    "Annotations", "Attributes", "Data", "DriverOpts", "Config", "StorageOpt", "Runtimes", "Status",
))  # fmt: skip


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
    """A field's value as what Docker declares it to be: JSON alone does not tell a map from a struct."""
    if name in MAPS and isinstance(value, dict) and not isinstance(value, Struct):
        return Map(value)
    return value
