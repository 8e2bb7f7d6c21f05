"""The kernel's own filesystems of a container, /proc, /dev and /sys, mounted before its root is there.

They and all that belongs in them (devices, cgroups, masks) are mounted on a root for a moment, by the same
code as on the real one, and then kept as detached trees: those are of no mount namespace, so nothing of the
host stays busy for them, and they go when their fds do.
"""

from __future__ import annotations

import os

from estiva.linux import fs
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux.libc import AT_FDCWD
from estiva.runtime.rootfs import devices, mount_plan, mounts, protect, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.rootfs.mount_plan import Mount
    from estiva.runtime.sync import Channel

TOPS = ("/proc", "/dev", "/sys")
_ASIDE = "/proc/driver"  # of the host's procfs, which always has it


class Prepared:
    """What `entries`, the first ones of an OCI config's mounts, come to, with its `linux`."""

    def __init__(self, entries: list[dict[str, Any]], linux: dict[str, Any]) -> None:
        self.entries = entries
        self.linux = linux
        self.trees: list[tuple[Mount, int]] = []

    def make(self, channel: Channel, cgroup: str) -> None:
        """Mount it all, in a mount namespace that is left again. umask must be 0. Raises OSError."""
        home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        ns.unshare(ns.CLONE_NEWNS)
        os.close(rootfs.isolate(""))
        root = mnt.new_filesystem("tmpfs", (("mode", "755"),))
        mnt.move_mount(root, "", AT_FDCWD, "/")
        planned = mount_plan.plan(self.entries)
        mounts.apply_all(planned, root, channel, cgroup)
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
        ns.setns(home, ns.CLONE_NEWNS, "mount namespace")
        os.fchdir(top)
        os.chroot(".")
        os.close(home)
        os.close(top)

    def fds(self) -> list[int]:
        return [tree for _, tree in self.trees]

    def attach(self, root: int) -> int:
        """Put it on the root filesystem; how many of the config's mounts that was. Raises OSError.

        The kernel lists mounts by age, and the root is to be the first, so copies are put there. It copies
        only what is in the caller's namespace: each tree is first put on the old root, with which it goes.
        """
        for mount, tree in self.trees:
            # as mounts.apply has it
            target = fs.mkdir_in_root(root, mount.destination, follow=mount.fstype not in ("proc", "sysfs"))
            try:
                mounts.outside_proc(mount, target)
                mnt.move_mount(tree, "", AT_FDCWD, _ASIDE)
                copy = mnt.clone_tree("", recursive=True, dirfd=tree)
                mnt.move_mount(copy, "", target, "")
            except OSError as error:
                raise OSError(error.errno, error.strerror, mount.destination) from error
            finally:
                os.close(target)
            os.close(copy)
            os.close(tree)
        self.trees.clear()
        return len(self.entries)
