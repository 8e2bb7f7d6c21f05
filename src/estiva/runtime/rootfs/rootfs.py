"""The root filesystem: an overlay of layers or a plain directory, mounted in the container's namespace."""

from __future__ import annotations

import errno
import os

from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux.libc import AT_FDCWD, AT_RECURSIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Rootfs:
    """A plan, mounted later by the child.

    Either `lowerdirs` (topmost first) with `upper` and `work`, or `path`, a directory used as it is.
    `readonly` makes the root read-only once all mount points are made. `options` go to the overlay as they
    are. `namespace`, if not -1, is the fd of a user namespace in whose ids the layers are to show (idmap.py).
    """

    __slots__ = ("lowerdirs", "upper", "work", "path", "readonly", "options", "namespace", "owner")

    def __init__(
        self,
        lowerdirs: Sequence[str] = (),
        upper: str | None = None,
        work: str | None = None,
        path: str | None = None,
        readonly: bool = False,
        options: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.lowerdirs = list(lowerdirs)
        self.upper = upper
        self.work = work
        self.path = path
        self.readonly = readonly
        self.options = options
        self.namespace = -1
        self.owner = (0, 0)  # the host's ids of its root

    def mount(self) -> int:
        """A detached mount of it; not yet read-only unless it has nowhere to write. Raises OSError."""
        if self.path is not None:
            return mnt.clone_tree(self.path, recursive=True)
        if self.namespace >= 0:
            from estiva.runtime.rootfs import idmap

            layers = (self.lowerdirs, self.upper, self.work, self.options)
            return idmap.overlay(*layers, namespace=self.namespace, owner=self.owner)
        return mnt.overlay(self.lowerdirs, self.upper, self.work, options=self.options)


PROPAGATION = {
    "private": mnt.MS_PRIVATE,
    "rprivate": mnt.MS_REC | mnt.MS_PRIVATE,
    "slave": mnt.MS_SLAVE,
    "rslave": mnt.MS_REC | mnt.MS_SLAVE,
    "shared": mnt.MS_SHARED,
    "rshared": mnt.MS_REC | mnt.MS_SHARED,
    "unbindable": mnt.MS_UNBINDABLE,
    "runbindable": mnt.MS_REC | mnt.MS_UNBINDABLE,
}


def isolate(propagation: str, receiving: bool = False) -> int:
    """Cut the new mount namespace's tree off the host's: nothing mounted here may show there. Returns its fd,
    for `pivot`.

    With a slave or shared rootfsPropagation, or a bind mount that is a slave (`receiving`), the tree becomes
    a slave, so that mounts from the host are still received; else it is private. pivot_root(2) refuses a
    shared parent, which both rule out.

    We may be in a chroot(2), where "/" is not the whole tree: setns(2) to where we are leads to its top.
    """
    kind = (
        mnt.MS_PRIVATE
        if propagation in ("", "private", "rprivate", "unbindable", "runbindable") and not receiving
        else mnt.MS_SLAVE
    )
    here = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    cwd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    ns.setns(here, ns.CLONE_NEWNS)
    mnt.mount(None, "/", None, mnt.MS_REC | kind)
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(cwd)
    os.close(root)
    os.close(cwd)
    return here


def attach(rootfs: Rootfs, mounted: int, propagation: str, at: str = "/") -> None:
    """Attach the detached root `mounted`; its fd is the container's root from here on.

    It goes on top of "/", which is reachable for everyone, also in a user namespace, and hides nothing: names
    are still looked up from the old root until pivot_root. `at` is another place, where hooks look for it;
    one that root of the user namespace can't reach, its hooks can't either.
    """
    try:
        mnt.move_mount(mounted, "", AT_FDCWD, at)
    except PermissionError:
        if at == "/":
            raise
        mnt.move_mount(mounted, "", AT_FDCWD, "/")
    if propagation in ("", "private", "rprivate") and rootfs.path is not None:
        mnt.mount_setattr(mounted, "", propagation=mnt.MS_PRIVATE, flags=AT_RECURSIVE)


def pivot(root: int, here: int, propagation: str, readonly: bool, chroot: bool = False) -> None:
    """Make `root` the root and drop the old one: pivot_root(".", ".") stacks the old root on the new, and the
    lazy unmount takes all of the host's mounts away at once. Afterwards cwd is the new root. `here` is
    isolate's fd, which is closed. `chroot` is for a root on the initial ramfs, which can't be pivoted: the
    host's mounts stay underneath, which is weaker.
    """
    os.fchdir(root)
    if chroot:
        from estiva.runtime.rootfs import nopivot  # loaded by the parent

        nopivot.hide_kernel_filesystems(root)
        os.chroot(".")
    else:
        _drop_old_root(root, here)
    os.close(here)
    os.chdir("/")
    flags = PROPAGATION.get(propagation, 0)
    if flags & (mnt.MS_SHARED | mnt.MS_SLAVE | mnt.MS_UNBINDABLE):
        mnt.mount(None, "/", None, flags)
    if readonly:
        mnt.mount_setattr(AT_FDCWD, "/", mnt.MOUNT_ATTR_RDONLY)


def _drop_old_root(root: int, here: int) -> None:
    """From a chroot pivot_root only swaps a part of the tree, and leaves what is above it within reach of
    whoever may chroot(2): `..` leads there. So it is done once more from the top of the namespace, where it
    fails once the top is `root`: with EBUSY, or in a user namespace, whose root is locked, with EINVAL. A
    chroot at no mount point fails the first time, with EINVAL.
    """
    first: OSError | None = None
    try:
        mnt.pivot_root(".", ".")
        mnt.umount2(".", mnt.MNT_DETACH)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        first = error
    ns.setns(here, ns.CLONE_NEWNS)
    os.fchdir(root)
    try:
        mnt.pivot_root(".", ".")
    except OSError as error:
        if first is not None:
            raise first from None
        if error.errno not in (errno.EBUSY, errno.EINVAL):
            raise
        if not os.path.samestat(os.fstat(root), os.stat("/")):
            raise OSError(error.errno, "the host's root is above that of this chroot", "/") from None
    else:
        mnt.umount2(".", mnt.MNT_DETACH)


def leave_for(namespace: int, root: int, propagation: str, readonly: bool) -> None:
    """For a container in the host's mount namespace, or in one that exists already: go there (its fd is
    closed), with a detached copy of the tree at `root` as our root.

    Nothing is attached in that namespace, so that it is left as it was and the tree goes with its last user;
    and others in it keep their root, which pivot_root would take from them.
    """
    flags = PROPAGATION.get(propagation, 0)
    if flags:
        recursive = AT_RECURSIVE if flags & mnt.MS_REC else 0
        mnt.mount_setattr(root, "", propagation=flags & ~mnt.MS_REC, flags=recursive)
    if readonly:
        mnt.mount_setattr(root, "", mnt.MOUNT_ATTR_RDONLY)
    tree = mnt.clone_tree("", recursive=True, dirfd=root)
    ns.setns(namespace, ns.CLONE_NEWNS, "mount namespace")
    os.close(namespace)
    os.fchdir(tree)
    os.chroot(".")
    os.close(tree)
