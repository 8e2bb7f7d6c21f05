"""Limits and accounting of a container's processes: cgroups(7), v1 (also hybrid) and v2.

`Cgroup` is one cgroup in every hierarchy in use. Limits come as an OCI linux.resources.
"""

from __future__ import annotations

from estiva.runtime.cgroup.base import Cgroup, children, sweep
from estiva.runtime.cgroup.layout import parent, resolve, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Cgroup", "children", "parent", "resolve", "sweep", "version", "warnings"]


def warnings(resources: dict[str, Any]) -> list[str]:
    """What of an OCI linux.resources `Cgroup.create` passes over on this machine, in words for the user."""
    from estiva.runtime.cgroup.ignored import warnings as collect

    return collect(resources)
