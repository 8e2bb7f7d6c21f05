"""Limits with their use, as both versions of cgroups tell them."""

import pytest

from estiva.runtime.cgroup.layout import Layout
from estiva.runtime.cgroup.v1.group import CgroupV1
from estiva.runtime.cgroup.v2.group import CgroupV2
from estiva.view import limits

PSI = "some avg10=12.50 avg60=3.00 avg300=0.00 total=1\nfull avg10=2.00 avg60=1.00 avg300=0.00 total=1\n"
V2 = {
    "memory.current": "33554432", "memory.max": "67108864", "memory.peak": "50331648", "memory.swap.max": "max",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2", "memory.stat": "anon 1\ninactive_file 1048576\nshmem 4096",
    "cpu.max": "50000 100000", "cpu.weight": "200", "cpu.stat": "usage_usec 2500000\nnr_periods 10\nnr_throttled 5\nthrottled_usec 100",
    "pids.current": "4", "pids.max": "50", "pids.events": "max 3", "pids.peak": "40", "cpuset.cpus": "0", "cpuset.cpus.effective": "0",
    "io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2", "memory.pressure": PSI, "cpu.pressure": PSI, "cgroup.freeze": "1",
}  # fmt: skip
V1 = {
    "memory": {
        "memory.usage_in_bytes": "33554432", "memory.limit_in_bytes": "67108864", "memory.failcnt": "7", "memory.max_usage_in_bytes": "50331648",
        "memory.stat": "total_inactive_file 1048576\ntotal_shmem 4096", "memory.memsw.limit_in_bytes": "134217728",
        "memory.oom_control": "oom_kill_disable 0\noom_kill 2",
    },
    "cpu": {
        "cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000", "cpu.shares": "2048",
        "cpu.stat": "nr_periods 10\nnr_throttled 5\nthrottled_time 100000",
    },
    "cpuacct": {"cpuacct.usage": "2500000000"},
    "cpuset": {"cpuset.cpus": "0", "cpuset.effective_cpus": "0"},
    "pids": {"pids.current": "4", "pids.max": "50", "pids.events": "max 3", "pids.peak": "40"},
    "unified": {"memory.pressure": PSI, "cpu.pressure": PSI},
}  # fmt: skip


def write(folder, files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


@pytest.fixture(params=["v1", "v2"])
def told(request, tmp_path, monkeypatch):
    if request.param == "v2":
        write(tmp_path / "a/b", V2)
        group = CgroupV2("/a/b", Layout("v2", (str(tmp_path),), {}))
    else:
        for name, files in V1.items():
            write(tmp_path / name / "a/b", files)
        where = {name: f"{tmp_path}/{name}" for name in V1 if name != "unified"}
        group = CgroupV1("/a/b", Layout("v1", tuple(where.values()), where, f"{tmp_path}/unified"))
    monkeypatch.setattr(limits.factory, "open", lambda path: group)
    return limits.gather({"cgroup": "/a/b"})


def test_each_limit_with_its_use(told):
    rows = {each.name: each for each in told.limits}
    memory, cpu, pids = rows["memory"], rows["cpu"], rows["processes"]
    assert (memory.limit, memory.used, memory.peak, memory.met) == (64 << 20, 31 << 20, 48 << 20, 7)
    assert memory.says.startswith("48 %; its limit was met 7 times; 2 processes killed")
    assert (cpu.limit, cpu.used, cpu.met) == (0.5, 2.5, 5)
    assert (
        "2.5 s of processor time" in cpu.says
        and "50 % of the periods" in cpu.says
        and "weight 20" in cpu.says
    )
    assert (pids.limit, pids.used, pids.peak, pids.met) == (
        50,
        4,
        40,
        3,
    ) and "a fork was refused 3 times" in pids.says
    assert rows["cpuset"].says == "on processors 0"


def test_pressure_and_what_is_frozen(told):
    assert [(each.resource, each.some10, each.full60) for each in told.pressure] == [
        ("cpu", 12.5, 1.0),
        ("memory", 12.5, 1.0),
    ]
    assert told.frozen == (told.version == "v2")
