"""From root to what the container's process may be: limits, ids, capabilities, seccomp, in that order."""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import InvalidInput, LimitRefused
from estiva.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.process.user import Identity
    from estiva.runtime.security.seccomp_notify import Notifier

_SYS_ADMIN_BIT = 1 << 21


class Capabilities:
    """The five sets of an OCI process.capabilities as masks.

    What is unknown or what the machine doesn't have is left out, as the specification wants it (config.md,
    "Linux Process"); validate.py has the warnings.
    """

    __slots__ = ("bounding", "effective", "permitted", "inheritable", "ambient", "dropped")

    def __init__(self, sets: dict[str, list[str]] | None, numbers: dict[str, int]) -> None:
        masks: dict[str, int] = {}
        for name in self.__slots__[:5]:
            mask = 0
            for capability in (sets or {}).get(name) or ():
                bit = numbers.get(capability)
                if bit is not None:
                    mask |= 1 << bit
            masks[name] = mask
        self.bounding = masks["bounding"]
        # Not only what the caller's bounding set has: in a user namespace that of the child is full.
        known = range(process.known_capabilities())
        self.dropped = [capability for capability in known if not self.bounding >> capability & 1]
        self.permitted = masks["permitted"]
        self.effective = masks["effective"] & self.permitted
        self.inheritable = masks["inheritable"]
        self.ambient = masks["ambient"] & self.inheritable & self.permitted

    def lapse(self) -> None:
        """What is left after an execve(2) by a user other than root (capabilities(7))."""
        self.permitted = self.effective = self.ambient


def set_rlimits(rlimits: list[dict[str, Any]]) -> None:
    """setrlimit(2) for an OCI process.rlimits. Raises InvalidInput, LimitRefused."""
    for limit in rlimits:
        name = str(limit.get("type")).removeprefix("RLIMIT_")
        if name not in process.RLIMITS:
            raise InvalidInput(f"{limit.get('type')} is not a resource limit")
        soft, hard = (_rlimit(limit.get(which, 0)) for which in ("soft", "hard"))
        try:
            process.setrlimit(name, soft, hard)
        except OSError as error:
            wanted = f"{name.lower()}={_words(soft)}:{_words(hard)}"
            raise LimitRefused(
                f"the kernel refuses the limit {wanted}: {error.strerror}",
                hint="a hard limit above the current one needs CAP_SYS_RESOURCE",
            ) from None


def _rlimit(value: int) -> int:
    """Docker's -1 is the kernel's RLIM_INFINITY."""
    return process.RLIM_INFINITY if value < 0 else min(value, process.RLIM_INFINITY)


def _words(value: int) -> str:
    return "unlimited" if value == process.RLIM_INFINITY else str(value)


def set_groups(groups: list[int]) -> None:
    """setgroups(2). In a user namespace that has given it up (user_namespaces(7), /proc/PID/setgroups), as
    one that an ordinary user has made, there are none to set, and those of the user stay. Raises OSError."""
    try:
        os.setgroups(groups)
    except PermissionError:
        if groups:
            words = "supplementary groups can't be set in this user namespace"
            raise PermissionError(errno.EPERM, words, " ".join(map(str, groups))) from None
        if not process.may(process.CAP_SETGID):  # that, with the capability, is the only reason
            raise


def own_stdio(uid: int, terminal: bool) -> None:
    """Give the container's user its pipes or its terminal, so that it can open /dev/stdout again.

    Anything else on fds 0-2, a file or the caller's own terminal, stays with its owner.
    """
    if uid == 0:
        return
    for fd in (0, 1, 2):
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or (terminal and stat.S_ISCHR(mode)):
            try:
                os.fchown(fd, uid, -1)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS):
                    raise


def drop(identity: Identity, wanted: Capabilities, *, keep_admin: bool) -> None:
    """Take the ids and drop the capabilities of everything but what `finish` still needs. Raises OSError.

    The order is forced: the bounding set needs CAP_SETPCAP and the groups CAP_SETGID, so both come before the
    uid; KEEPCAPS carries the permitted set over the uid's change, and capset then cuts it down.
    `keep_admin` holds CAP_SYS_ADMIN back for installing a seccomp filter without no_new_privs.
    """
    _, permitted, _ = process.capget()
    process.bounding_drop(wanted.dropped)
    if identity.uid != 0:
        process.set_keepcaps(True)
    try:
        set_groups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        ids = ", ".join([f"{identity.uid}:{identity.gid}", *map(str, identity.groups[:8])])
        raise InvalidInput(
            f"not all of the ids {ids} are in the container's user namespace", hint="give it a larger mapping"
        ) from None
    if identity.uid != 0:
        process.set_keepcaps(False)
    held = wanted.permitted & permitted
    if not keep_admin:
        process.capset(wanted.effective & held, held, wanted.inheritable & permitted)
    else:
        admin = _SYS_ADMIN_BIT & permitted
        process.capset(wanted.effective & held | admin, held | admin, wanted.inheritable & permitted)
    _ambient(wanted, held)


def finish(
    wanted: Capabilities,
    bpf: bytes | None,
    *,
    keep_admin: bool,
    flags: int = 0,
    notifier: Notifier | None = None,
) -> None:
    """The last step before execve: the filter, then what was held back for it goes."""
    if bpf:
        if notifier is not None:
            notifier.announce()
            notifier.hand_over(process.install(bpf, flags | process.SECCOMP_FILTER_FLAG_NEW_LISTENER))
        else:
            process.install(bpf, flags)
    if keep_admin:
        _, permitted, _ = process.capget()
        held = wanted.permitted & permitted
        process.capset(wanted.effective & held, held, wanted.inheritable & permitted)


def _ambient(wanted: Capabilities, held: int) -> None:
    """Clear the ambient set (K6), then raise what was asked for."""
    process.ambient_clear()
    mask = wanted.ambient & held
    capability = 0
    while mask:
        if mask & 1:
            process.ambient_raise(capability)
        mask >>= 1
        capability += 1
