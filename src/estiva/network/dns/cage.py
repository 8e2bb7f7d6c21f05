"""What the resolver's process may ask of the kernel once it runs: a seccomp filter by hand, as short as its
loop.

All else fails with EPERM: no file is opened, no program executed, nothing traced, mounted or entered. The
numbers are those of <asm/unistd.h>; on other machines there is no filter.
"""

from __future__ import annotations

import os
from _struct import pack

from estiva.linux import process

# name: (x86_64, aarch64)
CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "ioctl": (16, 29),
    "pread64": (17, 67), "mremap": (25, 216), "madvise": (28, 233), "getpid": (39, 172),
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "sendto": (44, 206),
    "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212), "shutdown": (48, 210),
    "getsockname": (51, 204), "setsockopt": (54, 208), "getsockopt": (55, 209), "exit": (60, 93),
    "fcntl": (72, 25), "getuid": (102, 174), "geteuid": (107, 175), "gettid": (186, 178),
    "futex": (202, 98), "restart_syscall": (219, 128), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94),
    "epoll_wait": (232, -1), "epoll_ctl": (233, 21), "epoll_pwait": (281, 22), "accept4": (288, 242),
    "getrandom": (318, 278), "epoll_pwait2": (441, 441),
}  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # place above, number of the audit system
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM
_LOAD, _EQUALS, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K


def program(machine: str) -> bytes:
    """The filter (struct sock_filter, 8 bytes each); empty for a machine that is not known here."""
    if machine not in MACHINES:
        return b""
    place, audit = MACHINES[machine]
    numbers = sorted({both[place] for both in CALLS.values() if both[place] >= 0})
    lines = [
        (_LOAD, 0, 0, 4),
        (_EQUALS, 0, len(numbers) + 1, audit),
        (_LOAD, 0, 0, 0),
    ]  # seccomp_data: arch, nr
    lines += [(_EQUALS, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    lines += [(_RETURN, 0, 0, REFUSE), (_RETURN, 0, 0, ALLOW)]
    return b"".join([pack("=HBBI", *line) for line in lines])


def close() -> None:
    """From here on. Needs no_new_privs."""
    filter = program(os.uname().machine)
    if filter:
        process.install(filter)
