"""Limits and accounting of a container's processes: cgroups(7), v1 (also hybrid) and v2.

`Cgroup` is one cgroup in every hierarchy in use; factory.py makes and finds them. Limits come as an OCI
linux.resources.
"""

from __future__ import annotations

from estiva.errors import Unsupported
from estiva.runtime.cgroup.base import Cgroup, children, sweep
from estiva.runtime.cgroup.layout import layout, parent, resolve, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Cgroup", "children", "parent", "preload", "resolve", "sweep", "version", "warnings"]


def preload() -> None:
    """Load what `factory.create` will want on this machine: for a process whose forks are to start quickly.

    On a machine without cgroups that is nothing: `create` says what is missing.
    """
    try:
        layout()
    except Unsupported:
        return
    if version() == "v1":
        from estiva.runtime.cgroup import devices, factory, v1  # noqa: F401
        from estiva.runtime.cgroup.v1 import group, limits  # noqa: F401
    else:
        from estiva.linux import bpf  # noqa: F401
        from estiva.runtime.cgroup import devices, factory, v2  # noqa: F401
        from estiva.runtime.cgroup.v2 import group as group2  # noqa: F401
        from estiva.runtime.cgroup.v2 import limits as limits2  # noqa: F401


def warnings(resources: dict[str, Any]) -> list[str]:
    """What of an OCI linux.resources `factory.create` passes over on this machine, in words for the user."""
    from estiva.runtime.cgroup.unsupported import warnings as collect

    return collect(resources)
