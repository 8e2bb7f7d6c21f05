"""Id-mapped bind mounts: the options idmap and ridmap of runtime-spec config.md; mount_setattr(2).

The kernel takes a mapping in the shape of a user namespace, so one is made for it, by a process that does
nothing else and is gone again. Only the runtime may do this, so the mounts are opened here for the child.
"""

from __future__ import annotations

import _signal
import errno
import os

from estiva.errors import InvalidInput, Unsupported
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux.libc import AT_RECURSIVE
from estiva.runtime import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.mount_plan import Mount
    from estiva.runtime.plan import Plan


def open_mounts(plan: Plan, held: list[int]) -> None:
    """Open the bind mounts that are to be id-mapped, map them, and put their fds in `mount.fd` and `held`.

    One without a mapping of its own takes that of the container's user namespace. Raises InvalidInput when
    there is none, Unsupported when the filesystem or the kernel can't, OSError.
    """
    made: dict[tuple[str, str], int] = {}
    try:
        for mount in plan.id_mapped:
            maps = (mount.uid_map, mount.gid_map) if mount.uid_map else (plan.uid_map, plan.gid_map)
            if not maps[0] or not maps[1]:
                raise InvalidInput(
                    f"the mount at {mount.destination} is to be id-mapped, and there is no mapping for it",
                    hint="give it uidMappings and gidMappings, or the container a user namespace",
                )
            if maps not in made:
                made[maps] = user_namespace(*maps)
            if mount.fd < 0:
                mount.fd = sync.at_least(mount.open(), 3 + plan.process.preserve_fds)
                held.append(mount.fd)
            apply(mount, made[maps])
    finally:
        for fd in made.values():
            os.close(fd)


def apply(mount: Mount, namespace: int) -> None:
    """Map the detached mount `mount.fd`."""
    flags = AT_RECURSIVE if mount.idmap == "ridmap" else 0
    try:
        mnt.mount_setattr(mount.fd, "", mnt.MOUNT_ATTR_IDMAP, flags=flags, userns_fd=namespace)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EPERM, errno.ENOSYS):
            raise Unsupported(
                f"{mount.source} can't be id-mapped: its filesystem or the kernel does not support it, "
                "or it is mapped already"
            ) from error
        raise


def user_namespace(uid_map: str, gid_map: str) -> int:
    """An fd of a user namespace with these maps and nobody in it. Raises OSError."""
    pid, pidfd = ns.clone3(ns.CLONE_NEWUSER)
    if pid == 0:
        try:
            while True:
                _signal.pause()
        finally:
            os._exit(1)
    try:
        for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
            fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, text.encode())
            except OSError as error:
                raise OSError(error.errno, error.strerror, f"{name} {text!r}") from None
            finally:
                os.close(fd)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
