"""In the monitor: the namespaces that a container joins, opened by fd, and the user namespace of its files.

A pid is only a number: by the time that the monitor comes to it, its container may have ended and another
process have it. So what is opened below /proc/PID counts only if the process that `start_time` tells was
alive after it was opened: a pid is not given anew while its process is there.
"""

from __future__ import annotations

import os
import stat

from estiva.errors import Conflict
from estiva.linux import procinfo
from estiva.runtime import state
from estiva.runtime.launch import join, open_namespace
from estiva.runtime.rootfs import idmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Lender, Plan
    from estiva.runtime.rootfs.rootfs import Rootfs


class Joined:
    """plan["sharing"] carried out, for the moment of container.create. `close` when that is over.

    mounted: destination -> fd of a detached mount; root: the host's ids of the container's root. The paths of
    the namespaces in the plan's config become those of our fds. Raises Conflict, InvalidInput.
    """

    def __init__(self, plan: Plan, rootfs: Rootfs) -> None:
        self.mounted: dict[str, int] = {}
        self.root: tuple[int, int] | None = None
        self._fds: list[int] = []
        try:
            self._open(plan, rootfs)
        except BaseException:
            self.close()
            raise

    def _open(self, plan: Plan, rootfs: Rootfs) -> None:
        wanted = plan["sharing"]
        entries = {entry["type"]: entry for entry in plan["config"]["linux"]["namespaces"]}
        for index, lender in enumerate(wanted["lenders"]):
            pidfd = verified(lender)
            self._fds.append(pidfd)
            if lender["kind"] in entries:
                fd = os.open(entries[lender["kind"]]["path"], os.O_RDONLY | os.O_CLOEXEC)
                self._fds.append(fd)
                entries[lender["kind"]]["path"] = f"/proc/self/fd/{fd}"
            if index == wanted["shm"]:
                self.mounted["/dev/shm"] = join.share_tmpfs(pidfd, "/dev/shm")
                self._fds.append(self.mounted["/dev/shm"])
            os.close(self._fds.pop(self._fds.index(pidfd)))
            os.close(verified(lender))
        path = entries.get("user", {}).get("path")
        if "root" in wanted:
            self.root = (wanted["root"][0], wanted["root"][1])
        elif path:
            namespace = open_namespace.open_namespace("user", path)
            self._fds.append(namespace)
            self.root = idmap.root_of(namespace)
        if self.root is not None and wanted["mapped"]:
            if path:
                namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            else:
                namespace = idmap.user_namespace(*wanted["maps"])
            self._fds.append(namespace)
            rootfs.namespace, rootfs.owner = namespace, self.root

    def own(self, fds: tuple[int, ...]) -> None:
        """Give pipes to the container's root, so that it can open /dev/stdout and hand it on."""
        if self.root is not None:
            give(fds, self.root)

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def give(fds: tuple[int, ...], root: tuple[int, int]) -> None:
    """Make the pipes among `fds` the container's root's. Anything else, such as /dev/null, is the host's."""
    for fd in fds:
        if fd >= 0 and stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, *root)


def verified(lender: Lender) -> int:
    """A pidfd of the init that lends, known to be it. Raises Conflict when it is gone."""
    try:
        pidfd = procinfo.pidfd_open(lender["pid"])
    except ProcessLookupError:
        pidfd = -1
    if pidfd < 0 or not state.alive(lender["pid"], lender["start_time"]):
        if pidfd >= 0:
            os.close(pidfd)
        raise Conflict(
            f"container {lender['id'][:12]} has ended", hint=f"`estiva start {lender['id'][:12]}` starts it"
        )
    return pidfd
