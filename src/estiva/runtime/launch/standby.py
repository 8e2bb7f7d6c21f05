"""An init that is cloned before it is known what for: it waits in fresh namespaces, in its cgroup, with the
kernel's own filesystems mounted as they will be. That is half the way to the command.

    parent                                    init
      | clone3 ------------------------------> |  no fds of the host's, in its cgroup, lo is up
      |                                        |  /proc, /dev and /sys (rootfs/prepared.py)
      | <------------------------- READY ----- |
      |         for a while, nothing           |  in the host's mount namespace: it keeps nothing of it busy
      | order, with fds ---------------------> |  goes on as any other init does (init.py): its own mount
      |                                        |  namespace, the root filesystem, ...

What it will be must be alike in all that was done so far: `fits`. End of file means that nobody wants it.
"""

from __future__ import annotations

import os

from estiva.linux import namespace as ns
from estiva.linux import process
from estiva.runtime import sync
from estiva.runtime.launch import init
from estiva.runtime.launch.clone import Init, clone
from estiva.runtime.launch.plan import Plan, Process
from estiva.runtime.rootfs.prepared import TOPS, Prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.runtime.cgroup import Cgroup

_KINDS = ("proc", "tmpfs", "devpts", "sysfs", "cgroup", "cgroup2", "mqueue")
_UNUSUAL = {"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"}
_NAMESPACES = ["cgroup", "ipc", "mount", "network", "pid", "uts"]
_EARLY = ns.CLONE_NEWPID | ns.CLONE_NEWNET | ns.CLONE_NEWIPC | ns.CLONE_NEWUTS
# what of config.linux is seen to before; anything else is out of the ordinary
_KNOWN = {"namespaces", "resources", "devices", "maskedPaths", "readonlyPaths", "rootfsPropagation"}


class Standby:
    """What is made for containers like that of an OCI `config`. `offer` tells for which it can be."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.linux: dict[str, Any] = config["linux"]
        self.entries = _leading(config)

    def fits(self, config: dict[str, Any]) -> bool:
        """Whether a container of `config` can be had from it."""
        count = len(self.entries)
        return (
            config["linux"] == self.linux
            and config["mounts"][:count] == self.entries
            and not any(_below(entry["destination"]) for entry in config["mounts"][count:])
            and "hooks" not in config
        )

    def clone(self, cgroup: Cgroup, order: Callable[[sync.Channel], Plan]) -> Init:
        """The waiting init: `ready` once it waits. The caller, who has one thread, sends what `order` reads
        in the child, which says READY before, and calls `ready` again, or `close`. Raises OSError."""
        blank = Process({}, stdio=(-1, -1, -1), bpf=None, idle=True)
        return clone(_EARLY, [], blank, cgroup, lambda channel: self._wait(channel, cgroup, order))

    def _wait(self, channel: sync.Channel, cgroup: Cgroup, order: Callable[[sync.Channel], Plan]) -> None:
        channel.step = "prepare the process"
        process.close_all_but([channel.fd])
        os.umask(0)
        channel.step = "enter the cgroup"
        cgroup.enter()
        channel.step = "make the namespaces"
        ns.unshare(ns.CLONE_NEWCGROUP)
        ns.loopback_up()
        prepared = Prepared(self.entries, self.linux)
        prepared.make(channel, cgroup.path)
        plan = order(channel)
        plan.prepared = prepared
        init.become(plan, channel)


def offer(config: dict[str, Any]) -> Standby | None:
    """What can be made for further containers like that of `config`, if it is of the usual kind."""
    linux = config["linux"]
    guarded = [*(linux.get("maskedPaths") or ()), *(linux.get("readonlyPaths") or ())]
    usual = (
        sorted(entry["type"] for entry in linux["namespaces"]) == _NAMESPACES
        and not any("path" in entry for entry in linux["namespaces"])
        and _KNOWN.issuperset(linux)
        and linux.get("rootfsPropagation", "rprivate") == "rprivate"
        and all(path.startswith(("/proc/", "/sys/")) for path in guarded)
    )
    if not usual:
        return None
    standby = Standby(config)
    prepared = {entry["destination"] for entry in standby.entries}
    return standby if prepared.issuperset(TOPS) and standby.fits(config) else None


def _leading(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The kernel's filesystems at and below TOPS that come before anything else."""
    entries: list[dict[str, Any]] = []
    for entry in config["mounts"]:
        usual = entry.get("type") in _KINDS and _UNUSUAL.isdisjoint(entry.get("options") or ())
        if not usual or not _below(entry["destination"]):
            break
        entries.append(entry)
    return entries


def _below(destination: str) -> bool:
    """Whether a place may be one of TOPS, or inside of one."""
    return destination.lstrip("/").split("/")[0] in ("proc", "dev", "sys", "", ".", "..")
