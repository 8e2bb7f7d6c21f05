"""libseccomp through ctypes: an OCI linux.seccomp compiled to the BPF program that seccomp(2) takes.

The library is opened on first use only: a run whose filter is in the cache never loads it. Nothing is
installed here (that is `process.install`), so compiling needs no privilege. seccomp_init(3),
seccomp_rule_add(3), seccomp_export_bpf(3); runtime-spec config-linux.md, "Seccomp".
"""

from __future__ import annotations

import ctypes
import errno
import os
from _struct import iter_unpack, pack

from estiva.errors import EngineError, InvalidInput, Unsupported, oneline
from estiva.linux.seccomp_names import ACTIONS as ACTIONS
from estiva.linux.seccomp_names import ACTIONS_WITH_NUMBER as ACTIONS_WITH_NUMBER
from estiva.linux.seccomp_names import COMPARISONS as COMPARISONS
from estiva.linux.seccomp_names import FLAGS as FLAGS
from estiva.linux.seccomp_names import MAX_ERRNO as MAX_ERRNO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# enum scmp_filter_attr
_ATTR_CTL_NNP, _ATTR_CTL_LOG, _ATTR_CTL_OPTIMIZE = 3, 6, 8
_NR_SCMP_ERROR = -1

# A filter of the kernel's greatest length (BPF_MAXINSNS, struct sock_filter).
MAX_INSTRUCTIONS = 4096
INSTRUCTION = 8

# The audit number of an architecture and, as x32 shares x86_64's, the bit its system calls carry.
_AUDIT_ARCH = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
_AUDIT_ARCH |= {"riscv64": 0xC00000F3, "ppc64le": 0xC0000015, "s390x": 0x80000016, "loongarch64": 0xC0000102}
_X32_BIT = 0x40000000

_library: ctypes.CDLL | None = None


def library() -> ctypes.CDLL:
    """libseccomp.so.2 with its argument types set, opened once. Raises Unsupported when it is not
    installed."""
    global _library
    if _library is not None:
        return _library
    try:
        lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise Unsupported(
            "libseccomp.so.2 can't be loaded, so no system-call filter can be made",
            hint="install libseccomp2, or run with --security-opt seccomp=unconfined",
        ) from error
    context, u32 = ctypes.c_void_p, ctypes.c_uint32
    lib.seccomp_init.argtypes = (u32,)
    lib.seccomp_init.restype = context
    lib.seccomp_release.argtypes = (context,)
    lib.seccomp_release.restype = None
    lib.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
    lib.seccomp_arch_resolve_name.restype = u32
    lib.seccomp_arch_native.argtypes = ()
    lib.seccomp_arch_native.restype = u32
    lib.seccomp_arch_add.argtypes = (context, u32)
    lib.seccomp_attr_set.argtypes = (context, ctypes.c_int, u32)
    lib.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    lib.seccomp_syscall_resolve_name_arch.argtypes = (u32, ctypes.c_char_p)
    lib.seccomp_rule_add_array.argtypes = (context, u32, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)
    lib.seccomp_export_bpf.argtypes = (context, ctypes.c_int)
    _library = lib
    return lib


def action(name: object, number: object, where: str) -> int:
    """The SECCOMP_RET_* value of an action and its errnoRet (None: EPERM). Raises InvalidInput naming
    `where`."""
    if isinstance(name, str) and name in ACTIONS:
        if number is not None:
            raise InvalidInput(f"{where}: {name} takes no errno")
        return ACTIONS[name]
    if isinstance(name, str) and name in ACTIONS_WITH_NUMBER:
        if number is None:
            number = errno.EPERM
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_ERRNO:
            raise InvalidInput(f"{where}: an errno is a number from 0 to {MAX_ERRNO}")
        return ACTIONS_WITH_NUMBER[name] | number
    raise InvalidInput(f"{where}: {oneline(str(name))} is not a seccomp action")


def architecture(name: object, where: str) -> str:
    """libseccomp's name for an SCMP_ARCH_* of the specification. Raises InvalidInput naming `where`."""
    if isinstance(name, str) and name.startswith("SCMP_ARCH_"):
        short = name[10:].lower()
        if library().seccomp_arch_resolve_name(short.encode("ascii", "replace")):
            return short
    raise InvalidInput(f"{where}: {oneline(str(name))} is not an architecture")


def _arguments(rule: dict[str, Any], where: str) -> list[tuple[int, int, int, int]]:
    """The argument tests of a rule as (index, comparison, datum_a, datum_b)."""
    result = []
    tests = rule.get("args") or []
    if not isinstance(tests, list):
        raise InvalidInput(f"{where}.args is not a list")
    for position, test in enumerate(tests):
        spot = f"{where}.args[{position}]"
        if not isinstance(test, dict):
            raise InvalidInput(f"{spot} is not an object")
        index, operation = test.get("index"), test.get("op")
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index <= 5:
            raise InvalidInput(f"{spot}.index is not a number from 0 to 5")
        if not isinstance(operation, str) or operation not in COMPARISONS:
            raise InvalidInput(f"{spot}.op: {oneline(str(operation))} is not a comparison")
        values = []
        for field in ("value", "valueTwo"):
            value = test.get(field, 0)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
                raise InvalidInput(f"{spot}.{field} is not a number of 64 bits")
            values.append(value)
        result.append((index, COMPARISONS[operation], values[0], values[1]))
    return result


class _Filter:
    """A scmp_filter_ctx as a with-block."""

    def __init__(self, default: int, names: list[str]) -> None:
        self.lib = library()
        self.context = self.lib.seccomp_init(default)
        if not self.context:
            raise EngineError("libseccomp can't make a filter with this default action")
        self.architectures = names

    def __enter__(self) -> _Filter:
        for name in self.architectures:
            code = self.lib.seccomp_arch_add(self.context, self.lib.seccomp_arch_resolve_name(name.encode()))
            if code not in (0, -errno.EEXIST):
                raise EngineError(f"libseccomp can't filter for {name}: {os.strerror(-code).lower()}")
        return self

    def __exit__(self, *exception: object) -> None:
        self.lib.seccomp_release(self.context)

    def attribute(self, number: int, value: int) -> int:
        return int(self.lib.seccomp_attr_set(self.context, number, value))

    def add(self, value: int, name: str, tests: list[tuple[int, int, int, int]], where: str) -> bool:
        """Add a rule; False when libseccomp does not know the system call."""
        number = self.lib.seccomp_syscall_resolve_name(name.encode("ascii", "replace"))
        if number == _NR_SCMP_ERROR:
            return False
        # libseccomp wants at most one test an argument in a rule; the specification means "any of them"
        # when an argument is tested twice, and runc makes one rule of each test then. The same here.
        indices = [test[0] for test in tests]
        groups = [[test] for test in tests] if len(set(indices)) < len(indices) else [tests]
        for group in groups:
            packed = b"".join([pack("=IIQQ", *test) for test in group])  # struct scmp_arg_cmp
            code = self.lib.seccomp_rule_add_array(self.context, value, number, len(group), packed)
            # EACCES: the action is the default's, so the rule would say nothing. EDOM: no such call on an
            # architecture of the filter.
            if code not in (0, -errno.EACCES, -errno.EDOM, -errno.EEXIST):
                why = os.strerror(-code).lower()
                raise InvalidInput(f"{where}: the rule for {oneline(name)} can't be made: {why}")
        return True

    def export(self) -> bytes:
        fd = os.memfd_create("estiva-seccomp", os.MFD_CLOEXEC)
        try:
            code = self.lib.seccomp_export_bpf(self.context, fd)
            if code:
                raise EngineError(f"libseccomp can't make the filter: {os.strerror(-code).lower()}")
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)


def compile(profile: dict[str, Any], skipped: list[str] | None = None) -> bytes:
    """The BPF program (struct sock_filter, 8 bytes each) of an OCI linux.seccomp object.

    System calls that the installed libseccomp doesn't know are left out, and appended to `skipped`. Where
    the default is an errno other than ENOSYS, calls newer than every one that the profile names give ENOSYS
    instead, so that a C library that tries a new call falls back to an old one. Raises InvalidInput naming
    the field, Unsupported.
    """
    if not isinstance(profile, dict):
        raise InvalidInput("seccomp: the profile is not an object")
    default = action(profile.get("defaultAction"), profile.get("defaultErrnoRet"), "seccomp.defaultAction")
    listed = profile.get("architectures")
    if listed is not None and not isinstance(listed, list):
        raise InvalidInput("seccomp.architectures is not a list")
    names = [architecture(item, f"seccomp.architectures[{i}]") for i, item in enumerate(listed or [])]
    rules = profile.get("syscalls")
    if rules is not None and not isinstance(rules, list):
        raise InvalidInput("seccomp.syscalls is not a list")
    flags = profile.get("flags") or []
    if not isinstance(flags, list) or not all(flag in FLAGS for flag in flags):
        raise InvalidInput(f"seccomp.flags: not a list of {', '.join(sorted(FLAGS))}")
    named: list[str] = []
    with _Filter(default, names) as made:
        # no_new_privs is the launcher's to decide; the binary tree needs libseccomp 2.5 and is only faster.
        made.attribute(_ATTR_CTL_NNP, 0)
        made.attribute(_ATTR_CTL_OPTIMIZE, 2)
        if "SECCOMP_FILTER_FLAG_LOG" in flags:
            made.attribute(_ATTR_CTL_LOG, 1)
        for index, rule in enumerate(rules or []):
            where = f"seccomp.syscalls[{index}]"
            if not isinstance(rule, dict):
                raise InvalidInput(f"{where} is not an object")
            calls = rule.get("names")
            if not isinstance(calls, list) or not calls or not all(isinstance(c, str) for c in calls):
                raise InvalidInput(f"{where}.names is not a list of names")
            value = action(rule.get("action"), rule.get("errnoRet"), where)
            tests = _arguments(rule, where)
            for call in calls:
                named.append(call)
                if not made.add(value, call, tests, where) and skipped is not None:
                    skipped.append(call)
        code = made.export()
    if default >> 16 == 5 and default & 0xFFFF != errno.ENOSYS:
        code = _newer_calls(names, named) + code
    if len(code) > MAX_INSTRUCTIONS * INSTRUCTION:
        raise InvalidInput(f"seccomp: the filter is longer than {MAX_INSTRUCTIONS} instructions")
    return code


def _newer_calls(architectures: list[str], named: list[str]) -> bytes:
    """Instructions to stand before a filter: ENOSYS for calls numbered above all that the profile names.

    With EPERM for what is not known yet, a C library that probes for a new call takes it for a refusal and
    gives up. Numbers are compared per architecture; an architecture that is not the filter's is left to the
    filter.
    """
    lib = library()
    limits: dict[int, list[int]] = {}  # audit number -> [highest, highest of x32]
    native = lib.seccomp_arch_native()
    known = {lib.seccomp_arch_resolve_name(name.encode()): name for name in _AUDIT_ARCH}
    for name in dict.fromkeys([known.get(native, ""), *architectures]):
        audit = _AUDIT_ARCH.get("x86_64" if name == "x32" else name)
        if audit is None:
            continue
        token = lib.seccomp_arch_resolve_name(name.encode())
        numbers = [
            lib.seccomp_syscall_resolve_name_arch(token, call.encode("ascii", "replace")) for call in named
        ]
        # Pseudo numbers of calls that the architecture hasn't are negative.
        highest = max([number for number in numbers if number >= 0], default=-1)
        if highest >= 0:
            limits.setdefault(audit, [-1, -1])[name == "x32"] = highest
    load_arch, load_number = pack("=HBBI", 0x20, 0, 0, 4), pack("=HBBI", 0x20, 0, 0, 0)
    answer = pack("=HBBI", 0x06, 0, 0, 0x00050000 | errno.ENOSYS)
    code = load_arch
    for audit, (highest, x32) in limits.items():
        body = load_number
        if audit == _AUDIT_ARCH["x86_64"]:
            # From the bit on it is x32, with a limit of its own; one that passes goes past the other limit.
            native_test = 2 if highest >= 0 else 0
            if x32 >= 0:
                body += pack("=HBBI", 0x35, 0, 2, _X32_BIT)
                body += pack("=HBBI", 0x25, 0, 1 + native_test, x32) + answer
            else:
                body += pack("=HBBI", 0x35, native_test, 0, _X32_BIT)
        if highest >= 0:
            body += pack("=HBBI", 0x25, 0, 1, highest) + answer
        body += load_arch
        code += pack("=HBBI", 0x15, 0, len(body) // INSTRUCTION, audit) + body
    return code


def instructions(code: bytes) -> list[tuple[int, int, int, int]]:
    """A program as (code, jt, jf, k) tuples, for those who want to read it."""
    return list(iter_unpack("=HBBI", code))
