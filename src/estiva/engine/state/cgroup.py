"""Where a container's cgroup is."""

from __future__ import annotations


def cgroup_path(container_id: str, above: str = "") -> str:
    """The cgroup of a container. `above` is HostConfig.CgroupParent: an absolute path, a path below ours, or
    the name of a systemd slice. Raises InvalidInput."""
    from estiva.runtime import cgroup

    if not above:
        return f"{cgroup.parent()}/{container_id}"
    if above.endswith(".slice") and "/" not in above:
        if "--" in above or above[0] == "-" or "-." in above or ":" in above:  # systemd.slice(5)
            from estiva.errors import InvalidInput, oneline

            raise InvalidInput(f"{oneline(above)} is not the name of a slice", hint="such as a-b.slice")
        return cgroup.resolve(f"{above}:estiva:{container_id}", container_id)
    if above[0] == "/":
        return cgroup.resolve(f"{above}/{container_id}", container_id)
    return cgroup.parent() + cgroup.resolve(f"/{above}/{container_id}", container_id)
