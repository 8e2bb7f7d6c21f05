"""An init that is cloned before it is known what for: it waits in fresh namespaces, in its cgroup, with the
kernel's own filesystems mounted as they will be. That is half the way to the command.

    parent                                    init
      | clone3 ------------------------------> |  no fds of the host's, in its cgroup, lo is up,
      |                                        |  /proc, /dev and /sys with all that belongs in them: detached
      | <------------------------- READY ----- |
      |         for a while, nothing           |  in the host's mount namespace: it keeps nothing of it busy
      | order, with fds ---------------------> |  goes on as any other init does (init.py): its own mount
      |                                        |  namespace, the root filesystem, on which those are put, ...

What it will be must be alike in all that was done so far: `fits`. End of file means that nobody wants it.
"""

from __future__ import annotations

import os

from estiva.linux import fs, process
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux.libc import AT_FDCWD
from estiva.runtime import sync
from estiva.runtime.launch import init
from estiva.runtime.launch.clone import Init, clone
from estiva.runtime.launch.plan import Plan, Process
from estiva.runtime.rootfs import devices, mount_plan, mounts, protect, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.rootfs.mount_plan import Mount

TOPS = ("/proc", "/dev", "/sys")
_KINDS = ("proc", "tmpfs", "devpts", "sysfs", "cgroup", "cgroup2", "mqueue")
_UNUSUAL = {"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"}
_NAMESPACES = ["cgroup", "ipc", "mount", "network", "pid", "uts"]
_EARLY = ns.CLONE_NEWPID | ns.CLONE_NEWNET | ns.CLONE_NEWIPC | ns.CLONE_NEWUTS
# linux.*: what is seen to below; anything else is out of the ordinary
_KNOWN = {"namespaces", "resources", "devices", "maskedPaths", "readonlyPaths", "rootfsPropagation"}


class Standby:
    """What is prepared for containers like that of an OCI `config`; see the module.

    Both sides have it: the parent to see what it is good for, the child with `trees` besides.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.linux: dict[str, Any] = config["linux"]
        self.entries = _leading(config)
        self.trees: list[tuple[Mount, int]] = []

    def fits(self, config: dict[str, Any]) -> bool:
        """Whether a container of `config` can be had from it."""
        count = len(self.entries)
        later = config["mounts"][count:]
        return (
            config["linux"] == self.linux
            and config["mounts"][:count] == self.entries
            and not any(_below(entry["destination"]) for entry in later)
            and "hooks" not in config
        )

    def clone(self, cgroup: Cgroup, order: Callable[[sync.Channel], Plan]) -> Init:
        """The waiting init: `ready` once it waits. The caller, who has one thread, sends what `order` reads
        in the child, and calls `ready` again, or `close`. Raises OSError, EngineError."""
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
        self._prepare(channel, cgroup)
        channel.send(sync.READY)
        plan = order(channel)
        plan.standby = self
        init.become(plan, channel)

    def _prepare(self, channel: sync.Channel, cgroup: Cgroup) -> None:
        """Mount everything on a root that is there for this moment only, as it will be on the real one."""
        home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        ns.unshare(ns.CLONE_NEWNS)
        os.close(rootfs.isolate(""))
        root = mnt.new_filesystem("tmpfs", (("mode", "755"),))
        mnt.move_mount(root, "", AT_FDCWD, "/")
        planned = mount_plan.plan(self.entries)
        mounts.apply_all(planned, root, channel, cgroup.path)
        channel.step = "make the devices"
        devices.populate(root, self.linux.get("devices") or [])
        channel.step = "guard kernel files"
        protect.make_readonly(root, self.linux.get("readonlyPaths") or [])
        protect.mask(root, list(dict.fromkeys(self.linux.get("maskedPaths") or ())))
        mounts.seal(planned, root)
        for mount in planned:
            if mount.destination in TOPS:
                tree = mnt.clone_tree(mount.destination[1:], recursive=True, dirfd=root)
                self.trees.append((mount, tree))
        os.close(root)
        # all but those trees goes with the namespace
        ns.setns(home, ns.CLONE_NEWNS, "mount namespace")
        os.fchdir(top)
        os.chroot(".")
        os.close(home)
        os.close(top)

    def fds(self) -> list[int]:
        return [tree for _, tree in self.trees]

    def attach(self, root: int) -> int:
        """Put what was prepared on the root filesystem `root`; how many of the config's mounts that was."""
        for mount, tree in self.trees:
            # as mounts.apply has it
            target = fs.mkdir_in_root(root, mount.destination, follow=mount.fstype not in ("proc", "sysfs"))
            try:
                mounts.outside_proc(mount, target)
                copy = _younger(tree)
                mnt.move_mount(copy, "", target, "")
                os.close(copy)
            finally:
                os.close(target)
        return len(self.entries)


def _younger(tree: int) -> int:
    """A copy of a detached tree: the kernel lists mounts by age, and the root is to be the first. Before
    Linux 6.15 the tree itself, which is all there is."""
    try:
        copy = mnt.clone_tree("", recursive=True, dirfd=tree)
    except OSError:
        return tree
    os.close(tree)
    return copy


def offer(config: dict[str, Any]) -> Standby | None:
    """What can be prepared for further containers like that of `config`, if it is of the usual kind."""
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
