"""Mounts that the runtime opens for the child, which can't: their fds go along to it."""

from __future__ import annotations

import os

from estiva.errors import InvalidInput
from estiva.linux import mount as mnt
from estiva.linux import process as proc
from estiva.linux.libc import AT_RECURSIVE
from estiva.runtime import sync
from estiva.runtime.rootfs.idmap import map_ids, user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.launch.plan import Plan
    from estiva.runtime.rootfs.mount_plan import Mount


def open_sources(plan: Plan, held: list[int]) -> None:
    """The root filesystem and bind sources, where the child can't open them by their names.

    Root of a user namespace may not reach them, and in a joined mount namespace there may be other things.
    And a bind mount that is to show on the host what is mounted in it must be of its source's peer group,
    which the child is cut off from. That one only if there is such a group: the kernel lists mounts by age,
    and the config's order is to be seen. An ordinary user can open nothing here, and his child can: it has
    his rights, as root of the user namespace.
    """
    least = 3 + plan.process.preserve_fds
    everything = not plan.own_mounts or (plan.other_user and proc.may(proc.CAP_SYS_ADMIN))
    if everything:
        plan.root_fd = sync.at_least(plan.rootfs.mount(), least)
        held.append(plan.root_fd)
    for mount in plan.mounts if everything else plan.sharing:
        wanted = mount.fd < 0 and mount.bind and not mount.flags & mnt.MS_REMOUNT
        if wanted and (everything or _has_peers(mount)):
            mount.fd = sync.at_least(mount.open(), least)
            held.append(mount.fd)


def _has_peers(mount: Mount) -> bool:
    """Whether its source is in a peer group."""
    from estiva.runtime.rootfs import peer_groups

    return peer_groups.shared(mount.source)


def open_mapped(plan: Plan, held: list[int]) -> None:
    """Open the bind mounts that are to be id-mapped, map them, and put their fds in `mount.fd` and `held`.

    One without a mapping of its own takes that of the container's user namespace. Raises InvalidInput when
    there is none, Unsupported when the filesystem or the kernel can't, OSError.
    """
    made: dict[tuple[str, str], int] = {}
    if plan.rootfs.namespace >= 0:
        made[plan.uid_map, plan.gid_map] = os.dup(plan.rootfs.namespace)
    try:
        for mount in plan.id_mapped:
            maps = (mount.uid_map, mount.gid_map) if mount.uid_map else (plan.uid_map, plan.gid_map)
            if maps in made:
                pass
            elif not maps[0] and "user" in plan.joined:
                from estiva.runtime.launch.open_namespace import open_namespace

                made[maps] = open_namespace("user", plan.joined["user"])
            elif not maps[0] or not maps[1]:
                raise InvalidInput(
                    f"the mount at {mount.destination} is to be id-mapped, and there is no mapping for it",
                    hint="give it uidMappings and gidMappings, or the container a user namespace",
                )
            else:
                made[maps] = user_namespace(*maps)
            if mount.fd < 0:
                mount.fd = sync.at_least(mount.open(), 3 + plan.process.preserve_fds)
                held.append(mount.fd)
            map_ids(mount.fd, made[maps], mount.source, AT_RECURSIVE if mount.idmap == "ridmap" else 0)
    finally:
        for fd in made.values():
            os.close(fd)
