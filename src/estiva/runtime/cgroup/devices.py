"""Device rules of an OCI linux.resources, for v1's devices.allow/deny and for v2's BPF program.

runtime-spec config-linux.md, "Allowed Device list": the rules apply in the order listed. What no rule names
stays as the cgroup above has it.
"""

from __future__ import annotations

from _struct import pack

from estiva.errors import InvalidInput
from estiva.runtime.cgroup.control import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# linux/bpf.h: access_type of struct bpf_cgroup_dev_ctx is (BPF_DEVCG_ACC_* << 16) | BPF_DEVCG_DEV_*.
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7
_TYPES = {"b": 1, "c": 2}


class Rule:
    """One rule: `kind` "b", "c" or "a" (both, whole and every access); a number of -1 means any."""

    __slots__ = ("access", "allow", "kind", "major", "minor")

    def __init__(self, allow: bool, kind: str, major: int, minor: int, access: str) -> None:
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access

    def v1(self) -> str:
        """The line for devices.allow or devices.deny: cgroup-v1/devices.rst."""
        if self.kind == "a":
            return "a *:* rwm"
        major = "*" if self.major < 0 else str(self.major)
        minor = "*" if self.minor < 0 else str(self.minor)
        return f"{self.kind} {major}:{minor} {self.access}"


def normalise(rules: list[dict[str, Any]]) -> list[Rule]:
    """The rules in order. Type "a" with a number or a part of the accesses, which the kernel would take for
    "everything", becomes a block and a character rule. Raises InvalidInput."""
    result: list[Rule] = []
    for entry in rules:
        kind = entry.get("type") or "a"
        access = entry.get("access") or "rwm"
        major, minor = whole(entry, "major", "devices"), whole(entry, "minor", "devices")
        allow = entry.get("allow", False)
        if kind == "u":  # mknod(1)'s other name of c
            kind = "c"
        if kind not in ("a", "b", "c") or not isinstance(allow, bool):
            raise InvalidInput("linux.resources.devices needs allow (true or false) and a type of a, b or c")
        if not isinstance(access, str) or set(access) - set(_ACCESS):
            raise InvalidInput(f"linux.resources.devices.access {access!r} is not made of r, w and m")
        major, minor = (-1 if number is None or number < 0 else number for number in (major, minor))
        if kind == "a" and (major >= 0 or minor >= 0 or set(access) != set(_ACCESS)):
            result += [Rule(allow, each, major, minor, access) for each in ("b", "c")]
        else:
            result.append(Rule(allow, kind, major, minor, access))
    return result


# --- the BPF program of v2 --------------------------------------------------------------------------------
#
# struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; } comes in r1; r0 is the verdict, 1
# allows. The program keeps in r2 which of the asked accesses are still undecided and looks at the rules
# from the last to the first: a deny rule that matches an undecided access ends it with 0, an allow rule
# takes its accesses off, and it ends with 1 when none is left. That is the order the specification asks
# for, access by access, in a program whose length grows with the rules only.

_LDX_W, _MOV_K, _MOV_X, _AND_K, _RSH_K = 0x61, 0xB7, 0xBF, 0x57, 0x77
_JEQ_K, _JNE_K, _JSET_K, _JA, _EXIT = 0x15, 0x55, 0x45, 0x05, 0x95
_MAX_RULES = 1000


def _op(code: int, dst: int, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    """struct bpf_insn."""
    return pack("<BBhi", code, src << 4 | dst, offset, immediate)


def _verdict(value: int) -> bytes:
    return _op(_MOV_K, 0, immediate=value) + _op(_EXIT, 0)


def _rule(rule: Rule) -> bytes:
    mask = sum([_ACCESS[letter] for letter in set(rule.access)])
    if rule.allow:
        action = _op(_AND_K, 2, immediate=~mask & _ALL_ACCESS)
        action += _op(_JNE_K, 2, 0, 2, 0) + _verdict(1)
    else:
        # Jump over the way around the verdict when one of the undecided accesses is in the mask.
        action = _op(_JSET_K, 2, 0, 1, mask) + _op(_JA, 0, 0, 2) + _verdict(0)
    size = len(action) // 8
    tests: list[tuple[int, int]] = []
    if rule.kind in _TYPES:
        tests.append((3, _TYPES[rule.kind]))
    if rule.major >= 0:
        tests.append((4, rule.major))
    if rule.minor >= 0:
        tests.append((5, rule.minor))
    code = b""
    for index, (register, value) in enumerate(tests):
        code += _op(_JNE_K, register, 0, len(tests) - index - 1 + size, value)
    return code + action


def program(rules: list[dict[str, Any]]) -> bytes:
    """A BPF_PROG_TYPE_CGROUP_DEVICE program for an OCI device list. Raises InvalidInput."""
    ordered = normalise(rules)
    # Nothing before a rule about everything has a say.
    for index in range(len(ordered) - 1, -1, -1):
        if ordered[index].kind == "a":
            ordered = ordered[index:]
            break
    if len(ordered) > _MAX_RULES:
        raise InvalidInput(f"linux.resources.devices has more than {_MAX_RULES} rules")
    code = _op(_LDX_W, 2, 1, 0) + _op(_MOV_X, 3, 2)
    code += _op(_RSH_K, 2, immediate=16) + _op(_AND_K, 2, immediate=_ALL_ACCESS)
    code += _op(_AND_K, 3, immediate=0xFFFF)
    code += _op(_LDX_W, 4, 1, 4) + _op(_LDX_W, 5, 1, 8)
    for rule in reversed(ordered):
        code += _rule(rule)
    return code + _verdict(1)
