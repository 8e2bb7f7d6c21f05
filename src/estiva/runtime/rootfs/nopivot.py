"""--no-pivot: what must not stay below a root that was only changed by chroot(2).

The kernel lets a user namespace mount procfs and sysfs if the mount namespace shows one whole already, so
that nothing is seen that was masked before. After a chroot the host's are still in the namespace, unmasked
and out of reach of names, and vouch for new ones in the container. So they go, or are covered where they are
locked.
"""

from __future__ import annotations

import errno
import os

from estiva.linux import mount as mnt
from estiva.linux import procinfo

_KINDS = ("proc", "sysfs")


def hide_kernel_filesystems(root: int) -> None:
    """Unmount every procfs and sysfs that is not in the container's tree `root`. Raises OSError.

    Names are the host's here: the container's root may be mounted over `/`, but is not yet ours.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split(" ") for line in file]
    inside: set[str] = set()
    new = {str(procinfo.mount_id(root))}
    while new:
        inside |= new
        new = {fields[0] for fields in lines if fields[1] in new and fields[0] not in inside}
    for fields in reversed(lines):
        if fields[0] not in inside and fields[fields.index("-") + 1] in _KINDS:
            _hide(procinfo.unescape(fields[4]))


def _hide(place: str) -> None:
    try:
        mnt.umount2(place, mnt.MNT_DETACH)
    except OSError as error:
        if error.errno == errno.ENOENT:  # below one that is gone already
            return
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        if os.path.exists(place):  # locked: it came from a user namespace above
            mnt.mount("tmpfs", place, "tmpfs", mnt.MS_NOSUID | mnt.MS_NODEV | mnt.MS_NOEXEC, "size=0")
