"""config.mounts: each entry becomes a value (`plan`, in the parent), later applied (`apply`, in the child).

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
from estiva.runtime.rootfs import PROPAGATION
from estiva.runtime.security import PROC_FILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.sync import Channel

# option -> (MS_* for mount(2), MOUNT_ATTR_* for mount_setattr(2), whether it clears). mount(8), "FILESYSTEM-
# INDEPENDENT MOUNT OPTIONS"; the runtime-spec's config.md lists what a runtime must take.
_OPTIONS: dict[str, tuple[int, int, bool]] = {
    "ro": (mnt.MS_RDONLY, mnt.MOUNT_ATTR_RDONLY, False),
    "rw": (mnt.MS_RDONLY, mnt.MOUNT_ATTR_RDONLY, True),
    "nosuid": (mnt.MS_NOSUID, mnt.MOUNT_ATTR_NOSUID, False),
    "suid": (mnt.MS_NOSUID, mnt.MOUNT_ATTR_NOSUID, True),
    "nodev": (mnt.MS_NODEV, mnt.MOUNT_ATTR_NODEV, False),
    "dev": (mnt.MS_NODEV, mnt.MOUNT_ATTR_NODEV, True),
    "noexec": (mnt.MS_NOEXEC, mnt.MOUNT_ATTR_NOEXEC, False),
    "exec": (mnt.MS_NOEXEC, mnt.MOUNT_ATTR_NOEXEC, True),
    "nosymfollow": (mnt.MS_NOSYMFOLLOW, mnt.MOUNT_ATTR_NOSYMFOLLOW, False),
    "symfollow": (mnt.MS_NOSYMFOLLOW, mnt.MOUNT_ATTR_NOSYMFOLLOW, True),
    "nodiratime": (mnt.MS_NODIRATIME, mnt.MOUNT_ATTR_NODIRATIME, False),
    "diratime": (mnt.MS_NODIRATIME, mnt.MOUNT_ATTR_NODIRATIME, True),
    "noatime": (mnt.MS_NOATIME, mnt.MOUNT_ATTR_NOATIME, False),
    "atime": (mnt.MS_NOATIME, mnt.MOUNT_ATTR_NOATIME, True),
    "relatime": (mnt.MS_RELATIME, mnt.MOUNT_ATTR_RELATIME, False),
    "norelatime": (mnt.MS_RELATIME, mnt.MOUNT_ATTR_RELATIME, True),
    "strictatime": (mnt.MS_STRICTATIME, mnt.MOUNT_ATTR_STRICTATIME, False),
    "nostrictatime": (mnt.MS_STRICTATIME, mnt.MOUNT_ATTR_STRICTATIME, True),
    "sync": (mnt.MS_SYNCHRONOUS, 0, False),
    "async": (mnt.MS_SYNCHRONOUS, 0, True),
    "dirsync": (mnt.MS_DIRSYNC, 0, False),
    "mand": (mnt.MS_MANDLOCK, 0, False),
    "nomand": (mnt.MS_MANDLOCK, 0, True),
    "lazytime": (mnt.MS_LAZYTIME, 0, False),
    "nolazytime": (mnt.MS_LAZYTIME, 0, True),
    "silent": (mnt.MS_SILENT, 0, False),
    "loud": (mnt.MS_SILENT, 0, True),
    "defaults": (0, 0, False),
}
_ATIMES = ("noatime", "atime", "relatime", "norelatime", "strictatime", "nostrictatime")

_RECURSIVE = frozenset(o for o, (_, attribute, _) in _OPTIONS.items() if attribute or o in _ATIMES)

# A userspace-only option, in the place that mount(8) leaves for such: `source` is the directory, and this
# path inside it, resolved without leaving it, is what gets mounted (a volume's subpath).
SUBPATH = "X-estiva.subpath="


class Mount:
    """One planned mount. `fd` is a detached mount opened beforehand, or -1."""

    __slots__ = (
        "destination",
        "fstype",
        "source",
        "subpath",
        "bind",
        "recursive",
        "flags",
        "data",
        "set",
        "clear",
        "set_all",
        "clear_all",
        "propagation",
        "fd",
    )

    def __init__(self, destination: str, fstype: str, source: str) -> None:
        self.destination = destination
        self.fstype = fstype
        self.source = source
        self.subpath = ""
        self.bind = fstype == "bind"
        self.recursive = False
        self.flags = 0
        self.data: list[str] = []
        self.set = self.clear = self.set_all = self.clear_all = 0
        self.propagation = 0
        self.fd = -1

    def __str__(self) -> str:
        what = self.source if self.bind else self.fstype
        return f"mount {what} at {self.destination}"

    def open(self) -> int:
        """For a bind: a detached copy of the source with its attributes set. Raises OSError."""
        if self.subpath:
            base = os.open(self.source, os.O_PATH | os.O_CLOEXEC)
            try:
                inner = fs.open_in_root(base, self.subpath, os.O_PATH)
            finally:
                os.close(base)
            try:
                fd = mnt.clone_tree("", recursive=self.recursive, dirfd=inner)
            finally:
                os.close(inner)
        else:
            fd = mnt.clone_tree(self.source, recursive=self.recursive)
        try:
            recursive = AT_RECURSIVE if self.recursive else 0
            if self.set_all | self.clear_all:
                mnt.mount_setattr(fd, "", self.set_all, self.clear_all, 0, AT_RECURSIVE)
            if self.set | self.clear:
                mnt.mount_setattr(fd, "", self.set, self.clear)
            # The copy is in the source's peer group; cut it off unless propagation was asked for.
            kind = self.propagation or mnt.MS_REC | mnt.MS_PRIVATE
            mnt.mount_setattr(fd, "", propagation=kind & ~mnt.MS_REC, flags=kind & mnt.MS_REC and recursive)
        except BaseException:
            os.close(fd)
            raise
        return fd


def plan(entries: list[dict[str, Any]]) -> list[Mount]:
    """The values for an OCI config's mounts, in order. Raises InvalidInput."""
    return [_plan_one(entry) for entry in entries]


def _plan_one(entry: dict[str, Any]) -> Mount:
    destination = entry.get("destination", "")
    if not isinstance(destination, str) or not destination:
        raise InvalidInput("a mount has no destination")
    if not destination.startswith("/"):
        destination = "/" + destination  # relative ones are taken from the root, as runc does
    options = entry.get("options") or ()
    fstype = entry.get("type") or ""
    if fstype in ("", "none") or "bind" in options or "rbind" in options:
        fstype = "bind"
    mount = Mount(destination, fstype, entry.get("source") or fstype)
    for option in options:
        if option in ("bind", "rbind"):
            mount.recursive = option == "rbind"
        elif option in PROPAGATION:
            mount.propagation = PROPAGATION[option]
        elif option in _OPTIONS:
            _flag(mount, option, *_OPTIONS[option])
        elif option.startswith(SUBPATH):
            mount.subpath = option[len(SUBPATH) :]
        elif option[:1] == "r" and option[1:] in _RECURSIVE:
            _flag_all(mount, option[1:])
        elif not option.startswith(("x-", "X-")):
            mount.data.append(option)
    if mount.bind:
        if not entry.get("source"):
            raise InvalidInput(f"the bind mount at {destination} has no source")
        if mount.data:
            raise InvalidInput(f"the bind mount at {destination} has an unknown option: {mount.data[0]}")
    return mount


def _flag(mount: Mount, option: str, flag: int, attribute: int, clears: bool) -> None:
    if clears:
        mount.flags &= ~flag
        mount.set &= ~attribute
        mount.clear |= attribute
    else:
        mount.flags |= flag
        mount.set |= attribute
        mount.clear &= ~attribute
    if option in _ATIMES:  # the access-time bits are one field: set it as a whole
        mount.clear |= mnt.MOUNT_ATTR__ATIME


def _flag_all(mount: Mount, option: str) -> None:
    _, attribute, clears = _OPTIONS[option]
    if clears:
        mount.clear_all |= attribute
    else:
        mount.set_all |= attribute
    if option in _ATIMES:
        mount.clear_all |= mnt.MOUNT_ATTR__ATIME


def apply(mount: Mount, root: int) -> None:
    """Make the target inside `root` and mount on it. Raises OSError."""
    if mount.bind:
        _apply_bind(mount, root)
        return
    guarded = mount.fstype in ("proc", "sysfs")
    target = fs.mkdir_in_root(root, mount.destination, follow=not guarded)
    try:
        if not guarded:
            outside_proc(mount, target)
        # /proc is still the host's here, so this name can't be a trap; the target itself is the fd.
        where = f"/proc/self/fd/{target}"
        data = ",".join(mount.data) or None
        try:
            mnt.mount(mount.source, where, mount.fstype, mount.flags, data)
        except OSError as error:
            words = error.strerror or ""
            if error.errno == errno.EINVAL and data:
                words += f" for the options {data}"
            raise OSError(error.errno, words, mount.destination) from error
    finally:
        os.close(target)
    if mount.propagation:
        over = fs.open_in_root(root, mount.destination, os.O_PATH)
        try:
            mnt.mount_setattr(over, "", propagation=mount.propagation & ~mnt.MS_REC)
        finally:
            os.close(over)


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
