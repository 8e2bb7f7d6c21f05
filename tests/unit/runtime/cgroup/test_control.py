"""Control files, fields of linux.resources, and the words for both."""

from __future__ import annotations

import pytest

from estiva.errors import InvalidInput
from estiva.runtime.cgroup.control import hugepage_name, pairs, rdma, size


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
