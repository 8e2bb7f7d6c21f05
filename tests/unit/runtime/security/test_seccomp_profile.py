"""What the compiled filters answer, asked through an interpreter of classic BPF: no privilege, any
architecture."""

from __future__ import annotations

import ctypes.util
from typing import Any

import pytest

from bpfkit import answer
from estiva.errors import InvalidInput
from estiva.linux import seccomp
from estiva.runtime.security.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from estiva.runtime.security.seccomp_profile import profile
from estiva.runtime.security.seccomp_rules import resolve

if ctypes.util.find_library("seccomp") is None:
    pytest.skip("needs libseccomp.so.2", allow_module_level=True)

X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32 = 0x40000000
ALLOW, KILL_THREAD, KILL_PROCESS = 0x7FFF0000, 0, 0x80000000
EPERM, ENOSYS, EAFNOSUPPORT = 0x50001, 0x50026, 0x50061
NEWUSER, NEWNET, THREAD_FLAGS = 0x10000000, 0x40000000, 0x3D0F00


NEW = ("mseal",)  # since libseccomp 2.6


def number(arch: str, name: str) -> int:
    lib = seccomp.library()
    found = lib.seccomp_syscall_resolve_name_arch(lib.seccomp_arch_resolve_name(arch.encode()), name.encode())
    if found < 0 and name in NEW:
        pytest.skip(f"this libseccomp doesn't know {name} yet")
    assert found >= 0, name
    return int(found)


def default(capabilities: Any = DEFAULT_CAPABILITIES, machine: str = "x86_64") -> bytes:
    return seccomp.compile(resolve(profile(), capabilities, machine, "6.1.0"))


@pytest.fixture(scope="module")
def usual() -> bytes:
    return default()


def ask(program: bytes, name: str, *args: int) -> int:
    return answer(program, X86_64, number("x86_64", name), *args)


@pytest.mark.parametrize(
    "name",
    [
        "read",
        "openat",
        "mmap",
        "execve",
        "futex",
        "connect",
        "rt_sigreturn",
        "statx",
        "seccomp",
        "ptrace",
        "mseal",
    ],
)
def test_what_programs_need_is_allowed(usual: bytes, name: str) -> None:
    assert ask(usual, name) == ALLOW


@pytest.mark.parametrize(
    "name",
    [
        "mount",
        "umount2",
        "pivot_root",
        "setns",
        "unshare",
        "bpf",
        "perf_event_open",
        "init_module",
        "kexec_load",
        "reboot",
        "swapon",
        "keyctl",
        "add_key",
        "open_by_handle_at",
        "userfaultfd",
        "settimeofday",
        "iopl",
        "acct",
        "quotactl",
        "syslog",
        "move_mount",
        "open_tree",
        "fsopen",
    ],
)
def test_what_leads_out_is_refused(usual: bytes, name: str) -> None:
    assert ask(usual, name) == EPERM


@pytest.mark.parametrize("name", ["io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"])
def test_what_libraries_fall_back_from_is_absent(usual: bytes, name: str) -> None:
    assert ask(usual, name) == ENOSYS


@pytest.mark.parametrize("new", [480, 500, 100000])
def test_calls_newer_than_the_table_are_absent(usual: bytes, new: int) -> None:
    assert answer(usual, X86_64, new) == ENOSYS
    assert answer(usual, X86, new) == ENOSYS
    assert answer(usual, X86_64, X32 + 100000) == ENOSYS


def test_the_other_architectures_of_the_machine(usual: bytes) -> None:
    assert answer(usual, X86, number("x86", "read")) == ALLOW
    assert answer(usual, X86, number("x86", "mount")) == EPERM
    assert answer(usual, X86_64, number("x32", "read")) == ALLOW
    assert answer(usual, X86_64, number("x32", "mount")) == EPERM
    assert answer(usual, AARCH64, 63) == KILL_THREAD
    arm = default(machine="aarch64")
    assert answer(arm, AARCH64, number("aarch64", "read")) == ALLOW
    assert answer(arm, AARCH64, number("aarch64", "mount")) == EPERM
    assert answer(arm, AARCH64, 5000) == ENOSYS
    assert answer(arm, ARM, number("arm", "read")) == ALLOW


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_socket_families(usual: bytes, high: int) -> None:
    """The kernel reads 32 bits of the family: what stands above them must not change the answer."""
    for family in range(48):
        expected = EAFNOSUPPORT if family in (38, 40) else ALLOW
        assert ask(usual, "socket", family | high) == expected, family
        assert answer(usual, X86_64, number("x32", "socket"), family | high) == expected, family
    assert ask(usual, "socket", 48 | high) == EPERM
    # x86's own call of that name; libseccomp gives a pseudo number for it.
    assert answer(usual, X86, 359, 2) == ALLOW
    assert answer(usual, X86, 359, 38) == EAFNOSUPPORT


def test_socketcall_is_no_way_around(usual: bytes) -> None:
    for call in range(21):
        assert answer(usual, X86, number("x86", "socketcall"), call) == ENOSYS


@pytest.mark.parametrize("arch", ["x86_64", "x86", "x32"])
def test_clone_makes_threads_but_no_namespaces(usual: bytes, arch: str) -> None:
    audit = X86 if arch == "x86" else X86_64
    clone = number(arch, "clone")
    assert answer(usual, audit, clone, THREAD_FLAGS) == ALLOW
    assert answer(usual, audit, clone, 17) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, NEWUSER, 0x20000000, NEWNET):
        assert answer(usual, audit, clone, flag | 17) == EPERM
        assert answer(usual, audit, clone, flag | 17 | 1 << 40) == EPERM


def test_personality(usual: bytes) -> None:
    assert ask(usual, "personality", 0) == ALLOW
    assert ask(usual, "personality", 0x8) == ALLOW
    assert ask(usual, "personality", 0xFFFFFFFF) == ALLOW
    for value in (0x40000, 0x400000, 0x1, 0x8 | 1 << 32):
        assert ask(usual, "personality", value) == EPERM


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("CAP_SYS_ADMIN", "mount unshare setns clone3 bpf sethostname"),
        ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
        ("CAP_SYS_MODULE", "init_module finit_module delete_module"),
        ("CAP_SYS_TIME", "settimeofday clock_settime"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_NICE", "mbind set_mempolicy get_mempolicy"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_RAWIO", "iopl ioperm"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ],
)
def test_a_capability_brings_its_calls(usual: bytes, capability: str, names: str) -> None:
    with_it = default([*DEFAULT_CAPABILITIES, capability])
    for name in names.split():
        assert ask(usual, name) in (EPERM, ENOSYS)
        assert ask(with_it, name) == ALLOW


def test_chroot_goes_with_its_capability(usual: bytes) -> None:
    assert ask(usual, "chroot") == ALLOW
    assert ask(default([]), "chroot") == EPERM
    admin = default(["CAP_SYS_ADMIN"])
    assert ask(admin, "clone", NEWUSER | 17) == ALLOW
    assert ask(admin, "io_uring_setup") == ENOSYS
    assert ask(default(ALL_CAPABILITIES), "socket", 38) == EAFNOSUPPORT


def test_every_name_of_the_table_exists_somewhere() -> None:
    number("x86_64", "mseal")
    skipped: list[str] = []
    seccomp.compile(resolve(profile(), ALL_CAPABILITIES, "x86_64", "6.1.0"), skipped)
    assert skipped == []


DOCKER = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ],
    "syscalls": [
        {"names": ["read", "write", "brand_new_call", "statx"], "action": "SCMP_ACT_ALLOW", "errnoRet": None},
        {"names": ["open"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["close"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["vmsplice"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.1"}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF"]}},
        {"name": "dup", "action": "SCMP_ACT_ERRNO", "errnoRet": 9},
        {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS"},
        {
            "names": ["lseek"],
            "action": "SCMP_ACT_ALLOW",
            "args": [
                {"index": 2, "value": 1, "op": "SCMP_CMP_EQ"},
                {"index": 2, "value": 2, "op": "SCMP_CMP_EQ"},
            ],
        },
        {
            "names": ["lseek"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 9,
            "args": [
                {"index": 0, "value": 3, "op": "SCMP_CMP_EQ"},
                {"index": 2, "value": 7, "op": "SCMP_CMP_GE"},
            ],
        },
    ],
}


def test_dockers_form() -> None:
    skipped: list[str] = []
    program = seccomp.compile(resolve(DOCKER, ["CAP_SYS_ADMIN"], "x86_64", "6.1.0-13-amd64"), skipped)
    assert set(skipped) == {"brand_new_call"}
    expected = {
        "read": ALLOW,
        "open": ALLOW,
        "close": EPERM,
        "ptrace": ALLOW,
        "vmsplice": EPERM,
        "mount": EPERM,
    }
    expected |= {"chroot": ALLOW, "dup": 0x50009, "kill": KILL_PROCESS, "getpid": EPERM}
    assert {name: ask(program, name) for name in expected} == expected
    both = seccomp.compile(resolve(DOCKER, ["CAP_SYS_ADMIN", "CAP_BPF"], "x86_64", "6.1.0"))
    assert ask(both, "mount") == ALLOW and ask(both, "chroot") == EPERM
    # One argument tested twice means either; two arguments mean both.
    assert ask(program, "lseek", 0, 0, 1) == ALLOW and ask(program, "lseek", 0, 0, 2) == ALLOW
    assert ask(program, "lseek", 0, 0, 3) == EPERM
    assert ask(program, "lseek", 3, 0, 8) == 0x50009 and ask(program, "lseek", 4, 0, 8) == EPERM
    # Newer than all that it names.
    assert answer(program, X86_64, 460) == ENOSYS


def test_the_specifications_form_and_actions() -> None:
    plain = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["chmod"], "action": "SCMP_ACT_TRAP"},
            {"names": ["chown"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
            {"names": ["mkdir"], "action": "SCMP_ACT_LOG"},
            {"names": ["rmdir"], "action": "SCMP_ACT_NOTIFY"},
            {"names": ["unlink"], "action": "SCMP_ACT_KILL"},
        ],
    }
    program = seccomp.compile(resolve(plain, [], "x86_64", "6.1"))
    expected = {"getcwd": EPERM, "chmod": 0x30000, "chown": 0x7FF00007, "mkdir": 0x7FFC0000}
    expected |= {"rmdir": 0x7FC00000, "unlink": KILL_THREAD, "read": ALLOW}
    assert {name: ask(program, name) for name in expected} == expected
    assert answer(program, X86_64, 5000) == ALLOW  # a default that allows is left as it is


def rule(**fields: Any) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"} | fields],
    }


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ([], "seccomp"),
        ({}, "seccomp.defaultAction"),
        ({"defaultAction": "ALLOW"}, "seccomp.defaultAction"),
        ({"defaultAction": ["SCMP_ACT_ALLOW"]}, "seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}, "seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]}, r"architectures\[0\]"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": "x86"}, "seccomp.architectures"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "archMap": [1]}, r"archMap\[0\]"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "seccomp.syscalls"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [1]}, r"syscalls\[0\]"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}, "seccomp.flags"),
        (rule(names=[]), r"syscalls\[0\].names"),
        (rule(names="read"), r"syscalls\[0\].names"),
        (rule(action="nothing\n"), r"syscalls\[0\]"),
        (rule(errnoRet=3), r"syscalls\[0\]"),
        (rule(action="SCMP_ACT_ERRNO", errnoRet=-1), r"syscalls\[0\]"),
        (rule(args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]), r"syscalls\[0\].args\[0\].index"),
        (rule(args=[{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]), r"args\[0\].value"),
        (rule(args=[{"index": 0, "value": 1, "op": "EQ"}]), r"args\[0\].op"),
        (rule(args=["x"]), r"args\[0\]"),
        (rule(args=7), r"syscalls\[0\].args"),
        (rule(includes={"minKernel": "new"}), r"includes.minKernel"),
        (rule(excludes={"caps": "CAP_BPF"}), r"excludes.caps"),
    ],
)
def test_what_is_wrong_is_named(bad: Any, where: str) -> None:
    with pytest.raises(InvalidInput, match=where) as raised:
        seccomp.compile(resolve(bad, [], "x86_64", "6.1.0"))
    assert str(raised.value).isprintable()


def test_a_filter_that_is_too_long_is_refused() -> None:
    many = [
        {
            "names": ["read"],
            "action": "SCMP_ACT_LOG",
            "args": [{"index": i % 6, "value": i * 77, "op": "SCMP_CMP_EQ"}],
        }
        for i in range(5000)
    ]
    with pytest.raises(InvalidInput, match="seccomp"):
        seccomp.compile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many})
