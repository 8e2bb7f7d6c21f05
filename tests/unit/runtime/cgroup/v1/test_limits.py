"""linux.resources as what is written to the control files of v1, in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from estiva.errors import InvalidInput, LimitRefused, Unsupported
from estiva.runtime.cgroup import control
from estiva.runtime.cgroup.v1 import limits, stats


class Tree:
    """Directories in the place of hierarchies; `writes` is what control files were told, in order."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.writes: list[tuple[str, str]] = []
        self.refused: set[tuple[str, str]] = set()

    def place(self, controller: str) -> str:
        return f"{self.top}/{controller}"

    def file(self, name: str, content: str) -> None:
        path = self.top / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content + "\n")

    def put(self, path: str, value: str) -> None:
        entry = (path.removeprefix(f"{self.top}/"), value)
        if entry in self.refused:
            self.refused.remove(entry)
            raise OSError(22, "Invalid argument")
        self.writes.append(entry)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    made = Tree(tmp_path)
    monkeypatch.setattr(control, "put", made.put)
    monkeypatch.setattr(limits, "put", made.put)
    return made


def test_nothing_named_is_nothing_written(tree: Tree) -> None:
    limits.apply(tree.place, {"memory": {}, "cpu": None, "pids": {}, "blockIO": {}, "devices": []})
    assert tree.writes == []


@pytest.mark.parametrize(
    ("now", "first"),
    [("9223372036854771712", "memory.limit"), ("1000", "memory.memsw"), ("5000", "memory.limit")],
)
def test_of_memory_and_swap_what_grows_comes_first(tree: Tree, now: str, first: str) -> None:
    """The kernel refuses every moment in which memory and swap together would be less than memory."""
    tree.file("memory/memory.memsw.limit_in_bytes", now)
    limits.apply(tree.place, {"memory": {"limit": 3000, "swap": 4000}})
    assert len(tree.writes) == 2
    assert tree.writes[0][0].startswith(f"memory/{first}")


def test_unlimited_memory_takes_swap_along(tree: Tree) -> None:
    tree.file("memory/memory.memsw.limit_in_bytes", "1000")
    limits.apply(tree.place, {"memory": {"limit": -1}})
    assert tree.writes == [
        ("memory/memory.memsw.limit_in_bytes", "-1"),
        ("memory/memory.limit_in_bytes", "-1"),
    ]


def test_without_swap_accounting_memory_alone_is_limited(tree: Tree) -> None:
    limits.apply(tree.place, {"memory": {"limit": 3000, "swap": 4000, "swappiness": 0, "reservation": 5}})
    assert tree.writes == [
        ("memory/memory.limit_in_bytes", "3000"),
        ("memory/memory.soft_limit_in_bytes", "5"),
        ("memory/memory.swappiness", "0"),
    ]


def test_quota_and_period_in_the_order_that_the_kernel_takes(tree: Tree) -> None:
    cpu = {"quota": 5000, "period": 20000, "burst": 0}
    limits.apply(tree.place, {"cpu": cpu})
    burst, period, quota = (
        ("cpu/cpu.cfs_burst_us", "0"),
        ("cpu/cpu.cfs_period_us", "20000"),
        ("cpu/cpu.cfs_quota_us", "5000"),
    )
    assert tree.writes == [burst, period, quota]
    tree.writes.clear()
    tree.refused.add(period)  # the ratio would pass that of the cgroup above until the quota is set
    limits.apply(tree.place, {"cpu": cpu})
    assert tree.writes == [burst, quota, period]


def test_pids_huge_pages_and_the_rest(tree: Tree) -> None:
    tree.file("hugetlb/hugetlb.2MB.rsvd.limit_in_bytes", "0")
    tree.file("blkio/blkio.bfq.weight", "100")
    resources = {
        "pids": {"limit": -1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "blockIO": {
            "weight": 50,
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}],
        },
        "network": {"classID": 9, "priorities": [{"name": "eth0", "priority": 3}]},
        "rdma": {"mlx": {"hcaHandles": 1}},
    }
    limits.apply(tree.place, resources)
    assert set(tree.writes) == {
        ("pids/pids.max", "max"),
        ("hugetlb/hugetlb.2MB.rsvd.limit_in_bytes", "4096"),
        ("hugetlb/hugetlb.2MB.limit_in_bytes", "4096"),
        ("blkio/blkio.bfq.weight", "50"),
        ("blkio/blkio.throttle.read_bps_device", "8:0 7"),
        ("net_cls/net_cls.classid", "9"),
        ("net_prio/net_prio.ifpriomap", "eth0 3"),
        ("rdma/rdma.max", "mlx hca_handle=1"),
    }


@pytest.mark.parametrize(
    ("resources", "error", "words"),
    [
        ({"unified": {"memory.high": "1"}}, Unsupported, "needs cgroup v2"),
        (
            {"cpu": {"shares": 1}},
            LimitRefused,
            "cpu shares 1 is refused: the minimum is 2, the maximum 262144",
        ),
        ({"cpu": {"shares": 262145}}, LimitRefused, "the minimum is 2, the maximum 262144"),
        ({"cpu": {"shares": "1024"}}, InvalidInput, "cpu.shares is not a whole number"),
        ({"memory": []}, InvalidInput, "memory is not an object"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "rate": 1}]}},
            InvalidInput,
            "needs major and minor",
        ),
        (
            {"network": {"priorities": [{"name": "a b", "priority": 1}]}},
            InvalidInput,
            "needs name and priority",
        ),
        ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, InvalidInput, "pageSize"),
    ],
)
def test_what_is_wrong_is_named(
    tree: Tree, resources: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        limits.apply(tree.place, resources)
    assert tree.writes == []


def test_accounts(tree: Tree) -> None:
    tree.file(
        "memory/memory.stat", "cache 5\ntotal_cache 50\ntotal_inactive_file 30\ntotal_rss 7\ntotal_shmem 2"
    )
    tree.file("memory/memory.usage_in_bytes", "100")
    tree.file("memory/memory.limit_in_bytes", "9223372036854771712")
    tree.file("cpuacct/cpuacct.usage", "123")
    tree.file("cpu/cpu.stat", "nr_periods 4\nnr_throttled 2\nthrottled_time 9")
    tree.file("pids/pids.current", "3")
    tree.file("pids/pids.max", "max")
    tree.file("blkio/blkio.throttle.io_service_bytes", "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\nTotal 31")
    found = stats.collect(tree.place, 6)
    memory = found["memory"]
    assert (memory["usage"], memory["working_set"], memory["cache"], memory["shared"]) == (100, 70, 50, 2)
    assert (memory["limit"], memory["peak"], memory["oom_kills"]) == (None, None, 6)
    assert found["cpu"]["usage_ns"] == 123 and found["cpu"]["throttled_ns"] == 9
    assert found["pids"] == {"current": 3, "limit": None}
    assert found["io"] == {
        "read_bytes": 11,
        "write_bytes": 20,
        "reads": 0,
        "writes": 0,
        "devices": [[8, 0, "Read", 10], [8, 0, "Write", 20], [8, 16, "Read", 1]],
    }
