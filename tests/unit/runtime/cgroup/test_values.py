"""Conversions, messages, and the device program of v2, run by a small interpreter of BPF."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest

from estiva.errors import InvalidInput
from estiva.runtime.cgroup.control import hugepage_name, pairs, rdma, size
from estiva.runtime.cgroup.devices import normalise, program
from estiva.runtime.cgroup.v2.limits import cpu_weight, io_weight


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (3, 2), (512, 59), (1024, 100), (2000, 170), (2048, 174), (262144, 10000)]
)
def test_cpu_weight(shares: int, weight: int) -> None:
    """2000 -> 170 is what runc's maintainers quote for the conversion since 1.3.2."""
    assert cpu_weight(shares) == weight


def test_cpu_weight_never_falls() -> None:
    weights = [cpu_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)
    assert min(weights) >= 1 and max(weights) <= 10000


def test_io_weight() -> None:
    assert [io_weight(weight) for weight in (10, 100, 500, 1000)] == [1, 910, 4950, 10000]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (4096, "4 KiB"),
        (64 << 20, "64 MiB"),
        (3 << 29, "1.50 GiB"),
        (1000, "1000 bytes"),
        (-1, "unlimited"),
        (0, "0 bytes"),
    ],
)
def test_sizes_in_messages(number: int, text: str) -> None:
    assert size(number) == text


def test_keyed_files() -> None:
    assert pairs("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n\nbroken\nx y") == {
        "oom_kill_disable": 0,
        "under_oom": 0,
        "oom_kill": 3,
    }


@pytest.mark.parametrize("name", ["2MB", "1GB", "64KB"])
def test_huge_page_sizes(name: str) -> None:
    assert hugepage_name({"pageSize": name}) == name


@pytest.mark.parametrize("name", ["", "MB", "2mb", "../2MB", "2MB/x", "2TB", "²MB", None])
def test_huge_page_sizes_that_are_none(name: str | None) -> None:
    with pytest.raises(InvalidInput):
        hugepage_name({"pageSize": name})


def test_rdma_lines() -> None:
    assert rdma("mlx5_1", {"hcaHandles": 3, "hcaObjects": 10000}) == "mlx5_1 hca_handle=3 hca_object=10000"
    for name, entry in (("a/b", {"hcaHandles": 1}), ("a", {}), ("a", 3)):
        with pytest.raises(InvalidInput):
            rdma(name, entry)


# --- devices -------------------------------------------------------------------------------------------

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
