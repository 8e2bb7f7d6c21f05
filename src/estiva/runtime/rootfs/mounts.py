"""config.mounts applied in the child; mount_plan.py has read them.

Targets are resolved and made inside the new root by openat2, and mounted on by fd, so that an image full of
symlinks, or somebody who swaps them while we work, only leads us elsewhere inside (K1). procfs and sysfs
refuse any symlink: masks and read-only paths would guard the wrong files (K5).
"""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import InvalidInput
from estiva.linux import fs
from estiva.linux import mount as mnt
from estiva.linux.libc import AT_RECURSIVE
from estiva.runtime.security.kernel_paths import PROC_FILES

_PROC_ROOT = 1  # the inode number of a procfs itself, which may be covered by another

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.rootfs.mount_plan import Mount
    from estiva.runtime.sync import Channel


def apply(mount: Mount, root: int) -> None:
    """Make the target inside `root` and mount on it. Raises OSError."""
    if mount.flags & mnt.MS_REMOUNT:
        _remount(mount, root)
        return
    if mount.bind:
        _apply_bind(mount, root)
        return
    guarded = mount.fstype in ("proc", "sysfs")
    if mount.fstype == "tmpfs" and not any(word.startswith("mode=") for word in mount.data):
        _keep_mode(mount, root)
    target = fs.mkdir_in_root(root, mount.destination, follow=not guarded)
    try:
        if mount.fstype != "proc" or os.fstat(target).st_ino != _PROC_ROOT:
            outside_proc(mount, target)
        # /proc is still the host's here, so this name can't be a trap; the target itself is the fd.
        where = f"/proc/self/fd/{target}"
        data = ",".join(mount.data) or None
        try:
            later = _is_dev(mount) or mount.copy_up  # read-only once all is in it
            flags = mount.flags & ~mnt.MS_RDONLY if later else mount.flags
            mnt.mount(mount.source, where, mount.fstype, flags, data)
        except OSError as error:
            words = error.strerror or ""
            if error.errno == errno.EINVAL and data:
                words += f" for the options {data}"
            raise OSError(error.errno, words, mount.destination) from error
        if mount.copy_up:
            from estiva.runtime.rootfs import tmpcopyup

            tmpcopyup.fill(target, root, mount.destination, mount.data)
            if mount.flags & mnt.MS_RDONLY:
                over = fs.open_in_root(root, mount.destination, os.O_PATH)
                try:
                    mnt.mount_setattr(over, "", mnt.MOUNT_ATTR_RDONLY)
                finally:
                    os.close(over)
    finally:
        os.close(target)
    if mount.propagation:
        over = fs.open_in_root(root, mount.destination, os.O_PATH)
        try:
            mnt.mount_setattr(over, "", propagation=mount.propagation & ~mnt.MS_REC)
        finally:
            os.close(over)


def _keep_mode(mount: Mount, root: int) -> None:
    """A tmpfs without `mode` gets that of the directory it hides, as runc has it; a new one is for all."""
    try:
        there = fs.open_in_root(root, mount.destination, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return
    mount.data.append(f"mode={stat.S_IMODE(os.fstat(there).st_mode):o}")
    os.close(there)


def _is_dev(mount: Mount) -> bool:
    """Whether it is what device nodes and further mounts come into, so that it can be read-only last only."""
    return mount.destination.rstrip("/") == "/dev" and not mount.bind


def seal(mounts: list[Mount], root: int) -> None:
    """Make /dev read-only if it is to be: once all is in it. Raises OSError."""
    for mount in mounts:
        if mount.flags & mnt.MS_RDONLY and not mount.flags & mnt.MS_REMOUNT and _is_dev(mount):
            over = fs.open_in_root(root, mount.destination, os.O_PATH)
            try:
                mnt.mount_setattr(over, "", mnt.MOUNT_ATTR_RDONLY)
            finally:
                os.close(over)


def _remount(mount: Mount, root: int) -> None:
    """Change what is mounted at the destination already: with `bind` only that mount's own flags."""
    target = fs.open_in_root(root, mount.destination, os.O_PATH)
    try:
        outside_proc(mount, target)
        flags = mount.flags | (mnt.MS_BIND if mount.bind else 0)
        data = ",".join(mount.data) or None
        mnt.mount(None, f"/proc/self/fd/{target}", None, flags, data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, mount.destination) from error
    finally:
        os.close(target)


def _apply_bind(mount: Mount, root: int) -> None:
    fd = mount.fd if mount.fd >= 0 else mount.open()
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            target = fs.mkdir_in_root(root, mount.destination)
        else:
            target = fs.create_in_root(root, mount.destination)
            if stat.S_ISDIR(os.fstat(target).st_mode):
                os.close(target)
                raise InvalidInput(
                    f"{mount.source} can't be mounted at {mount.destination}: a file on a folder",
                    hint="end the destination with the name of a file",
                )
        try:
            outside_proc(mount, target)
            mnt.move_mount(fd, "", target, "")
        except OSError as error:
            raise OSError(error.errno, error.strerror, mount.source, None, mount.destination) from error
        finally:
            os.close(target)
    finally:
        os.close(fd)
        mount.fd = -1


def outside_proc(mount: Mount, target: int) -> None:
    """Refuse a place inside procfs, by whatever names and symlinks it was reached (CVE-2019-16884, K5).

    Who could put a file over /proc/self/attr or /proc/sys would read what the runtime believes to tell the
    kernel. Raises InvalidInput.
    """
    if fs.fstatfs(target) == fs.PROC_SUPER_MAGIC and mount.destination not in PROC_FILES:
        raise InvalidInput(
            f"{mount.destination} can't be mounted on: it is the kernel's", hint="choose another place"
        )


def apply_all(mounts: list[Mount], root: int, channel: Channel, cgroup: str | None) -> None:
    """Apply the plan in order; `cgroup` is the container's own cgroup path."""
    for mount in mounts:
        channel.step = str(mount)
        if mount.fstype in ("cgroup", "cgroup2"):
            apply_cgroup(mount, root, cgroup)
        else:
            apply(mount, root)


def apply_cgroup(mount: Mount, root: int, cgroup: str | None) -> None:
    """Show the container its own cgroup and nothing above it (K17).

    v2: a cgroup2 mount, whose root is the cgroup namespace's. v1: a tmpfs with one bind of the container's
    own directory per hierarchy, and the usual symlinks for controllers that share one. Read-only as asked
    for.
    """
    from estiva.runtime.cgroup.layout import layout

    machine = layout()
    if machine.version == "v2":
        mount.fstype = mount.source = "cgroup2"
        apply(mount, root)
        return
    target = fs.mkdir_in_root(root, mount.destination)
    tmpfs = mnt.new_filesystem("tmpfs", (("mode", "755"), ("size", "64k")))
    try:
        readonly = mount.flags & mnt.MS_RDONLY
        attributes = mnt.MOUNT_ATTR_NOSUID | mnt.MOUNT_ATTR_NODEV | mnt.MOUNT_ATTR_NOEXEC
        if readonly:
            attributes |= mnt.MOUNT_ATTR_RDONLY
        mnt.move_mount(tmpfs, "", target, "")
        for point in machine.mounts if cgroup is not None else ():
            try:
                hierarchy = mnt.clone_tree(point + str(cgroup))
            except FileNotFoundError:
                continue  # a hierarchy that the container was not placed in
            try:
                name = point.rpartition("/")[2]
                os.mkdir(name, 0o755, dir_fd=tmpfs)
                mnt.move_mount(hierarchy, "", tmpfs, name)
            finally:
                os.close(hierarchy)
            for controller in name.split(",") if "," in name else ():
                os.symlink(name, controller, dir_fd=tmpfs)
        mnt.mount_setattr(tmpfs, "", attributes, propagation=mnt.MS_PRIVATE, flags=AT_RECURSIVE)
    finally:
        os.close(tmpfs)
        os.close(target)
