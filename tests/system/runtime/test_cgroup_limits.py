"""Limits: the kernel holds them, and what it refuses is named. Skips by what the machine has, never
passes."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from typing import Any

import pytest

import cgroupkit
from cgroupkit import MAKE, MIB, file, reap, spawn, value
from estiva.errors import InvalidInput, LimitRefused, Unsupported
from estiva.runtime.cgroup import factory, version, warnings

make = cgroupkit.make


def test_memory_limit_kills_and_the_kill_is_counted(make: MAKE) -> None:
    group = make({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    assert group.oom_kills() == 0

    def allocate() -> int:
        held = []
        for _ in range(64):
            held.append(b"x" * MIB)
        return 0

    assert reap(spawn(group, allocate)) == -signal.SIGKILL
    assert group.oom_kills() == 1
    memory = group.stats()["memory"]
    assert memory["limit"] == 16 * MIB
    assert memory["oom_kills"] == 1
    if memory["peak"] is not None:
        assert 12 * MIB < memory["peak"] <= 16 * MIB


def test_pids_limit_stops_a_fork_loop(make: MAKE) -> None:
    group = make({"pids": {"limit": 5}})

    def fork_on() -> int:
        made = 0
        for _ in range(20):
            try:
                if os.fork() == 0:
                    time.sleep(1000)
                    os._exit(0)
                made += 1
            except BlockingIOError:
                break
        return made

    assert reap(spawn(group, fork_on)) == 4
    assert group.stats()["pids"] == {"current": 4, "limit": 5}
    group.kill()


def test_pids_without_limit_and_zero(make: MAKE) -> None:
    group = make({"pids": {"limit": -1}})
    assert value(group, ("pids", "pids.max"), "pids.max") == "max"
    group.update({"pids": {"limit": 0}})
    assert value(group, ("pids", "pids.max"), "pids.max") == "0"
    assert reap(spawn(group, lambda: 7)) == 7


def test_cpu_quota_period_and_burst_are_set(make: MAKE) -> None:
    group = make({"cpu": {"quota": 50000, "period": 100000, "burst": 20000}})
    if version() == "v1":
        assert value(group, ("cpu", "cpu.cfs_quota_us"), "") == "50000"
        assert value(group, ("cpu", "cpu.cfs_period_us"), "") == "100000"
        assert value(group, ("cpu", "cpu.cfs_burst_us"), "") == "20000"
    else:
        assert value(group, ("", ""), "cpu.max") == "50000 100000"
        assert value(group, ("", ""), "cpu.max.burst") == "20000"
    group.update({"cpu": {"quota": 25000, "period": 50000}})
    group.update({"cpu": {"burst": 0, "quota": 10000}})  # a quota below the burst that stood
    if version() == "v1":
        assert value(group, ("cpu", "cpu.cfs_quota_us"), "") == "10000"
    else:
        assert value(group, ("", ""), "cpu.max") == "10000 50000"
    group.update({"cpu": {"quota": -1}})
    expected = "-1" if version() == "v1" else "max 50000"
    assert value(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max") == expected


def test_cpu_quota_throttles(make: MAKE) -> None:
    """2 ms of every 50: even a machine with much else to do gives more than that."""
    group = make({"cpu": {"quota": 2000, "period": 50000}})
    file(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max")

    def burn() -> int:
        while True:
            pass

    begin = time.monotonic()
    pid = spawn(group, burn)
    while True:
        cpu = group.stats()["cpu"]
        elapsed = time.monotonic() - begin
        if (
            elapsed > 0.5 and cpu["throttled_periods"] > 3 and cpu["user_ns"] > 0
        ):  # v1 counts user time by ticks
            break
        assert elapsed < 120, cpu
        time.sleep(0.02)
    group.kill()
    assert reap(pid) == -signal.SIGKILL
    assert cpu["throttled_ns"] > 0
    assert 0 < cpu["usage_ns"] < elapsed * 1e9 / 2


@pytest.mark.parametrize(("shares", "weight"), [(2, "1"), (1024, "100"), (2048, "174"), (262144, "10000")])
def test_cpu_shares_are_set(make: MAKE, shares: int, weight: str) -> None:
    group = make({"cpu": {"shares": shares}})
    expected = str(shares) if version() == "v1" else weight
    assert value(group, ("cpu", "cpu.shares"), "cpu.weight") == expected


def test_shares_of_one_to_three_divide_a_cpu(make: MAKE) -> None:
    cpu = min(os.sched_getaffinity(0))
    groups = [make({"cpu": {"shares": shares}}, f"g{shares}") for shares in (512, 1536)]
    file(groups[0], ("cpu", "cpu.shares"), "cpu.weight")
    start, go = os.pipe()

    def burn() -> int:
        os.sched_setaffinity(0, {cpu})
        os.read(start, 1)
        while True:
            pass

    pids = [spawn(group, burn) for group in groups]
    while not all(group.processes() for group in groups):
        time.sleep(0.002)
    before = [group.stats()["cpu"]["usage_ns"] for group in groups]
    os.write(go, b"++")
    used = [0, 0]
    deadline = time.monotonic() + 120
    while (
        sum(used) < 1e9 and time.monotonic() < deadline
    ):  # a second of that cpu, however long others hold it
        time.sleep(0.05)
        used = [group.stats()["cpu"]["usage_ns"] - old for group, old in zip(groups, before, strict=True)]
    for group, pid in zip(groups, pids, strict=True):
        group.kill()
        reap(pid)
    os.close(start)
    os.close(go)
    assert 1.8 < used[1] / used[0] < 5.0, used


def test_cpuset_pins(make: MAKE) -> None:
    cpu = max(os.sched_getaffinity(0))
    try:
        group = make({"cpu": {"cpus": str(cpu), "mems": "0"}})
    except LimitRefused as error:
        if "no such limit" in str(error):
            pytest.skip("needs the cpuset controller")
        raise
    assert value(group, ("cpuset", "cpuset.cpus"), "cpuset.cpus") == str(cpu)
    assert reap(spawn(group, lambda: 0 if os.sched_getaffinity(0) == {cpu} else 1)) == 0


def test_memory_goes_up_and_down_with_swap(make: MAKE) -> None:
    group = make({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
    file(group, ("memory", "memory.memsw.limit_in_bytes"), "memory.swap.max")

    def limits() -> tuple[int | None, int | None]:
        memory = group.stats()["memory"]
        return memory["limit"], memory["swap_limit"]

    assert limits() == (64 * MIB, 64 * MIB)
    group.update({"memory": {"limit": 128 * MIB, "swap": 256 * MIB}})
    assert limits() == (128 * MIB, 256 * MIB)
    group.update({"memory": {"limit": 32 * MIB, "swap": 48 * MIB}})
    assert limits() == (32 * MIB, 48 * MIB)
    if version() == "v2":
        assert value(group, ("", ""), "memory.swap.max") == str(16 * MIB)
    group.update({"memory": {"limit": -1, "swap": -1}})
    assert limits() == (None, None)
    group.update({"memory": {"reservation": 8 * MIB}})
    got = value(group, ("memory", "memory.soft_limit_in_bytes"), "memory.low")
    assert got == str(8 * MIB)


def test_swap_less_than_memory_is_refused(make: MAKE) -> None:
    with pytest.raises(LimitRefused, match="memory and swap limit 32 MiB"):
        make({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}})


def test_a_limit_below_what_is_in_use_is_refused(make: MAKE) -> None:
    group = make({"memory": {"limit": 64 * MIB}})
    ready, told = os.pipe()

    def hold() -> int:
        held = b"x" * (24 * MIB)
        os.write(told, b"+")
        time.sleep(1000)
        return len(held)

    pid = spawn(group, hold)
    os.close(told)
    assert os.read(ready, 1) == b"+"
    os.close(ready)
    # On v2 the kernel would take the limit and kill; the specification has a field to ask for v1's way.
    with pytest.raises(LimitRefused, match="memory limit 8 MiB .* in use already"):
        group.update({"memory": {"limit": 8 * MIB, "checkBeforeUpdate": True}})
    assert group.stats()["memory"]["limit"] == 64 * MIB
    assert group.processes() == [pid]
    group.kill()
    reap(pid)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpu": {"shares": 1}}, "cpu shares 1 "),
        ({"cpu": {"quota": 10, "period": 100000}}, "cpu (quota|period) 10"),
        ({"cpu": {"period": 2_000_000}}, "cpu period 2000000"),
        ({"cpu": {"cpus": "4095"}}, "cpuset cpus 4095"),
        ({"cpu": {"cpus": "nonsense"}}, "cpuset cpus nonsense"),
        ({"pids": {"limit": 1 << 40}}, "pids limit 1099511627776"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 9999, "minor": 0, "rate": 1}]}},
            "device read rate",
        ),
        ({"rdma": {"none0": {"hcaHandles": 1}}}, "rdma limit none0 hca_handle=1"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "3MB huge page limit 1 bytes"),
    ],
)
def test_what_the_kernel_refuses_is_named(make: MAKE, resources: dict[str, Any], message: str) -> None:
    with pytest.raises(
        LimitRefused, match=message + ".*(refused by the kernel|below|the minimum is 2, the maximum 262144)"
    ):
        make(resources, "refused")
    # Nothing is left of the attempt.
    parent = os.path.dirname(make().path)
    assert not factory.open(parent + "/refused").exists()


@pytest.mark.parametrize(
    "resources",
    [
        {"memory": {"limit": "64m"}},
        {"memory": []},
        {"pids": {"limit": True}},
        {"cpu": {"cpus": 1}},
        {"devices": {}},
        {"devices": [{"allow": "yes"}]},
        {"devices": [{"allow": True, "type": "x"}]},
        {"devices": [{"allow": True, "access": "rwx"}]},
        {"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]},
        {"rdma": {"a b": {"hcaHandles": 1}}},
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "rate": 1}]}},
    ],
)
def test_a_malformed_field_is_named(make: MAKE, resources: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"linux\.resources\.\w+"):
        make(resources)


def test_working_set_leaves_idle_file_pages_out(make: MAKE, tmp_path: Any) -> None:
    group = make()
    path = "/var/tmp/estiva-test-" + os.urandom(6).hex()

    def write_once() -> int:
        with open(path, "wb") as out:
            out.write(b"x" * (8 * MIB))
            os.fsync(out.fileno())
        return 0

    try:
        assert reap(spawn(group, write_once)) == 0
        memory = group.stats()["memory"]
    finally:
        os.unlink(path)
    assert memory["cache"] >= 7 * MIB
    assert memory["usage"] >= 7 * MIB
    assert memory["working_set"] < memory["usage"] - 6 * MIB


def test_unified_files(make: MAKE) -> None:
    if version() == "v1":
        with pytest.raises(Unsupported, match="v2"):
            make({"unified": {"pids.max": "7"}})
        return
    group = make({"unified": {"pids.max": "7", "memory.high": str(64 * MIB)}})
    assert value(group, ("", ""), "pids.max") == "7"
    assert value(group, ("", ""), "memory.high") == str(64 * MIB)
    with pytest.raises(LimitRefused, match="nothing.max 1"):
        group.update({"unified": {"nothing.max": "1"}})
    for key in ("../pids.max", "pids", "a/b.c", ".."):
        with pytest.raises(InvalidInput):
            group.update({"unified": {key: "1"}})


def test_v1_only_options_pass_with_a_warning_on_v2(make: MAKE) -> None:
    resources = {"memory": {"swappiness": 10, "disableOOMKiller": True}}
    group = make(resources)
    if version() == "v1":
        assert warnings(resources) == []
        assert value(group, ("memory", "memory.swappiness"), "") == "10"
        assert "oom_kill_disable 1" in value(group, ("memory", "memory.oom_control"), "")
    else:
        assert len(warnings(resources)) == 2
    assert any("kernel memory" in line for line in warnings({"memory": {"kernel": 1 << 30}}))


def test_stats_have_the_same_shape_everywhere(make: MAKE) -> None:
    group = make({"pids": {"limit": 9}})
    shared = mmap.mmap(-1, 4096)

    def mark() -> int:
        shared[:4] = struct.pack("i", os.getpid())
        return 0

    reap(spawn(group, mark))
    stats = group.stats()
    assert set(stats) == {"memory", "cpu", "pids", "io"}
    assert set(stats["memory"]) == {
        *("usage", "working_set", "cache", "shared", "anonymous", "inactive_file", "kernel"),
        *("swap", "limit", "swap_limit", "peak", "oom_kills", "stat"),
    }
    assert set(stats["cpu"]) == {
        *("usage_ns", "user_ns", "system_ns", "periods", "throttled_periods", "throttled_ns")
    }
    assert set(stats["io"]) == {"read_bytes", "write_bytes", "reads", "writes", "devices"}
    assert stats["memory"]["limit"] is None
    assert stats["cpu"]["usage_ns"] > 0
    assert stats["pids"] == {"current": 0, "limit": 9}
