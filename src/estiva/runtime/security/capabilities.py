"""process.capabilities: their names and numbers (capabilities(7)), docker's defaults and its options."""

from __future__ import annotations

from estiva.errors import InvalidInput, Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


# capabilities(7): name -> number.
ALL_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_LINUX_IMMUTABLE": 9,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_BROADCAST": 11,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_IPC_LOCK": 14,
    "CAP_IPC_OWNER": 15,
    "CAP_SYS_MODULE": 16,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_PACCT": 20,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_BOOT": 22,
    "CAP_SYS_NICE": 23,
    "CAP_SYS_RESOURCE": 24,
    "CAP_SYS_TIME": 25,
    "CAP_SYS_TTY_CONFIG": 26,
    "CAP_MKNOD": 27,
    "CAP_LEASE": 28,
    "CAP_AUDIT_WRITE": 29,
    "CAP_AUDIT_CONTROL": 30,
    "CAP_SETFCAP": 31,
    "CAP_MAC_OVERRIDE": 32,
    "CAP_MAC_ADMIN": 33,
    "CAP_SYSLOG": 34,
    "CAP_WAKE_ALARM": 35,
    "CAP_BLOCK_SUSPEND": 36,
    "CAP_AUDIT_READ": 37,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
    "CAP_CHECKPOINT_RESTORE": 40,
}


DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
)


def normal(name: str) -> str:
    """A capability's name as the kernel headers spell it, from "net_admin" or "CAP_NET_ADMIN". Raises
    InvalidInput."""
    full = name.upper()
    if not full.startswith("CAP_"):
        full = "CAP_" + full
    if full not in ALL_CAPABILITIES:
        raise InvalidInput(
            f"{oneline(name)} is not a capability", hint="see capabilities(7); ALL stands for all of them"
        )
    return full


_bounding_set: int | None = None


def bounding_has(capability: int) -> bool:
    """Whether this process's bounding set has a capability: CapBnd of proc_pid_status(5).

    prctl(2) would say the same, but the caller of `estiva run` does without ctypes (3 ms).
    """
    global _bounding_set
    if _bounding_set is None:
        with open("/proc/self/status", "rb") as file:
            _bounding_set = int(file.read().partition(b"CapBnd:")[2].split(None, 1)[0], 16)
    return bool(_bounding_set >> capability & 1)


def bounded(names: Iterable[str]) -> list[str]:
    """Those of `names` that this process's bounding set has, so that it can give them on; in kernel order."""
    return sorted(
        {name for name in names if bounding_has(ALL_CAPABILITIES[name])}, key=ALL_CAPABILITIES.__getitem__
    )


def withheld(names: Iterable[str]) -> list[str]:
    """Those of `names` that can't be given because the bounding set lacks them: for a warning."""
    return [name for name in names if not bounding_has(ALL_CAPABILITIES[name])]


def capabilities(add: Iterable[str] = (), drop: Iterable[str] = (), privileged: bool = False) -> list[str]:
    """The capabilities of a container, by docker's rules for --cap-add, --cap-drop and --privileged.

    Privileged: all. `add` with ALL: all but those dropped. `drop` with ALL: those added. Else the default
    ones without the dropped, with the added (adding wins). What the bounding set lacks is left out of the
    defaults and of ALL. Raises InvalidInput for an unknown name, Unsupported for one that was named and
    can't be given.
    """
    if privileged:
        return bounded(ALL_CAPABILITIES)
    if not add and not drop:
        return bounded(DEFAULT_CAPABILITIES)
    added = {"ALL" if name.upper() in ("ALL", "CAP_ALL") else normal(name) for name in add}
    dropped = {"ALL" if name.upper() in ("ALL", "CAP_ALL") else normal(name) for name in drop}
    named = added - {"ALL"}
    if missing := withheld(sorted(named)):
        raise Unsupported(
            f"{missing[0]} can't be given to a container: this process does not have it in its bounding set"
        )
    if "ALL" in added:
        return bounded(set(ALL_CAPABILITIES) - dropped)
    if "ALL" in dropped:
        return bounded(named)
    return bounded(set(DEFAULT_CAPABILITIES) - dropped | named)
