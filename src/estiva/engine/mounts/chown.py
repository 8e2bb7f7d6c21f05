"""The option U of a mount: what its source holds becomes the container's user's before every start."""

from __future__ import annotations

import errno
import os
import stat

from estiva.engine.spec import userns
from estiva.errors import EngineError, InvalidInput, Unsupported, reason
from estiva.linux import fs
from estiva.linux.libc import AT_FDCWD
from estiva.runtime.process import user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.types import MountPoint, Record
    from estiva.store.images import Image

# Podman's list, of what a host can't do without. What is below them may be given away.
HOSTS = (
    "/bin", "/boot", "/dev", "/etc", "/etc/passwd", "/etc/pki", "/etc/shadow", "/home", "/lib", "/lib64",
    "/media", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib",
    "/var/log", "/var/tmp",
)  # fmt: skip


def check(source: str, *state: str) -> str:
    """The path that `source` leads to. Raises InvalidInput if that is, or holds, what the host needs or
    one of our `state`.
    """
    real = os.path.realpath(source)
    for kept in (*HOSTS, os.path.expanduser("~"), *state):
        if (os.path.realpath(kept) + "/").startswith(real.rstrip("/") + "/"):
            raise InvalidInput(
                f"the volume option U is refused for {source}: the host needs it as it is",
                hint="give it a folder of the container's own",
            )
    return real


def give(engine: Engine, made: Record, image: Image) -> None:
    """Give the sources of the mounts with U to the user whom the container runs as."""
    rootfs = engine.store.snapshots.view(image.chain)
    try:
        who = user.resolve(rootfs, {"username": made["Config"].get("User") or ""}, need_home=False)
    finally:
        os.close(rootfs)
    for point in made["Mounts"]:
        if not point.get("Chown"):
            continue
        uid, gid = who.uid, who.gid
        if not _has_own_ids(point):
            uid, gid = _outside(made["HostConfig"], uid, gid)
        # again: since the container was made, a symlink may have come to lead elsewhere
        source = check(point["Source"], engine.paths.root, engine.paths.run_root)
        try:
            chown(source, uid, gid)
        except OSError as error:
            raise EngineError(f"{source} can't be given to {uid}:{gid}: {reason(error)}") from None
        except RecursionError:  # of os.fwalk before Python 3.12
            raise EngineError(f"{source} is too deep to be given to {uid}:{gid}") from None


def _has_own_ids(point: MountPoint) -> bool:
    """Whether the mount is id-mapped in a user namespace, with the container's ids on the disk."""
    return point["Type"] == "volume" or "IDMap" in point


def _outside(host_config: HostConfig, uid: int, gid: int) -> tuple[int, int]:
    """The host's ids of the container's."""
    mode = str(host_config.get("UsernsMode") or "")
    if mode.startswith(("container:", "ns:")):
        raise Unsupported(
            f"the volume option U is not supported with --userns {mode}", hint="add idmap to it"
        )
    mappings = host_config.get("IDMappings") or {}
    found = []
    for key, number in (("UidMap", uid), ("GidMap", gid)):
        extents = [userns.extent(line, key) for line in mappings.get(key) or ["0:0:4294967295"]]
        outside = [
            host + number - inside for inside, host, size in extents if inside <= number < inside + size
        ]
        if not outside:
            raise InvalidInput(f"the container's user namespace has no id {number} to give a volume to")
        found.append(outside[0])
    return found[0], found[1]


def chown(source: str, uid: int, gid: int) -> None:
    """Give `source`, a path without symlinks, and all below it to `uid` and `gid`: symlinks themselves, and
    nothing of other mounts.

    Each step is one name below an open directory: who may write there can't lead us out of it by a symlink.
    """

    def fail(error: OSError) -> None:
        if error.errno != errno.ENOENT:
            raise error

    top = fs.openat2(AT_FDCWD, source, os.O_PATH, resolve=fs.RESOLVE_NO_SYMLINKS)
    try:
        if stat.S_ISDIR(os.fstat(top).st_mode):
            for _, directories, files, fd in os.fwalk(".", dir_fd=top, onerror=fail):
                directories[:] = [name for name in directories if _chown_at(fd, name, uid, gid)]
                for name in files:
                    _chown_at(fd, name, uid, gid)
        _chown(top, uid, gid)
    finally:
        os.close(top)


def _chown_at(directory: int, name: str, uid: int, gid: int) -> bool:
    """False for what is left alone: another mount, or what has gone meanwhile."""
    try:
        found = fs.openat2(directory, name, os.O_PATH | os.O_NOFOLLOW, resolve=fs.RESOLVE_NO_XDEV)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ENOENT):
            return False
        raise
    try:
        _chown(found, uid, gid)
    finally:
        os.close(found)
    return True


def _chown(fd: int, uid: int, gid: int) -> None:
    """Unless it is theirs: chown(2) takes setuid bits and capabilities away, and makes a new ctime."""
    status = os.fstat(fd)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(f"/proc/self/fd/{fd}", uid, gid)  # fchown(2) takes no O_PATH; of a symlink it is the link
