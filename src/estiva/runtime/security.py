"""What a container is allowed: capabilities, devices, hidden parts of /proc and /sys, the system-call filter.

All of it is data for a bundle (OCI process.capabilities, linux.maskedPaths, linux.readonlyPaths,
linux.resources.devices) and the BPF program that `container.create` installs. The defaults are docker's.
"""

from __future__ import annotations

import os

from estiva.errors import InvalidInput, Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

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

# Parts of /proc and /sys that tell of, or reach, the whole machine. What isn't there is passed over.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
# What LXCFS and the like put in the place of the machine's: nothing else may be mounted inside /proc.
PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime")
)

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_CPUS = "/sys/devices/system/cpu"

# (path, major, minor): the nodes of every container's /dev, all of them character devices of mode 0666.
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
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


def masked_paths() -> list[str]:
    """MASKED_PATHS and the thermal counters of each cpu, by which one container could watch what others
    do."""
    paths = list(MASKED_PATHS)
    # Real x86 machines have them, most virtual ones don't: one look at the first cpu tells.
    if os.path.exists(f"{_CPUS}/cpu0/thermal_throttle"):
        for name in sorted(os.listdir(_CPUS)):
            if name.startswith("cpu") and name[3:].isdigit():
                paths.append(f"{_CPUS}/{name}/thermal_throttle")
    return paths


# --- devices ----------------------------------------------------------------------------------------------

_DEFAULT_DEVICE_RULES = (
    # Any node may be made, none but these be opened.
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, -1, "rwm"),  # pts/*
)


def device_rule(kind: str, major: int, minor: int, access: str, allow: bool = True) -> dict[str, Any]:
    """One entry of OCI linux.resources.devices; -1 is any number."""
    rule: dict[str, Any] = {"allow": allow, "type": kind, "access": access}
    if major >= 0:
        rule["major"] = major
    if minor >= 0:
        rule["minor"] = minor
    return rule


def parse_device_rule(text: str) -> dict[str, Any]:
    """--device-cgroup-rule: "c 1:3 mr", "b 8:* rwm", "a *:* rwm". Raises InvalidInput."""
    words = text.split(" ")
    if len(words) == 3 and words[0] in ("a", "b", "c") and words[2] and not set(words[2]) - set("rwm"):
        major, colon, minor = words[1].partition(":")
        numbers = [-1 if number == "*" else int(number) for number in (major, minor) if _is_number(number)]
        if colon and len(numbers) == 2:
            return device_rule(words[0], numbers[0], numbers[1], words[2])
    raise InvalidInput(f"{oneline(text)!r} is not a device rule", hint='such as "c 1:3 rwm" or "b 8:* r"')


def _is_number(text: str) -> bool:
    return text == "*" or (text.isascii() and text.isdigit() and int(text) < 1 << 32)


def device_rules(
    devices: Iterable[dict[str, Any]] = (), rules: Iterable[str] = (), privileged: bool = False
) -> list[dict[str, Any]]:
    """OCI linux.resources.devices of a container. `devices`: entries of OCI linux.devices that --device
    gave, each with an `access` of its own if not "rwm". `rules`: texts of --device-cgroup-rule. Raises
    InvalidInput."""
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    result: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    result += [device_rule(*rule) for rule in _DEFAULT_DEVICE_RULES]
    for device in devices:
        kind = "b" if device["type"] == "b" else "c"
        result.append(device_rule(kind, device["major"], device["minor"], device.get("access", "rwm")))
    result += [parse_device_rule(text) for text in rules]
    return result


# --- the system-call filter -------------------------------------------------------------------------------
#
# Compiling takes libseccomp some 30 ms, so a program is kept in CACHE/seccomp/ under a name that says what
# it was made from. A hit costs one open and one read.

# Of runtime/seccomp_profile.py and of the code that compiles it: raise it when one of them changes.
PROFILE_VERSION = 1

_MAX_BYTES = 4096 * 8


def _mask(names: Iterable[str]) -> int:
    mask = 0
    for name in names:
        mask |= 1 << ALL_CAPABILITIES[name]
    return mask


def _cached(path: str) -> bytes | None:
    """A whole program of the cache; None when there is none, or what is there can't be one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        data = os.read(fd, _MAX_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if 0 < len(data) <= _MAX_BYTES and len(data) % 8 == 0 else None


def _compiled(profile: dict[str, Any], names: Iterable[str], path: str) -> bytes:
    """Compile for this machine and keep the program. A cache that can't be written costs time, nothing
    else."""
    from estiva.files import atomic_write
    from estiva.linux import seccomp
    from estiva.runtime.seccomp_rules import resolve

    system = os.uname()
    program = seccomp.compile(resolve(profile, names, system.machine, system.release))
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Synced, although it can be made again: after a power cut a file of the right size could hold zeros.
        atomic_write(path, program)
    except OSError:
        pass
    return program


def default_filter(capabilities: Iterable[str], cache_dir: str) -> bytes:
    """The BPF program of the default profile for a container with `capabilities`. `cache_dir` is
    `Paths.cache`.

    Raises Unsupported when it isn't cached and libseccomp is missing.
    """
    names = tuple(capabilities)
    machine = os.uname().machine
    path = f"{cache_dir}/seccomp/default-{PROFILE_VERSION}-{machine}-{_mask(names):x}.bpf"
    program = _cached(path)
    if program is None:
        from estiva.runtime.seccomp_profile import profile

        program = _compiled(profile(), names, path)
    return program


def profile_filter(profile: dict[str, Any], capabilities: Iterable[str], cache_dir: str) -> bytes:
    """The same for a user's profile: Docker's JSON or an OCI linux.seccomp. Raises InvalidInput naming the
    field."""
    from _blake2 import blake2b  # a tenth of the cost of hashlib

    from estiva import fastjson

    names = tuple(capabilities)
    system = os.uname()
    try:
        canonical = fastjson.dumps(profile, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the seccomp profile is not json: {error}") from None
    made_from = f"{PROFILE_VERSION} {system.machine} {system.release} {_mask(names):x} {canonical}"
    digest = blake2b(made_from.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    path = f"{cache_dir}/seccomp/profile-{digest}.bpf"
    program = _cached(path)
    return _compiled(profile, names, path) if program is None else program
