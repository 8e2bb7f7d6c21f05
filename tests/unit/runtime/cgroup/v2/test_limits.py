"""linux.resources as what is written to the control files of v2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from estiva.errors import InvalidInput, LimitRefused
from estiva.runtime.cgroup import control
from estiva.runtime.cgroup.v2 import limits, stats
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


class Tree:
    """A directory in the place of the tree, with one cgroup; `writes` is what control files were told."""

    def __init__(self, top: Path) -> None:
        self.root = str(top)
        self.group = top / "c"
        self.group.mkdir()
        self.writes: list[tuple[str, str]] = []

    def apply(self, resources: dict[str, Any]) -> list[tuple[str, str]]:
        limits.apply(self.root, "/c", resources)
        return self.writes

    def put(self, path: str, value: str) -> None:
        self.writes.append((path.removeprefix(f"{self.group}/"), value))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    made = Tree(tmp_path)
    monkeypatch.setattr(control, "put", made.put)
    monkeypatch.setattr(limits, "put", made.put)
    return made


def test_nothing_named_is_nothing_written(tree: Tree) -> None:
    assert tree.apply({"memory": {}, "cpu": None, "pids": {}, "unified": {}}) == []


def test_swap_is_what_is_left_of_memory_and_swap(tree: Tree) -> None:
    (tree.group / "memory.swap.max").write_text("max\n")
    written = tree.apply({"memory": {"limit": 3000, "swap": 4000, "reservation": -1}})
    assert written == [("memory.swap.max", "1000"), ("memory.max", "3000"), ("memory.low", "max")]


def test_swap_alone_counts_from_the_limit_that_stands(tree: Tree) -> None:
    (tree.group / "memory.swap.max").write_text("max\n")
    with pytest.raises(InvalidInput, match="needs a memory limit"):
        tree.apply({"memory": {"swap": 4000}})
    (tree.group / "memory.max").write_text("2500\n")
    assert tree.apply({"memory": {"swap": 4000}}) == [("memory.swap.max", "1500")]
    with pytest.raises(LimitRefused, match="less than the memory limit"):
        tree.apply({"memory": {"swap": 2400}})


def test_memory_in_use_is_looked_at_where_that_is_asked_for(tree: Tree) -> None:
    (tree.group / "memory.current").write_text("5000\n")
    with pytest.raises(LimitRefused, match="in use already"):
        tree.apply({"memory": {"limit": 4096, "checkBeforeUpdate": True}})
    assert tree.apply({"memory": {"limit": 4096}}) == [("memory.max", "4096")]


@pytest.mark.parametrize(
    ("cpu", "value"),
    [
        ({"quota": 5000}, "5000 20000"),
        ({"period": 50000}, "9000 50000"),
        ({"quota": -1, "period": 50000}, "max 50000"),
    ],
)
def test_a_quota_and_a_period_are_one_line(tree: Tree, cpu: dict[str, int], value: str) -> None:
    (tree.group / "cpu.max").write_text("9000 20000\n")
    assert tree.apply({"cpu": cpu}) == [("cpu.max", value)]


def test_weights_and_rates(tree: Tree) -> None:
    (tree.group / "io.weight").write_text("default 100\n")
    block = {"weight": 10, "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}]}
    assert tree.apply({"cpu": {"shares": 1024}, "blockIO": block, "pids": {"limit": 0}}) == [
        ("cpu.weight", "100"),
        ("pids.max", "0"),
        ("io.weight", "1"),
        ("io.max", "8:0 wiops=max"),
    ]
    (tree.group / "io.bfq.weight").write_text("100\n")  # has the specification's own range
    tree.writes.clear()
    assert tree.apply({"blockIO": {"weight": 10}}) == [("io.bfq.weight", "10")]


def test_unified_is_written_line_by_line(tree: Tree) -> None:
    written = tree.apply({"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2\n"}})
    assert written == [("io.max", "8:0 rbps=1"), ("io.max", "8:16 rbps=2")]


@pytest.mark.parametrize("key", ["../c/memory.max", "a/b.c", "nodot", ".", "..", "a.\n"])
def test_the_name_of_a_control_file_stays_a_name(tree: Tree, key: str) -> None:
    with pytest.raises(InvalidInput, match="not the name of a control file"):
        tree.apply({"unified": {key: "1"}})
    assert tree.writes == []


def test_accounts(tree: Tree) -> None:
    for name, text in {
        "memory.stat": "anon 7\nfile 50\nshmem 2\ninactive_file 30\nkernel 4",
        "memory.current": "100",
        "memory.max": "200",
        "memory.swap.max": "50",
        "cpu.stat": "usage_usec 3\nnr_periods 4\nthrottled_usec 1",
        "pids.max": "max",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n8:16 rbytes=1",
    }.items():
        (tree.group / name).write_text(text + "\n")
    found = stats.collect(str(tree.group), 6)
    memory = found["memory"]
    assert (memory["working_set"], memory["shared"], memory["cache"]) == (70, 2, 50)
    assert (memory["limit"], memory["swap_limit"]) == (200, 250)
    assert (memory["peak"], memory["oom_kills"]) == (None, 6)
    assert found["cpu"]["usage_ns"] == 3000 and found["cpu"]["throttled_ns"] == 1000
    assert found["pids"] == {"current": 0, "limit": None}
    assert found["io"] == {
        "read_bytes": 11,
        "write_bytes": 20,
        "reads": 1,
        "writes": 2,
        "devices": [[8, 0, "read", 10], [8, 0, "write", 20], [8, 16, "read", 1]],
    }
