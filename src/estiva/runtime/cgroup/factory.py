"""Cgroups of whatever version this machine has: made, or found again."""

from __future__ import annotations

from estiva.runtime.cgroup.layout import clean, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.cgroup.base import Cgroup


def create(path: str, resources: dict[str, Any] | None = None) -> Cgroup:
    """Make the cgroup in every hierarchy in use and set the limits of an OCI linux.resources.

    One that exists already and is empty is used. Raises InvalidInput (a malformed path or field),
    LimitRefused (names the limit and the value), Conflict (it holds processes, or v2's rules forbid it
    there), Unsupported (no hierarchy, or no right to make it). Nothing is left behind on an error.
    """
    path = clean(path)
    places = layout()
    if places.version == "v1":
        from estiva.runtime.cgroup.v1.group import CgroupV1

        return CgroupV1.make(path, places, resources or {})
    from estiva.runtime.cgroup.v2.group import CgroupV2

    return CgroupV2.make(path, places, resources or {})


def places(path: str) -> list[Cgroup]:
    """Where `create` may have made the cgroup of that path: on v2 also below the one delegated to us.

    Raises InvalidInput, Unsupported.
    """
    found = [open(path)]
    if layout().version == "v2":
        from estiva.runtime.cgroup.v2.tree import own_cgroup

        if below := own_cgroup():
            found.append(open(below + path))
    return found


def open(path: str, unit: str = "") -> Cgroup:
    """An existing cgroup by the `path` of the one that `create` gave, and the `unit` that it is for systemd.
    Does not look whether it exists. Raises InvalidInput, Unsupported."""
    if unit:
        from estiva.runtime.cgroup.systemd.scope import Scope

        return Scope.again(path, unit)
    path = clean(path)
    places = layout()
    if places.version == "v1":
        from estiva.runtime.cgroup.v1.group import CgroupV1

        return CgroupV1(path, places)
    from estiva.runtime.cgroup.v2.group import CgroupV2

    return CgroupV2(path, places)
