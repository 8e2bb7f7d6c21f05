"""Where and when a process may run, as a config says it."""

from __future__ import annotations

from typing import Any

import pytest

from estiva.errors import InvalidInput
from estiva.linux import scheduler
from estiva.runtime.process import scheduling


@pytest.mark.parametrize(
    ("text", "numbers"), [("", set()), ("0", {0}), ("0-3,7", {0, 1, 2, 3, 7}), (" 1 , 1-1", {1})]
)
def test_lists_of_cpus(text: str, numbers: set[int]) -> None:
    assert scheduling.cpu_list(text, "x") == numbers


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1,,2", "65536", "0-99999999999", "²"])
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="^where: "):
        scheduling.cpu_list(text, "where")


def test_nothing_asked_for_is_nothing() -> None:
    assert scheduling.plan({"scheduler": None, "args": ["x"]}) is None
    assert scheduling.plan({}, {"memoryPolicy": None}) is None


def test_what_is_asked_for() -> None:
    process = {
        "scheduler": {"policy": "SCHED_FIFO", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0-1"},
    }
    made = scheduling.plan(process, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}})
    assert made is not None and made.attributes is not None and made.io is not None
    assert made.attributes["policy"] == scheduler.POLICIES["SCHED_FIFO"]
    assert (made.attributes["priority"], made.attributes["nice"]) == (5, 0)
    assert made.attributes["flags"] == scheduler.FLAGS["SCHED_FLAG_RESET_ON_FORK"]
    assert made.io == (scheduler.IO_CLASSES["IOPRIO_CLASS_BE"], 4)
    assert (made.initial, made.final) == ({0}, {0, 1})
    assert made.memory == (scheduler.MEMORY_MODES["MPOL_BIND"], {0})


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ({"scheduler": {"policy": "SCHED_MAGIC"}}, "process.scheduler.policy: 'SCHED_MAGIC'"),
        ({"scheduler": {"policy": "SCHED_OTHER", "priority": 1}}, "only be set with SCHED_FIFO or SCHED_RR"),
        ({"scheduler": {"policy": "SCHED_FIFO", "runtime": 1}}, "only be set with SCHED_DEADLINE"),
        ({"scheduler": {"policy": "SCHED_RR", "flags": ["NO"]}}, r"process.scheduler.flags\[0\]: 'NO'"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, "not a number from 0 to 7"),
        ({"ioPriority": {"class": 2}}, "process.ioPriority.class: 2"),
        ({"execCPUAffinity": {"final": "x"}}, "process.execCPUAffinity.final"),
    ],
)
def test_what_is_wrong_is_named(process: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        scheduling.plan(process)
