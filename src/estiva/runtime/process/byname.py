"""Executing a command by its name where others may swap that name, so that it is called what was asked for.

The kernel calls a process (comm, proc_pid_comm(5)) by the last part of the name that it executes: `sleep`,
`entry.sh`. Executed by an fd it is called by the file: `busybox` for a link to that, the interpreter for a
script; before Linux 6.14 by the fd's number. But a name that is looked up by this process may by then lead to
/proc/self/exe, which is the host's interpreter: a loader of the container's would get hold of that file (K4,
CVE-2019-5736).

So it is looked up by a process that is the container's already. A file in memory, `program`, is executed by
an fd. It is no file of the host's, has nothing open, and does one thing: execve(2) of the name, with the
arguments and the environment that it was given itself. Should the name lead to /proc/self/exe now, that is
the file in memory, which does the same again. What it can reach is what any process of the container can.

What may fail is looked at before (`sound`), for nobody is left to tell of it afterwards: the exit status is
then 126.
"""

from __future__ import annotations

import errno
import os
import stat
from _struct import pack, unpack_from

from estiva.linux import mount as mnt
from estiva.linux import process
from estiva.linux.libc import AT_EMPTY_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MFD_EXEC = 0x10  # Linux 6.3; before, all files in memory are executable
_BASE = 0x400000  # where it is loaded
_HEADERS = 64 + 56
_ELF_64_LITTLE = b"\x7fELF\x02\x01\x01"
_PROGRAM_HEADER = 56

# The stack begins with argc, argv with its NULL, envp: the System V ABI's "Initial Process Stack". The name
# follows the code. Machine: (e_machine of elf(5), code).
_X86_64 = (
    "488b0424"  # mov rax, [rsp]                 argc
    "488d742408"  # lea rsi, [rsp + 8]           argv
    "488d54c410"  # lea rdx, [rsp + rax*8 + 16]  envp
    "488d3d13000000"  # lea rdi, [rip + 19]      the name
    "b83b000000"  # mov eax, 59                  execve
    "0f05"  # syscall
    "bf7e000000"  # mov edi, 126
    "b8e7000000"  # mov eax, 231                 exit_group
    "0f05"  # syscall
)
_AARCH64 = (
    "e90340f9"  # ldr x9, [sp]                   argc
    "e1230091"  # add x1, sp, #8                 argv
    "220c098b"  # add x2, x1, x9, lsl #3
    "42200091"  # add x2, x2, #8                 envp
    "c0000010"  # adr x0, .+24                   the name
    "a81b80d2"  # mov x8, #221                   execve
    "010000d4"  # svc #0
    "c00f80d2"  # mov x0, #126
    "c80b80d2"  # mov x8, #94                    exit_group
    "010000d4"  # svc #0
)
_CODE = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}


def program(name: bytes, on: str) -> bytes:
    """The ELF file that executes `name`, for a machine as uname(2) calls it. Raises KeyError for one whose
    code is not known here."""
    machine, code = _CODE[on]
    text = bytes.fromhex(code) + name + b"\0"
    size = _HEADERS + len(text)
    entry = (2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, _PROGRAM_HEADER, 1, 0, 0, 0)
    header = _ELF_64_LITTLE + bytes(9) + pack("<HHIQQQIHHHHHH", *entry)
    return header + pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096) + text


def open_program(name: str, fd: int) -> int:
    """An fd to execute in the place of `fd`, that of the program which a command's name means.

    -1 where that one is as good, since the process would be called the same, or better, since the name may
    not be executable or this machine's code is not known here.
    """
    try:
        if not _differs(name, fd) or not sound(fd) or os.statvfs(name).f_flag & os.ST_NOEXEC:
            return -1
        data = program(os.fsencode(name), os.uname().machine)
        written = _in_memory()
    except (OSError, KeyError):
        return -1
    try:
        if os.write(written, data) != len(data):
            return -1
        # What is open for writing can't be executed. The container's /proc is not to be trusted with it.
        return mnt.open_tree(written, "", AT_EMPTY_PATH)
    except OSError:
        return -1
    finally:
        os.close(written)


def execute(fd: int, arguments: Sequence[str], env: dict[bytes, bytes]) -> None:
    """execveat(2) of an fd of `open_program`. Returns where that can't be: some machines (IMA, fapolicyd)
    allow no program that they don't know, and what else is wrong is told by executing the command itself."""
    try:
        os.execve(fd, list(arguments), env)
    except (OSError, ValueError):
        return


def _in_memory() -> int:
    try:
        return os.memfd_create("command", os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create("command", os.MFD_CLOEXEC)


def _differs(name: str, fd: int) -> bool:
    """Whether a process of the fd would not be called by the name: it is a link or a script, or the kernel is
    older than 6.14. Raises OSError."""
    numbers = os.uname().release.split(".")
    if (int(numbers[0]), int("".join([c for c in numbers[1][:3] if c.isdigit()]) or 0)) < (6, 14):
        return True
    there = os.lstat(name)
    return stat.S_ISLNK(there.st_mode) or not os.path.samestat(there, os.fstat(fd))


def sound(fd: int) -> bool:
    """Whether the kernel will execute it, as far as can be told. Raises OSError where it says no."""
    if os.fstatvfs(fd).f_flag & os.ST_NOEXEC:
        return False
    try:
        header = os.pread(fd, 64, 0)
    except OSError:
        return False  # it may be executed and not read
    if len(header) < 64 or not header.startswith(_ELF_64_LITTLE[:6]):
        return False
    kind, machine = unpack_from("<HH", header, 16)
    (table,) = unpack_from("<Q", header, 32)
    size, count = unpack_from("<HH", header, 54)
    if kind not in (2, 3) or machine != _CODE[os.uname().machine][0] or size != _PROGRAM_HEADER or not count:
        return False
    if len(os.pread(fd, size * count, table)) != size * count:
        return False
    process.execve_check(fd)
    return True
