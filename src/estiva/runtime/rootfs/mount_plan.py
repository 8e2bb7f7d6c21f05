"""config.mounts read: each entry becomes a value, in the parent; mounts.py applies it in the child."""

from __future__ import annotations

import os

from estiva.errors import InvalidInput
from estiva.linux import fs
from estiva.linux import mount as mnt
from estiva.linux.libc import AT_RECURSIVE
from estiva.runtime.rootfs.rootfs import PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    "iversion": (mnt.MS_I_VERSION, 0, False),
    "noiversion": (mnt.MS_I_VERSION, 0, True),
    "acl": (mnt.MS_POSIXACL, 0, False),
    "noacl": (mnt.MS_POSIXACL, 0, True),
    "silent": (mnt.MS_SILENT, 0, False),
    "loud": (mnt.MS_SILENT, 0, True),
    "defaults": (0, 0, False),
    "remount": (mnt.MS_REMOUNT, 0, False),
    # For mount(8) itself, at boot and for users: they say nothing to the kernel.
    "auto": (0, 0, False),
    "noauto": (0, 0, False),
    "nofail": (0, 0, False),
    "_netdev": (0, 0, False),
}
_ATIMES = ("noatime", "atime", "relatime", "norelatime", "strictatime", "nostrictatime")

# What proc and sysfs make of themselves, so that mountLabel says nothing to them.
_UNLABELLED = ("proc", "sysfs", "bind", "cgroup", "cgroup2")

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
        "idmap",
        "uid_map",
        "gid_map",
        "copy_up",
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
        self.idmap = ""  # "idmap" or "ridmap"
        self.uid_map = self.gid_map = ""
        self.copy_up = False

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


def plan(entries: list[dict[str, Any]], label: str = "") -> list[Mount]:
    """The values for an OCI config's mounts, in order; `label` is linux.mountLabel. Raises InvalidInput."""
    result = []
    for index, entry in enumerate(entries):
        mount = _plan_one(entry, f"mounts[{index}]")
        if label and mount.fstype not in _UNLABELLED:
            mount.data.append(f'context="{label}"')
        result.append(mount)
    return result


def _plan_one(entry: dict[str, Any], where: str) -> Mount:
    destination = entry.get("destination", "")
    if not isinstance(destination, str) or not destination:
        raise InvalidInput(f"{where}.destination is missing: a mount has no destination")
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
        elif option in ("idmap", "ridmap"):
            mount.idmap = option
        elif option == "tmpcopyup":
            mount.copy_up = True
            from estiva.runtime.rootfs import tmpcopyup  # noqa: F401  (now, so that the child doesn't have to)
        elif not option.startswith(("x-", "X-")):
            mount.data.append(option)
    if mount.bind:
        if not entry.get("source") and not mount.flags & mnt.MS_REMOUNT:
            raise InvalidInput(f"{where}.source is missing: the bind mount at {destination} has no source")
        mount.data.clear()  # options of a filesystem, which is mounted already: the kernel ignores them too
    _id_mapped(mount, entry, where)
    if mount.copy_up and fstype != "tmpfs":
        raise InvalidInput(f"{where}.options: tmpcopyup is for a tmpfs, not for {fstype}")
    return mount


def _id_mapped(mount: Mount, entry: dict[str, Any], where: str) -> None:
    """uidMappings, gidMappings, and the options that ask for them."""
    mount.uid_map = id_map(entry.get("uidMappings") or (), f"{where}.uidMappings")
    mount.gid_map = id_map(entry.get("gidMappings") or (), f"{where}.gidMappings")
    if bool(mount.uid_map) != bool(mount.gid_map):
        missing = "gidMappings" if mount.uid_map else "uidMappings"
        raise InvalidInput(f"{where}.{missing} is missing: a mount has both mappings or none")
    if mount.uid_map and not mount.idmap:
        mount.idmap = "idmap"  # only what `ridmap` is said for is mapped with all below, as runc has it
    if mount.idmap and not mount.bind:
        raise InvalidInput(f"{where}: only a bind mount can be id-mapped, not a {mount.fstype}")


def id_map(mappings: list[dict[str, int]] | tuple[()], where: str) -> str:
    """The text of /proc/PID/uid_map or gid_map (user_namespaces(7)). Raises InvalidInput."""
    lines = []
    for index, one in enumerate(mappings):
        numbers = [one.get(key, 0) for key in ("containerID", "hostID", "size")]
        if any(type(n) is not int or not 0 <= n <= 0xFFFFFFFF for n in numbers) or not numbers[2]:
            raise InvalidInput(f"{where}[{index}]: {one} is not an id mapping")
        lines.append(" ".join(map(str, numbers)))
    return "\n".join(lines)


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


def names() -> list[str]:
    """Every option that `plan` knows and that is not of a filesystem's own: for `estiva-oci features`."""
    recursive = [f"r{option}" for option in _RECURSIVE]
    own = ("bind", "rbind", "idmap", "ridmap", "tmpcopyup")
    return sorted({*_OPTIONS, *recursive, *PROPAGATION, *own})
