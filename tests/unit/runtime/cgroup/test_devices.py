"""Device rules: the lines of v1, and the program of v2, run by a small interpreter of BPF."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest

from estiva.errors import InvalidInput
from estiva.runtime.cgroup.devices import normalise, program

KINDS = {"b": 1, "c": 2}


BITS = {"m": 1, "r": 2, "w": 4}


def run(code: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    context = struct.pack("<III", sum(BITS[a] for a in access) << 16 | KINDS[kind], major, minor)
    registers = {1: 0}
    index = 0
    steps = list(struct.iter_unpack("<BBhi", code))
    while True:
        op, regs, offset, value = steps[index]
        dst, src = regs & 15, regs >> 4
        index += 1
        if op == 0x61:
            (registers[dst],) = struct.unpack_from("<I", context, registers[src] + offset)
        elif op == 0xBF:
            registers[dst] = registers[src]
        elif op == 0xB7:
            registers[dst] = value
        elif op == 0x57:
            registers[dst] &= value
        elif op == 0x77:
            registers[dst] >>= value
        elif op == 0x55:
            index += offset if registers[dst] != value else 0
        elif op == 0x45:
            index += offset if registers[dst] & value else 0
        elif op == 0x05:
            index += offset
        elif op == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(hex(op))


def meaning(rules: list[dict[str, Any]], kind: str, major: int, minor: int, access: str) -> bool:
    """The specification's words: the rules in order, each access on its own, everything allowed before."""
    for one in access:
        allowed = True
        for rule in rules:
            if (
                rule.get("type", "a") in ("a", kind)
                and rule.get("major", major) in (major, -1)
                and rule.get("minor", minor) in (minor, -1)
                and one in rule.get("access", "rwm")
            ):
                allowed = rule["allow"]
        if not allowed:
            return False
    return True


RULES = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    {"allow": True, "type": "c", "major": 136, "access": "rw"},
    {"allow": True, "type": "b", "access": "m"},
    {"allow": False, "type": "c", "major": 1, "minor": 3, "access": "w"},
    {"allow": True, "major": 7, "access": "r"},
    {"allow": False, "type": "b", "major": 7, "minor": 1},
]


@pytest.mark.parametrize("first", [0, 1, 4])
def test_the_program_says_what_the_rules_say(first: int) -> None:
    rules = RULES[first:]
    code = program(rules)
    accesses = ["".join(chosen) for n in (1, 2, 3) for chosen in itertools.combinations("rwm", n)]
    for kind, major, minor, access in itertools.product("bc", (1, 7, 136, 8), (0, 1, 3), accesses):
        expected = meaning(rules, kind, major, minor, access)
        assert run(code, kind, major, minor, access) is expected, (kind, major, minor, access)


def test_rules_before_one_about_everything_are_left_out() -> None:
    assert program([*RULES, {"allow": True}]) == program([{"allow": True, "type": "a", "access": "mrw"}])
    assert len(program(RULES * 3)) == len(program(RULES))


def test_v1_lines() -> None:
    assert [rule.v1() for rule in normalise(RULES)] == [
        "a *:* rwm",
        "c 1:3 rwm",
        "c 136:* rw",
        "b *:* m",
        "c 1:3 w",
        "b 7:* r",
        "c 7:* r",
        "b 7:1 rwm",
    ]


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(InvalidInput, match="more than"):
        program([{"allow": True, "type": "c", "major": n} for n in range(2000)])
