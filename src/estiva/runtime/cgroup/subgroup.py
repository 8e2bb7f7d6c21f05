"""The place of a further process below its container's cgroup: `exec --cgroup` of runc's command line."""

from __future__ import annotations

import os

from estiva.errors import InvalidInput, NotFound
from estiva.runtime.cgroup.base import Cgroup
from estiva.runtime.cgroup.layout import clean
from estiva.runtime.cgroup.v1.group import CgroupV1
from estiva.runtime.cgroup.v2.group import CgroupV2


def parse(words: list[str]) -> dict[str, str]:
    """controller -> path of CONTROLLER[,CONTROLLER...]:PATH words, or "" -> the path that is for all."""
    places: dict[str, str] = {}
    for word in words:
        controllers, colon, path = word.partition(":")
        if not colon:
            if len(words) > 1:
                raise InvalidInput(f"--cgroup {word}: more than one is given, and it names no controller")
            return {"": word}
        for controller in controllers.split(","):
            if not controller:
                raise InvalidInput(f"--cgroup {word}: the name of a controller is empty")
            if controller in places:
                raise InvalidInput(f"--cgroup {word}: controller {controller} is given more than once")
            places[controller] = path
    return places


def subgroup(group: Cgroup, words: list[str]) -> Cgroup:
    """What to enter instead of `group` for these --cgroup words. Raises InvalidInput, NotFound."""
    places = parse(words)
    for path in places.values():
        if ".." in path.split("/"):
            raise InvalidInput(f"--cgroup: bad sub cgroup path: {path}")
    if isinstance(group, CgroupV1):
        return _subgroup_v1(group, places)
    if "" not in places:
        raise InvalidInput(
            f"--cgroup {words[0]}: unknown controller {next(iter(places))}",
            hint="on cgroup v2 give one path, for all of them",
        )
    found = CgroupV2(_join(group.path, places[""]), group.places)
    if not found.exists():
        raise NotFound(f"--cgroup {words[0]}: cgroup {found.path}: no such file or directory")
    return found


def _subgroup_v1(group: CgroupV1, places: dict[str, str]) -> CgroupV1:
    """The same cgroup, entered elsewhere: in the hierarchies of the named controllers, or in all."""
    mounts = dict(zip(group.places.mounts, group.entered, strict=True))
    for controller, path in places.items():
        if not controller:
            chosen = list(mounts)
        elif controller == "systemd" and any(mount.endswith("/systemd") for mount in mounts):
            chosen = [mount for mount in mounts if mount.endswith("/systemd")]
        elif controller in group.places.where:
            chosen = [group.places.where[controller]]
        else:
            raise InvalidInput(f"--cgroup {controller}:{path}: unknown controller {controller}")
        for mount in chosen:
            directory = mount + _join(group.path, path)
            if not os.path.isdir(directory):
                raise NotFound(f"--cgroup {path}: adding pid to {directory}: no such file or directory")
            mounts[mount] = directory
    result = CgroupV1(group.path, group.places)
    result.entered = tuple(mounts.values())
    return result


def _join(base: str, path: str) -> str:
    return clean(f"{base}/{path}")
