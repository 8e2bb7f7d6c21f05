"""The calling process: prctl(2), capabilities(7), close_range(2), seccomp(2), setrlimit(2), keyrings."""

from __future__ import annotations

import os
from _struct import pack, unpack
from errno import EINVAL, ENOSYS, EPERM

from estiva.linux import ffi as ctypes
from estiva.linux.libc import (
    AT_EMPTY_PATH,
    SYS_close_range,
    SYS_execveat,
    SYS_keyctl,
    SYS_pidfd_getfd,
    SYS_seccomp,
    check,
    libc,
    syscall,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

AT_EXECVE_CHECK = 0x10000
CLOSE_RANGE_CLOEXEC = 4
PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info), of 64 bytes
PIDFD_INFO_EXIT = 8
KEYCTL_JOIN_SESSION_KEYRING = 1
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_FILTER_FLAG_TSYNC = 1
SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 16
MAX_FD = 0xFFFFFFFF

CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21  # capabilities(7)
_CAPABILITY_VERSION_3 = 0x20080522
_known = 0

_prctl = libc.prctl
_prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_prctl_name = libc["prctl"]
_prctl_name.argtypes = (ctypes.c_int, ctypes.c_char_p)
_capset = libc.capset
_capset.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_capget = libc.capget
_capget.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
_personality = libc.personality
_personality.argtypes = (ctypes.c_ulong,)
_malloc_trim = getattr(libc, "malloc_trim", None)
_setrlimit = libc.setrlimit
_setrlimit.argtypes = (ctypes.c_int, ctypes.c_char_p)
_getrlimit = libc.getrlimit
_getrlimit.argtypes = (ctypes.c_int, ctypes.c_void_p)
_memset = libc.memset
_memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
_memcpy = libc.memcpy
_memcpy.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
_setdomainname = libc.setdomainname
_setdomainname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
_close_range = syscall(ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
_pidfd_getfd = syscall(ctypes.c_int, ctypes.c_int, ctypes.c_uint)
_seccomp = syscall(ctypes.c_uint, ctypes.c_uint, ctypes.c_char_p)
_execveat = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
_keyctl = syscall(ctypes.c_int, ctypes.c_char_p)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """prctl(2) with up to two numbers; returns its result."""
    return check(_prctl(option, arg2, arg3, 0, 0))


def set_name(name: str) -> None:
    """PR_SET_NAME: what ps shows; cut to 15 bytes."""
    check(_prctl_name(PR_SET_NAME, name.encode()[:15]))


def set_title(title: str, *, wipe: bool = True) -> None:
    """Show `title` as this process's command line, and `wipe` the environment that it was started with.

    Both are memory of ours that /proc/PID/cmdline and environ show to others (proc(5)): their places are
    fields 48 to 51 of /proc/self/stat. os.environ is a copy and stays, but execv(3) passes on what was wiped.
    Does nothing where there is no /proc.
    """
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return
    start, end, environment, environment_end = map(int, fields[45:49])
    if wipe and 0 < environment <= environment_end:
        _memset(environment, 0, environment_end - environment)
    if 0 < start < end:
        _memset(start, 0, end - start)
        text = os.fsencode(title)[: end - start - 1]
        _memcpy(start, text, len(text))


def set_dumpable(on: bool) -> None:
    """PR_SET_DUMPABLE: without it nobody can trace the process or open its /proc/PID/exe and fds (K4)."""
    prctl(PR_SET_DUMPABLE, 1 if on else 0)


def dumpable() -> int:
    """PR_GET_DUMPABLE: 0, 1, or 2."""
    return prctl(PR_GET_DUMPABLE)


def set_child_subreaper(on: bool = True) -> None:
    """PR_SET_CHILD_SUBREAPER: orphaned descendants become children of the caller."""
    prctl(PR_SET_CHILD_SUBREAPER, 1 if on else 0)


def set_parent_death_signal(number: int) -> None:
    """PR_SET_PDEATHSIG."""
    prctl(PR_SET_PDEATHSIG, number)


def set_keepcaps(on: bool) -> None:
    """PR_SET_KEEPCAPS: permitted capabilities survive a change to a non-zero uid; execve clears the flag."""
    prctl(PR_SET_KEEPCAPS, 1 if on else 0)


def no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS: execve grants nothing any more. It can't be taken back."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def bounding_read(capability: int) -> int:
    """PR_CAPBSET_READ: 1 or 0, or -1 for a number that the kernel doesn't know."""
    return int(_prctl(PR_CAPBSET_READ, capability, 0, 0, 0))


def known_capabilities() -> int:
    """How many capabilities the kernel has: their numbers are below this. Asked of it once."""
    global _known
    if not _known:
        low, high = 0, 64  # the last is in between: no set of the kernel's has more bits
        while low < high:
            middle = (low + high) // 2
            if bounding_read(middle) < 0:
                high = middle
            else:
                low = middle + 1
        _known = low
    return _known


def bounding_drop(capabilities: Iterable[int]) -> None:
    """PR_CAPBSET_DROP of each; needs CAP_SETPCAP."""
    for capability in capabilities:
        check(_prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))


def ambient_clear() -> None:
    """PR_CAP_AMBIENT_CLEAR_ALL."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def ambient_raise(capability: int) -> None:
    """PR_CAP_AMBIENT_RAISE; the capability must be permitted and inheritable."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of the caller; each set is a mask, bit N for capability N."""
    low = 0xFFFFFFFF
    data = pack(
        "@6I",
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> 32,
        permitted >> 32,
        inheritable >> 32,
    )
    check(_capset(pack("@Ii", _CAPABILITY_VERSION_3, 0), data), "capabilities")


def capget(pid: int = 0) -> tuple[int, int, int]:
    """capget(2): (effective, permitted, inheritable) as masks."""
    data = ctypes.create_string_buffer(24)
    check(_capget(pack("@Ii", _CAPABILITY_VERSION_3, pid), data), "capabilities")
    e, p, i, eh, ph, ih = unpack("@6I", data.raw)
    return e | eh << 32, p | ph << 32, i | ih << 32


def may(capability: int) -> bool:
    """Whether we have a capability, in our own user namespace."""
    return bool(capget()[0] >> capability & 1)


def close_range(first: int, last: int = MAX_FD, flags: int = 0) -> None:
    """close_range(2): close fds first..last, or with CLOSE_RANGE_CLOEXEC mark them."""
    check(_close_range(SYS_close_range, first, last, flags), f"fds {first}-{last}")


def close_all_but(keep: list[int], first: int = 3) -> None:
    """Close every fd from `first` on that isn't in `keep`."""
    for fd in sorted(keep):
        if fd >= first:
            if fd > first:
                close_range(first, fd - 1)
            first = fd + 1
    close_range(first)


def keep_only(keep: set[int]) -> None:
    """Close every fd but `keep`, of which 0 to 2 are /dev/null if they are not among them."""
    close_all_but(list(keep))
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        if fd not in keep:
            null = os.open("/dev/null", flags)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)


def pidfd_exit_status(pidfd: int) -> int:
    """The wait status of a process that somebody has reaped: PIDFD_GET_INFO of <linux/pidfd.h>, Linux 6.15.

    Raises OSError when the kernel can't tell, or when the process has not been reaped.
    """
    import fcntl

    info = fcntl.ioctl(pidfd, PIDFD_GET_INFO, pack("Q56x", PIDFD_INFO_EXIT))
    mask, status = unpack("Q52xi", info)
    if not mask & PIDFD_INFO_EXIT:
        raise ChildProcessError(10, "the exit status is not known")
    return int(status)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): a copy of another process's fd; close-on-exec."""
    return check(_pidfd_getfd(SYS_pidfd_getfd, pidfd, fd, 0), f"fd {fd} of another process")


def execve_check(fd: int) -> None:
    """execveat(2) AT_EXECVE_CHECK (Linux 6.14): whether a file may be executed, now and by us. Raises OSError
    where not, and nothing on an older kernel."""
    name = ctypes.create_string_buffer(b"x", 2)
    argv = pack("@2Q", ctypes.addressof(name), 0)
    try:
        check(_execveat(SYS_execveat, fd, b"", argv, None, AT_EMPTY_PATH | AT_EXECVE_CHECK), f"fd {fd}")
    except OSError as error:
        if error.errno != EINVAL:
            raise


def install(bpf: bytes, flags: int = 0) -> int:
    """seccomp(2) SECCOMP_SET_MODE_FILTER with a raw BPF program (struct sock_filter, 8 bytes each).

    Needs no_new_privs or CAP_SYS_ADMIN. The kernel copies the program. With
    SECCOMP_FILTER_FLAG_NEW_LISTENER the result is the listener's fd.
    """
    if flags & SECCOMP_FILTER_FLAG_NEW_LISTENER and flags & SECCOMP_FILTER_FLAG_TSYNC:
        flags |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH  # else the two mean different things by the result
    program = ctypes.create_string_buffer(bpf, len(bpf))
    fprog = pack("@HQ", len(bpf) // 8, ctypes.addressof(program))
    return check(_seccomp(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, fprog), "seccomp filter")


def filter_allows(bpf: bytes, number: int) -> bool:
    """Whether a filter, as `install` takes it, lets this machine's 64-bit system call `number` go ahead.

    It is run as the kernel would (seccomp(2), struct seccomp_data), with arguments of 0. False for one that
    uses more than compilers of filters do.
    """
    machine = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}.get(os.uname().machine, 0)
    data = pack("@iIQ6Q", number, machine, 0, *[0] * 6)
    accumulator = at = 0
    while at < len(bpf):
        code, true, false, operand = unpack("@HBBI", bpf[at : at + 8])
        at += 8
        kind = code & 7
        if code == 0x20 and operand <= len(data) - 4:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = unpack("@I", data[operand : operand + 4])
        elif code == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= operand
        elif code == 0x05:  # BPF_JMP | BPF_JA
            at += 8 * operand
        elif kind == 5 and code & 0xF8 in (0x10, 0x20, 0x30, 0x40):  # BPF_JMP | JEQ, JGT, JGE, JSET | BPF_K
            met = (
                accumulator == operand,
                accumulator > operand,
                accumulator >= operand,
                bool(accumulator & operand),
            )[((code & 0xF8) >> 4) - 1]
            at += 8 * (true if met else false)
        elif code == 0x06:  # BPF_RET | BPF_K: SECCOMP_RET_ALLOW, or SECCOMP_RET_LOG, which allows too
            return operand & 0xFFFF0000 in (0x7FFF0000, 0x7FFC0000)
        else:
            return False
    return False


def join_session_keyring(name: str) -> None:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: leave the caller's session keyring(7) for the one of that name.

    A kernel without keyrings, or a filter that forbids the call, has nothing to leave: that is fine.
    """
    try:
        check(_keyctl(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.encode()), name)
    except OSError as error:
        if error.errno not in (ENOSYS, EPERM):
            raise


# setrlimit(2), asm-generic/resource.h: the numbers of every 64-bit machine but Alpha, MIPS and SPARC
RLIMITS = {
    "CPU": 0, "FSIZE": 1, "DATA": 2, "STACK": 3, "CORE": 4, "RSS": 5, "NPROC": 6, "NOFILE": 7, "MEMLOCK": 8,
    "AS": 9, "LOCKS": 10, "SIGPENDING": 11, "MSGQUEUE": 12, "NICE": 13, "RTPRIO": 14, "RTTIME": 15,
}  # fmt: skip
RLIM_INFINITY = (1 << 64) - 1


def setrlimit(name: str, soft: int, hard: int) -> None:
    """setrlimit(2) of a key of RLIMITS. The module `resource` would be a third of a millisecond to load."""
    check(_setrlimit(RLIMITS[name], pack("=QQ", soft, hard)))


def getrlimits() -> bytes:
    """getrlimit(2) of all of RLIMITS, to compare."""
    found = ctypes.create_string_buffer(16 * len(RLIMITS))
    at = ctypes.addressof(found)
    for number in RLIMITS.values():
        check(_getrlimit(number, at + 16 * number))
    return found.raw


def personality(persona: int) -> int:
    """personality(2): sets the execution domain and returns the former; 0xffffffff only asks."""
    return check(_personality(persona), "personality")


def trim_memory() -> None:
    """malloc_trim(3): give free heap pages back; nothing where the C library has no such call."""
    if _malloc_trim is not None:
        _malloc_trim(0)


def setdomainname(name: str) -> None:
    """setdomainname(2): the NIS domain of the uts namespace."""
    raw = name.encode()
    check(_setdomainname(raw, len(raw)), name)
