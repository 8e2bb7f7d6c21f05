"""Id-mapped mounts, mount_setattr(2): the options idmap and ridmap of runtime-spec config.md, and layers.

The kernel takes a mapping in the shape of a user namespace, so one is made for it, by a process that does
nothing else and is gone again. Only the runtime may do this, so the mounts are opened here for the child.
"""

from __future__ import annotations

import _signal
import errno
import os

from estiva.errors import InvalidInput, Unsupported
from estiva.linux import fsid
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux.libc import AT_FDCWD
from estiva.runtime import helper, sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def map_ids(fd: int, namespace: int, source: str, flags: int = 0) -> None:
    """Show the detached mount `fd`, a copy of `source`, in the ids of a namespace. Raises Unsupported."""
    try:
        mnt.mount_setattr(fd, "", mnt.MOUNT_ATTR_IDMAP, flags=flags, userns_fd=namespace)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EPERM, errno.ENOSYS):
            raise Unsupported(
                f"{source} can't be id-mapped: its filesystem or the kernel does not support it, "
                "or it is mapped already"
            ) from error
        raise


def overlay(
    lowerdirs: Sequence[str],
    upper: str | None,
    work: str | None,
    options: Sequence[tuple[str, str]],
    *,
    namespace: int,
    owner: tuple[int, int],
) -> int:
    """A detached overlay, as of Rootfs, of layers that all show in the ids of the user namespace `namespace`.

    The read-write layer is mapped too: what the container makes as its root is root's on the disk, as in a
    container without a user namespace. So `diff`, `commit` and `export` read it as ever, and whatever other
    mapping a later start has, its owners are right. Overlayfs itself works with the ids of who mounts it,
    which the mapping must know: a process of its own takes those of the container's root (`owner`, in the
    host's ids) for that. It has a mount namespace of its own too, since overlayfs takes layers by name, and
    before Linux 6.15 no detached ones. Raises Unsupported, StepFailed.
    """

    def hand_over(channel: sync.Channel) -> None:
        channel.step = "mount the root filesystem"
        mnt.mount(None, "/", None, mnt.MS_REC | mnt.MS_PRIVATE)
        names = [_mapped(directory, namespace) for directory in lowerdirs]
        writable: tuple[str, str] | tuple[None, None] = (None, None)
        source = "overlay"
        if upper is not None and work is not None:
            writable, source = _mapped_pair(upper, work, namespace), upper
        fsid.take(*owner)
        root = mnt.overlay(names, *writable, options=options, source=source)
        # who could bring a device node into a layer may not open it: root of a user namespace can make none
        mnt.mount_setattr(root, "", mnt.MOUNT_ATTR_NODEV)
        channel.send_fd(sync.READY, root)

    return helper.fetch(ns.CLONE_NEWNS, hand_over, "mounting the layers ended in silence")


def _mapped_pair(upper: str, work: str, namespace: int) -> tuple[str, str]:
    """Names of upperdir and workdir in one id-mapped copy of their folder: overlayfs wants one mount."""
    base, above = os.path.split(upper)
    beside, name = os.path.split(work)
    if base != beside:
        raise InvalidInput(f"{upper} and {work} are not in one folder")
    both = _mapped(base, namespace)
    return f"{both}/{above}", f"{both}/{name}"


def _mapped(directory: str, namespace: int) -> str:
    """A name, for this process only, of an id-mapped copy of the mount at `directory`."""
    fd = mnt.clone_tree(directory)
    map_ids(fd, namespace, directory)
    mnt.move_mount(fd, "", AT_FDCWD, "/")  # over all that is there: nothing is looked up in it by such a name
    return f"/proc/self/fd/{fd}"


def user_namespace(uid_map: str, gid_map: str) -> int:
    """An fd of a user namespace with these maps and nobody in it. Raises OSError."""
    pid, pidfd = ns.fork(ns.CLONE_NEWUSER)
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


def root_of(namespace: int) -> tuple[int, int]:
    """The ids, as we number them, of the root of a user namespace (its fd). Raises InvalidInput, OSError."""
    told, tell = os.pipe()
    pid, pidfd = ns.fork(0)
    if pid == 0:
        try:
            os.close(told)
            ns.setns(namespace, ns.CLONE_NEWUSER)
            os.write(tell, b"in")
            while True:
                _signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        found = []
        if os.read(told, 2):
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
                    rows = [line.split() for line in file]
                found += [int(row[1]) for row in rows if row[0] == "0"]
        if len(found) != 2:
            raise InvalidInput("the user namespace to join can't be entered, or has no root")
        return found[0], found[1]
    finally:
        os.close(told)
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
