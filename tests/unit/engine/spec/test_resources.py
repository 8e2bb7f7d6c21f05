"""Limits: what can't be or doesn't go together, in Docker's words, and the OCI linux.resources of the rest."""

import os

import pytest

from estiva.engine.spec import oci_config, resources
from estiva.errors import InvalidInput

MIB = 1 << 20


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Four cpus, of which 0-2 are online, and one memory node."""
    for name, online in (("cpu", "0-2\n"), ("node", "0\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "online").write_text(online)
    monkeypatch.setattr(resources, "ONLINE", f"{tmp_path}/{{}}/online")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


REFUSED = [
    ({"Memory": 6 * MIB - 1}, "minimum memory limit allowed is 6MB"),
    ({"Memory": -1}, "minimum memory limit allowed is 6MB"),
    ({"MemorySwap": 64 * MIB}, "you should always set the memory limit when using memory swap limit"),
    ({"Memory": 64 * MIB, "MemorySwap": -2}, "invalid memory swap limit -2"),
    ({"Memory": 64 * MIB, "MemorySwap": 32 * MIB}, "minimum memory swap limit should be larger than memory limit"),
    ({"MemoryReservation": 1}, "minimum memory reservation allowed is 6MB"),
    ({"Memory": 64 * MIB, "MemoryReservation": 65 * MIB}, "can not be less than memory reservation limit"),
    ({"MemorySwappiness": 101}, "invalid value: 101. valid memory swappiness range is 0-100"),
    ({"MemorySwappiness": -2}, "invalid value: -2. valid memory swappiness range is 0-100"),
    ({"KernelMemory": -5}, "invalid kernel memory limit -5"),
    ({"NanoCpus": 10**9, "CpuPeriod": 1000}, "--cpus and --cpu-period or --cpu-quota cannot both be set"),
    ({"NanoCpus": 10**9, "CpuQuota": -1}, "--cpus and --cpu-period or --cpu-quota cannot both be set"),
    ({"NanoCpus": 10**7 - 1}, "range of cpus is from 0.01 to 4.00, as there are only 4 cpus available"),
    ({"NanoCpus": 4 * 10**9 + 1}, "range of cpus is from 0.01 to 4.00"),
    ({"NanoCpus": -1}, "range of cpus is from 0.01 to 4.00"),
    ({"CpuPeriod": 999}, "cpu cfs period can not be less than 1ms (1000) or larger than 1s (1000000)"),
    ({"CpuPeriod": 1_000_001}, "cpu cfs period can not be less than 1ms (1000) or larger than 1s (1000000)"),
    ({"CpuQuota": 999}, "cpu cfs quota can not be less than 1ms (1000)"),
    ({"CpuQuota": -2}, "cpu cfs quota can not be less than 1ms (1000)"),
    ({"CpuShares": 1}, "invalid cpu shares (1): the minimum is 2, the maximum 262144"),
    ({"CpuShares": -2}, "invalid cpu shares (-2): the minimum is 2, the maximum 262144"),
    ({"CpuShares": 262145}, "invalid cpu shares (262145): the minimum is 2, the maximum 262144"),
    ({"CpuRealtimeRuntime": 5000, "CpuRealtimePeriod": 4000}, "cannot be higher than cpu real-time period"),
    ({"CpuRealtimeRuntime": 1_000_001}, "cannot be higher than cpu real-time period"),
    ({"CpuRealtimeRuntime": -1}, "cannot be higher than cpu real-time period"),
    ({"CpuRealtimePeriod": -1}, "cannot be higher than cpu real-time period"),
    ({"CpusetCpus": "3"}, "requested CPUs are not available - requested 3, available: 0-2"),
    ({"CpusetCpus": "0-9999"}, "requested CPUs are not available - requested 0-9999, available: 0-2"),
    ({"CpusetCpus": "x"}, "invalid value x for cpuset cpus"),
    ({"CpusetCpus": "0\n1"}, r"invalid value 0\n1 for cpuset cpus"),
    ({"CpusetCpus": "2-1"}, "invalid value 2-1 for cpuset cpus"),
    ({"CpusetMems": "1"}, "requested memory nodes are not available - requested 1, available: 0"),
    ({"OomScoreAdj": 1001}, "invalid value 1001, range for oom score adj is [-1000, 1000]"),
    ({"OomScoreAdj": -1001}, "invalid value -1001, range for oom score adj is [-1000, 1000]"),
    ({"PidsLimit": 4_194_305}, "invalid pids limit 4194305, the most is 4194304"),
    ({"ShmSize": -1}, "shm size can not be less than 0"),
    ({"BlkioWeight": 9}, "range of blkio weight is from 10 to 1000"),
    ({"BlkioWeight": -1}, "range of blkio weight is from 10 to 1000"),
    ({"BlkioWeightDevice": [{"Path": "/dev/x", "Weight": 1001}]}, "invalid weight for device: /dev/x:1001"),
    ({"BlkioWeightDevice": [{"Path": "/dev/x", "Weight": 0}]}, "invalid weight for device: /dev/x:0"),
    ({"DeviceCgroupRules": ["c 1:3 x"]}, "'c 1:3 x' is not a device rule"),
    ({"DeviceCgroupRules": ["c 1:" + "9" * 5000 + " r"]}, "is not a device rule"),
    ({"CgroupParent": "a--b.slice"}, "a--b.slice is not the name of a slice"),
    ({"CgroupParent": "/a\nb"}, "is not the path of a cgroup"),
    ({"Isolation": "hyperv"}, "invalid isolation (hyperv) on linux: only default is known"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "message"), REFUSED, ids=[str(row[0])[:60] for row in REFUSED])
def test_refused(host, message):
    with pytest.raises(InvalidInput) as caught:
        resources.check(host)
    assert message in caught.value.message


TAKEN = [
    {},
    dict.fromkeys(
        ("Memory", "MemorySwap", "CpuShares", "NanoCpus", "CpuQuota", "PidsLimit", "BlkioWeight"), 0
    ),
    dict.fromkeys(
        ("Memory", "MemorySwappiness", "PidsLimit", "DeviceCgroupRules", "CgroupParent", "Isolation")
    ),
    {"Memory": 6 * MIB, "MemorySwap": 6 * MIB, "MemoryReservation": 6 * MIB},
    {"Memory": 64 * MIB, "MemorySwap": -1},
    {"MemorySwappiness": -1},
    {"NanoCpus": 10**7},
    {"NanoCpus": 4 * 10**9},
    {"CpuPeriod": 1000, "CpuQuota": -1},
    {"CpuShares": 2},
    {"CpuShares": 262144},
    {"CpuRealtimeRuntime": 950_000},
    {"CpusetCpus": "0-1,2", "CpusetMems": "0"},
    {"BlkioWeightDevice": [{"Path": "/dev/x", "Weight": 10}, {"Path": "/dev/x", "Weight": 1000}]},
    {"OomScoreAdj": -1000, "PidsLimit": -1, "BlkioWeight": 10},
    {
        "DeviceCgroupRules": ["a *:* rwm", "c 4294967295:0 r"],
        "Isolation": "default",
        "CgroupParent": "a-b.slice",
    },
]


@pytest.mark.parametrize("host", TAKEN, ids=[str(host)[:60] for host in TAKEN])
def test_taken(host):
    resources.check(host)


def test_without_numa_there_is_one_node(monkeypatch):
    monkeypatch.setattr(resources, "ONLINE", "/nosuch/{}")
    resources.check({"CpusetMems": "0"})
    with pytest.raises(InvalidInput, match="requested 1, available: 0"):
        resources.check({"CpusetMems": "1"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", {0}),
        ("0-3,7", {0, 1, 2, 3, 7}),
        ("1,1", {1}),
        ("99999", {resources.MAX_LISTED}),
        ("0-999999", {resources.MAX_LISTED}),  # more than any machine has: not counted out
    ],
)
def test_lists_of_the_kernel(text, expected):
    assert resources.numbers(text) == expected


@pytest.mark.parametrize(
    "text", ["", ",", "1,", "-", "1-", "-1", "1-2-3", "x", "1 2", "0\n1", "٣", "9" * 5000, "1-" + "9" * 5000]
)
def test_what_is_no_list(text):
    assert resources.numbers(text) is None


OCI = [
    ({"Memory": 64 * MIB}, "memory", {"limit": 64 * MIB, "swap": 128 * MIB}),
    ({"Memory": 64 * MIB, "MemorySwap": -1}, "memory", {"limit": 64 * MIB, "swap": -1}),
    ({"MemorySwap": -1}, "memory", {"swap": -1}),
    ({"MemoryReservation": 7 * MIB, "KernelMemory": 5}, "memory", {"reservation": 7 * MIB, "kernel": 5}),
    ({"MemorySwappiness": 0, "OomKillDisable": True}, "memory", {"swappiness": 0, "disableOOMKiller": True}),
    ({"MemorySwappiness": -1, "OomKillDisable": False}, "memory", None),
    ({"NanoCpus": 1_500_000_000}, "cpu", {"period": 100_000, "quota": 150_000}),
    ({"NanoCpus": 10**7}, "cpu", {"period": 100_000, "quota": 1000}),
    (
        {"CpuQuota": 5000, "CpuPeriod": 10_000, "CpuShares": 5},
        "cpu",
        {"quota": 5000, "period": 10_000, "shares": 5},
    ),
    ({"CpusetCpus": "0", "CpusetMems": "0"}, "cpu", {"cpus": "0", "mems": "0"}),
    ({"CpuRealtimeRuntime": 1, "CpuRealtimePeriod": 2}, "cpu", {"realtimeRuntime": 1, "realtimePeriod": 2}),
    ({"BlkioWeight": 10}, "blockIO", {"weight": 10}),
    ({"PidsLimit": 5}, "pids", {"limit": 5}),
    ({"PidsLimit": -1}, "pids", {"limit": -1}),
    ({"PidsLimit": 0}, "pids", {"limit": 2048}),
    ({"PidsLimit": None}, "pids", {"limit": 2048}),
]


@pytest.mark.parametrize(("host", "part", "expected"), OCI, ids=[str(row[0]) for row in OCI])
def test_oci_resources(host, part, expected):
    assert resources.oci(host).get(part) == expected
    assert oci_config.resources(host).get(part) == expected


def test_devices_are_allowed_by_rule():
    default = resources.oci({})["devices"]
    assert default[0] == {"allow": False, "access": "rwm"}
    given = resources.oci(
        {"DeviceCgroupRules": ["c 1:* r"], "Devices": [{"PathOnHost": "/dev/null", "CgroupPermissions": "r"}]}
    )
    assert given["devices"] == [
        *default,
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"},
        {"allow": True, "type": "c", "major": 1, "access": "r"},
    ]
    assert resources.oci({"Privileged": True})["devices"] == [{"allow": True, "access": "rwm"}]


def test_throttles_need_a_block_device():
    for key in ("BlkioDeviceReadBps", "BlkioDeviceWriteIOps"):
        with pytest.raises(InvalidInput, match="/dev/null is not a block device"):
            resources.oci({key: [{"Path": "/dev/null", "Rate": 1}]})
        with pytest.raises(InvalidInput, match="device /dev/nosuch can't be used: no such file"):
            resources.oci({key: [{"Path": "/dev/nosuch", "Rate": 1}]})


def test_throttles(monkeypatch):
    from estiva.engine.spec import devices

    monkeypatch.setattr(devices, "block_device", lambda path: {"major": 8, "minor": 0})
    host = {
        "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 20}],
        "BlkioDeviceWriteBps": [{"Path": "/dev/sda", "Rate": 5}],
    }
    assert resources.oci(host)["blockIO"] == {
        "weightDevice": [{"major": 8, "minor": 0, "weight": 20}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 5}],
    }


def test_what_has_no_effect_is_warned_of():
    assert any("OOM killer is disabled" in line for line in resources.warnings({"OomKillDisable": True}))
    assert not any(
        "OOM killer" in line for line in resources.warnings({"OomKillDisable": True, "Memory": 64 * MIB})
    )
    assert resources.warnings({"PidsLimit": 5}) == []
