"""A shortened filter answers as the one that libseccomp made, for every call, architecture and argument."""

from __future__ import annotations

import ctypes.util
import random
import struct
from typing import Any

import pytest

from bpfkit import answer
from estiva.linux import seccomp
from estiva.runtime.security.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from estiva.runtime.security.seccomp_profile import profile
from estiva.runtime.security.seccomp_ranges import condense
from estiva.runtime.security.seccomp_rules import resolve

if ctypes.util.find_library("seccomp") is None:
    pytest.skip("needs libseccomp.so.2", allow_module_level=True)

ARCHITECTURES = (0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0, 0xFFFFFFFF)
ACTIONS = ("ALLOW", "ERRNO", "KILL_PROCESS", "KILL_THREAD", "TRAP", "LOG", "TRACE")
COMPARISONS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


def assert_same(program: bytes, rng: random.Random) -> bytes:
    short = condense(program)
    seen = {instruction[3] for instruction in seccomp.instructions(program)}
    edges = {(value + more) & 0xFFFFFFFF for value in seen for more in (-1, 0, 1)}
    numbers = edges | {0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF}
    words = [0, 1, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, *seen]
    for architecture in ARCHITECTURES:
        for number in numbers:
            arguments = [rng.choice(words) | rng.choice(words) << 32 & 0xFFFFFFFFFFFFFFFF for _ in range(6)]
            for given in ([0] * 6, arguments):
                expected = answer(program, architecture, number, *given)
                assert answer(short, architecture, number, *given) == expected, (architecture, number, given)
    return short


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("capabilities", [DEFAULT_CAPABILITIES, ALL_CAPABILITIES, ()])
def test_the_default_profile(machine: str, capabilities: Any) -> None:
    program = seccomp.compile(resolve(profile(), capabilities, machine, "6.1.0"))
    short = assert_same(program, random.Random(machine))
    assert len(short) < len(program) / 2


@pytest.mark.parametrize("seed", range(25))
def test_any_profile(seed: int) -> None:
    rng = random.Random(seed)
    calls = [name for rule in profile()["syscalls"] for name in rule["names"]]
    rules = []
    for _ in range(rng.randrange(60)):
        tests = [
            {
                "index": rng.randrange(6),
                "value": rng.choice((0, 1, 77, 0xFFFFFFFF, 1 << 40)),
                "valueTwo": rng.choice((0, 1, 5 << 32)),
                "op": "SCMP_CMP_" + rng.choice(COMPARISONS),
            }
            for _ in range(rng.choice((0, 0, 0, 1, 2)))
        ]
        names = rng.sample(calls, rng.choice((1, 3, 100)))
        rules.append({"names": names, "action": "SCMP_ACT_" + rng.choice(ACTIONS), "args": tests})
    made = {
        "defaultAction": "SCMP_ACT_" + rng.choice(ACTIONS),
        "syscalls": rules,
        "architectures": rng.choice((None, ["SCMP_ARCH_X86"], ["SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"])),
    }
    try:
        program = seccomp.compile(made)
    except seccomp.InvalidInput:
        pytest.skip("rules that contradict each other")
    assert_same(program, rng)


@pytest.mark.parametrize(
    "code",
    [
        [(0x80, 0, 0, 0), (0x06, 0, 0, 0)],  # A = length of the data
        [(0x20, 0, 0, 0), (0x45, 0, 0, 1), (0x06, 0, 0, 0)],  # a bit of the number
        [(0x20, 0, 0, 4), (0x25, 0, 0, 9), (0x06, 0, 0, 0)],  # architectures that are greater
        [(0x20, 0, 0, 16), (0x07, 0, 0, 0), (0x06, 0, 0, 0)],  # X = A, after an argument was looked at
        [(0x20, 0, 0, 0)],  # no end
        [],
    ],
)
def test_what_is_not_understood_is_left_alone(code: list[tuple[int, int, int, int]]) -> None:
    program = b"".join([struct.pack("=HBBI", *instruction) for instruction in code])
    assert condense(program) is program
