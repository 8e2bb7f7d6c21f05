"""K18 on the real kernel: a process under the default filter asks for what it must not have."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from estiva.linux import process
from estiva.runtime.security.capabilities import DEFAULT_CAPABILITIES
from estiva.runtime.security.seccomp import default_filter, profile_filter

if platform.machine() not in ("x86_64", "aarch64"):
    pytest.skip("needs x86_64 or aarch64: the table has no others", allow_module_level=True)

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"
SOCKET = 41 if X86 else 198
PERSONALITY = 135 if X86 else 92
UNSHARE = 272 if X86 else 97
CLONE = 56 if X86 else 220
BPF = 321 if X86 else 280
KEYCTL = 250 if X86 else 219
IO_URING_SETUP, CLONE3, OPEN_TREE = 425, 435, 428
NEW_USER_NAMESPACE = 0x10000000


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def under(program: bytes, work: Callable[[], Any]) -> str:
    """What `work` gives in a forked child under the filter, as text."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(readable)
            process.no_new_privs()
            process.install(program)
            os.write(writable, repr(work()).encode())
        except BaseException as error:
            os.write(writable, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writable)
    with open(readable, "rb") as said:
        text = said.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
    return text


def ask(number: int, *args: int) -> str:
    """The errno's name that a raw system call gives, or "ok"."""
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_ulong(arg) for arg in args])
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]


@pytest.fixture
def usual(cache: str) -> bytes:
    return default_filter(DEFAULT_CAPABILITIES, cache)


@pytest.mark.parametrize(
    ("what", "number", "args", "expected"),
    [
        ("io_uring", IO_URING_SETUP, (8, 0), "ENOSYS"),
        ("clone3", CLONE3, (0, 0), "ENOSYS"),
        ("a call of the future", 9999, (), "ENOSYS"),
        ("AF_ALG", SOCKET, (38, 5, 0), "EAFNOSUPPORT"),
        ("AF_ALG behind 32 bits", SOCKET, (38 | 1 << 32, 5, 0), "EAFNOSUPPORT"),
        ("AF_VSOCK", SOCKET, (40, 1, 0), "EAFNOSUPPORT"),
        ("AF_VSOCK behind 32 bits", SOCKET, (40 | 1 << 63, 1, 0), "EAFNOSUPPORT"),
        ("a user namespace by unshare", UNSHARE, (NEW_USER_NAMESPACE,), "EPERM"),
        ("a user namespace by clone", CLONE, (NEW_USER_NAMESPACE | 17, 0, 0, 0, 0), "EPERM"),
        ("bpf", BPF, (0, 0, 0), "EPERM"),
        ("the key rings", KEYCTL, (0, 0, 0), "EPERM"),
        ("a detached mount", OPEN_TREE, (0, 0, 0), "EPERM"),
        ("a personality that weakens", PERSONALITY, (0x0040000,), "EPERM"),
        ("which personality", PERSONALITY, (0xFFFFFFFF,), "ok"),
    ],
)
def test_refused(usual: bytes, what: str, number: int, args: tuple[int, ...], expected: str) -> None:
    assert under(usual, lambda: ask(number, *args)) == repr(expected)


def test_the_refusals_come_from_the_filter(usual: bytes) -> None:
    """The same calls outside: at least these are answered differently, so the test above proves something."""
    outside = {number: ask(number, 0, 0, 0) for number in (CLONE3, BPF, OPEN_TREE)}
    assert outside[CLONE3] != "ENOSYS"
    assert outside[BPF] != "EPERM" or os.geteuid() != 0
    assert outside[OPEN_TREE] != "EPERM" or os.geteuid() != 0


@pytest.mark.skipif(not X86, reason="needs x86_64: int 0x80 reaches the 32-bit calls")
def test_the_32_bit_door_is_filtered_too(usual: bytes) -> None:
    """socketcall(SYS_SOCKET, {AF_ALG, SOCK_SEQPACKET, 0}) and others by int 0x80, in machine code of our
    own."""
    import mmap

    # push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; int 0x80; movsxd rax, eax; pop rbx; ret
    code = bytes.fromhex("53 89f8 89f3 89d1 cd80 4863c0 5b c3")
    low = 0x10000000  # below 4 GiB, as a 32-bit call sees 32 bits of a pointer
    anonymous, fixed = 0x20 | 0x02, 0x100000
    LIBC.mmap.restype = ctypes.c_void_p
    LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]

    def ask32(number: int, one: int, two: int) -> int:
        return int(
            ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int)(low)(number, one, two)
        )

    def work() -> Any:
        place = LIBC.mmap(low, mmap.PAGESIZE, 7, anonymous | fixed, -1, 0)
        if place != low:
            return "no memory there"
        ctypes.memmove(low, code, len(code))
        ctypes.memmove(low + 256, (ctypes.c_uint32 * 3)(38, 5, 0), 12)
        socketcall, own_socket, getpid, mount = 102, 359, 20, 21
        pid = ask32(getpid, 0, 0)
        if pid == -errno.ENOSYS:
            return "no 32-bit calls"
        return [
            pid == os.getpid(),
            ask32(socketcall, 1, low + 256),
            ask32(own_socket, 38, 5),
            ask32(mount, 0, 0),
        ]

    said = under(usual, work)
    if "no " in said:
        pytest.skip(f"needs 32-bit calls in the kernel: {said}")
    assert said == repr([True, -errno.ENOSYS, -errno.EAFNOSUPPORT, -errno.EPERM])


def test_normal_things_work(usual: bytes) -> None:
    def work() -> Any:
        with open("/proc/self/status") as file:
            mode = next(line for line in file if line.startswith("Seccomp:")).split()[1]
        for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK):
            kind = socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM
            socket.socket(family, kind).close()
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(1))
        thread.start()
        thread.join()
        status = os.waitstatus_to_exitcode(os.system("exit 3"))
        os.close(os.memfd_create("x"))
        return [mode, found, status, os.getpid() > 0]

    assert under(usual, work) == repr(["2", [1], 3, True])


def test_a_capability_opens_its_calls(cache: str) -> None:
    """clone3 with CAP_SYS_ADMIN reaches the kernel, which finds the size of its argument wrong."""
    admin = default_filter([*DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN"], cache)
    assert under(admin, lambda: ask(CLONE3, 0, 0)) == repr("EINVAL")
    assert under(admin, lambda: ask(IO_URING_SETUP, 8, 0)) == repr("ENOSYS")


def test_a_users_profile_binds(cache: str) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOTTY}],
    }
    program = profile_filter(profile, [], cache)
    assert under(program, lambda: ask(110 if X86 else 173)) == repr("ENOTTY")


def test_an_inherited_filter_can_not_be_shed(usual: bytes) -> None:
    """A filter that allows all, on top of ours, changes nothing; and it stays over fork and execve."""

    def work() -> Any:
        process.install(b"\x06\0\0\0\0\0\xff\x7f")
        below = os.popen("cat /proc/self/status").read()
        return [ask(CLONE3, 0, 0), "Seccomp:\t2" in below, "NoNewPrivs:\t1" in below]

    assert under(usual, work) == repr(["ENOSYS", True, True])
