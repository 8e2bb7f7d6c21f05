"""A config.json is checked as a whole: each wrong value is named by the path of its field."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import bundle
from estiva.errors import InvalidInput
from estiva.oci.rules import NUMBERS, Choice, Text
from estiva.runtime.bundle import schema, validate
from estiva.runtime.process import labels

MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USER = [{"type": "mount"}, {"type": "user"}]
NOTIFY = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}


def put(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    where = spec
    *keys, last = path.split(".")
    for key in keys:
        where = where.setdefault(key, {})
    where[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("ociVersion", None, "ociVersion is missing"),
        ("root", None, "root is missing"),
        ("root.path", 5, "root.path: 5 is not a string"),
        ("hostname", ["x"], "hostname: a list is not a string"),
        ("annotations", {"a": 1}, 'annotations["a"]: 1 is not a string'),
        ("process.args", [], "process.args is empty"),
        ("process.args", ["a", 1], "process.args[1]: 1 is not a string"),
        ("process.args", ["a\0"], 'process.args[0]: "a\\x00" is not a string'),
        ("process.cwd", "tmp", 'process.cwd: "tmp" is not an absolute path'),
        ("process.terminal", "yes", 'process.terminal: "yes" is not true or false'),
        ("process.terminal", 1, "process.terminal: 1 is not true or false"),
        ("process.user", {"uid": -1}, "process.user.uid: -1 is not a number from 0 to 4294967294"),
        ("process.user", {"uid": True}, "process.user.uid: true is not a number"),
        ("process.user", {"umask": 512}, "process.user.umask: 512"),
        ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], 'rlimits[0].type: "RLIMIT_X" is not a res'),
        ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1}], "process.rlimits[0].hard is missing"),
        ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], "[0].soft: 2 is above the hard limit 1"),
        ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2, "[1].type: RLIMIT_CORE is given twice"),
        ("process.oomScoreAdj", 1001, "process.oomScoreAdj: 1001"),
        ("process.scheduler", {"policy": "SCHED_MAGIC"}, 'process.scheduler.policy: "SCHED_MAGIC" is not a sch'),
        ("process.scheduler", {"policy": "SCHED_RR", "flags": ["X"]}, 'process.scheduler.flags[0]: "X"'),
        ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8}, "process.ioPriority.priority: 8"),
        ("process.execCPUAffinity", {"initial": "0-x"}, 'process.execCPUAffinity.initial: "0-x" is not a list'),
        ("mounts", [{"source": "/"}], "mounts[0].destination is missing"),
        ("mounts", [{"destination": "/", "options": "ro"}], 'mounts[0].options: "ro" is not a list'),
        ("mounts", [{"destination": "/", "uidMappings": [{"hostID": 1}]}], "mounts[0].uidMappings[0].containerID is mi"),
        ("hooks.poststop", [{"path": "x"}], 'hooks.poststop[0].path: "x" is not an absolute path'),
        ("hooks.prestart", [{"path": "/x", "timeout": 0}], "hooks.prestart[0].timeout: 0"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "foo"}], 'linux.namespaces[1].type: "foo" is not a kind of'),
        ("linux.namespaces", [{"type": "pid"}] * 2, "linux.namespaces[1].type: the pid namespace is given twice"),
        ("linux.namespaces", [{"type": "pid", "path": "x"}], 'linux.namespaces[0].path: "x" is not an absolute'),
        ("linux.namespaces", USER, "linux.uidMappings is missing"),
        ("linux.uidMappings", MAP, "linux.uidMappings: there is no user namespace"),
        ("linux.timeOffsets", {"monotonic": {"secs": 1}}, "there is no new time namespace"),
        ("linux.devices", [{"type": "c", "path": "/x", "major": 1}], "linux.devices[0].minor is missing"),
        ("linux.devices", [{"type": "x", "path": "/x"}], 'linux.devices[0].type: "x" is not a kind of device'),
        ("linux.maskedPaths", ["proc"], 'linux.maskedPaths[0]: "proc" is not an absolute path'),
        ("linux.readonlyPaths", [None], "linux.readonlyPaths[0]: "),
        ("linux.rootfsPropagation", "public", 'linux.rootfsPropagation: "public" is not a propagation'),
        ("linux.personality", {"domain": "BSD"}, 'linux.personality.domain: "BSD" is not a personality'),
        ("linux.personality", {"domain": "LINUX", "flags": ["X"]}, 'linux.personality.flags[0]: "X"'),
        ("linux.sysctl", {"net.x": 1}, 'linux.sysctl["net.x"]: 1 is not a string'),
        ("linux.intelRdt", {"closID": "../x"}, 'linux.intelRdt.closID: "../x"'),
        ("linux.intelRdt", {"memBwSchema": "L3:0=1"}, 'linux.intelRdt.memBwSchema: "L3:0=1" is not one line'),
        ("linux.memoryPolicy", {"mode": "MPOL_X"}, 'linux.memoryPolicy.mode: "MPOL_X" is not a memory policy'),
        ("linux.seccomp", {"defaultAction": "KILL"}, 'linux.seccomp.defaultAction: "KILL" is not a seccomp action'),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}, 'linux.seccomp.flags[0]: "X"'),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "defaultErrnoRet: SCMP_ACT_ALLOW"),
        ("linux.seccomp", NOTIFY, "linux.seccomp.listenerPath is missing"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_LOG", "listenerMetadata": "x"}, "there is no listenerPath"),
        ("linux.resources", {"devices": [{"access": "r"}]}, "linux.resources.devices[0].allow is missing"),
        ("linux.resources", {"devices": [{"allow": True, "access": "x"}]}, 'devices[0].access: "x" is not made of r, w'),
        ("linux.resources", {"memory": {"limit": "1g"}}, 'linux.resources.memory.limit: "1g" is not a number'),
        ("linux.resources", {"memory": {"limit": 1.5}}, "linux.resources.memory.limit: 1.5 is not a number"),
        ("linux.resources", {"cpu": {"cpus": "a"}}, 'linux.resources.cpu.cpus: "a" is not a list such as 0-3,7'),
        ("linux.resources", {"cpu": {"quota": 5, "burst": 6}}, "cpu.burst: 6 is above the quota 5"),
        ("linux.resources", {"hugepageLimits": [{"pageSize": "2", "limit": 1}]}, 'hugepageLimits[0].pageSize: "2"'),
        ("linux.resources", {"rdma": {"m": {}}}, 'linux.resources.rdma["m"]: neither hcaHandles nor hcaObjects'),
        ("linux.resources", {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}, "weightDevice[0]: neither"),
        ("linux.resources", {"blockIO": {"throttleReadBpsDevice": [{"major": 8}]}}, "Device[0].minor is missing"),
        ("linux.resources", {"unified": {"io.max": 5}}, 'linux.resources.unified["io.max"]: 5 is not a string'),
        ("linux.resources", {"network": {"classID": -1}}, "linux.resources.network.classID: -1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(path: str, value: Any, error: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate.config(put(bundle.config("true"), path, value))
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_config_passes() -> None:
    spec = bundle.config("true", rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": (1 << 64) - 1}])
    spec["process"] |= {
        "consoleSize": "is ignored without a terminal", "terminal": False, "user": {"uid": 1, "gid": 2},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5}, "apparmorProfile": "", "oomScoreAdj": -1000,
        "execCPUAffinity": {"initial": "0-3,7", "final": ""},
    }  # fmt: skip
    spec["linux"] |= {
        "resources": {
            "memory": {"limit": -1, "swappiness": (1 << 64) - 1}, "pids": {"limit": 0},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "rdma": {"mlx5_1": {"hcaHandles": 3}},
            "devices": [{"allow": False}], "cpu": {"cpus": "0-1", "quota": -1, "burst": 5},
        },
        "rootfsPropagation": "rslave", "personality": {"domain": "LINUX32"},
        "seccomp": NOTIFY | {"listenerPath": "/run/x", "architectures": ["SCMP_ARCH_X86"]},
        "uidMappings": MAP, "gidMappings": MAP,
    }  # fmt: skip
    spec["linux"]["namespaces"].append({"type": "user"})
    before = copy.deepcopy(spec)
    assert validate.config(spec) == []
    assert spec == before


def test_unknown_fields_and_nulls_are_passed_over() -> None:
    spec = bundle.config("true", apparmorProfile=None, future={"a": 1})
    spec["unknown"] = 5
    spec["linux"]["seccomp"] = None
    spec["mounts"][0]["novelty"] = True
    assert validate.config(spec) == []


@pytest.mark.parametrize(
    "devices", [{"a/b": {}}, {"e0": {"name": "sixteen-letters!"}}, {"e0": {"name": "x"}, "e1": {"name": "x"}}]
)
def test_network_devices_have_names_that_can_be(devices: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="linux.netDevices"):
        validate.config(put(bundle.config("true"), "linux.netDevices", devices))


def test_names_are_not_given_by_sysctls() -> None:
    with pytest.raises(InvalidInput, match="kernel.hostname is not allowed"):
        validate.config(put(bundle.config("true"), "linux.sysctl", {"kernel.hostname": "x"}))
    spec = put(bundle.config("true"), "linux.sysctl", {"kernel.domainname": "x"})
    assert validate.config(spec) == []
    spec["domainname"] = "y"
    with pytest.raises(InvalidInput, match="kernel.domainname is not allowed"):
        validate.config(spec)


def test_network_devices_need_a_network_namespace() -> None:
    spec = put(bundle.config("true"), "linux.netDevices", {"eth0": {}})
    assert validate.config(spec) == []
    spec["linux"]["namespaces"] = [e for e in spec["linux"]["namespaces"] if e["type"] != "network"]
    with pytest.raises(InvalidInput, match="no network namespace"):
        validate.config(spec)


def test_ambient_capabilities_that_are_not_inheritable_are_one_line_for_the_log() -> None:
    """`crun spec` writes three of them into every config: no warning at each start."""
    spec = bundle.config("true")
    spec["process"]["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "inheritable": ["CAP_SETUID"],
        "ambient": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
    }
    assert validate.config(spec) == []
    assert validate.passed_over(spec["process"]) == [
        "process.capabilities: not ambient, since not inheritable and permitted: CAP_CHOWN, CAP_KILL"
    ]
    spec["process"]["capabilities"]["ambient"] = ["CAP_SETUID"]
    assert validate.passed_over(spec["process"]) == []
    assert validate.passed_over({}) == []


@pytest.mark.skipif(labels.selinux(), reason="SELinux is enabled")
def test_a_mount_label_without_selinux_is_a_warning() -> None:
    spec = put(bundle.config("true"), "linux.mountLabel", "a:b:c:d")
    assert validate.config(spec) == ["linux.mountLabel has no effect: SELinux is not enabled here"]


def test_an_empty_word_is_a_command_that_is_not_there() -> None:
    """As for runc, whose callers tell by its words that the exit status is 127."""
    assert validate.config(bundle.config("")) == []


def test_no_process_at_all() -> None:
    spec = bundle.config("true")
    del spec["process"]
    assert validate.config(spec) == []


def test_unknown_capabilities_are_warnings() -> None:
    spec = bundle.config("true")
    spec["process"]["capabilities"]["bounding"] = ["CAP_TEST", "CAP_KILL"]
    spec["process"]["capabilities"]["ambient"] = ["CAP_TEST", "net_raw"]
    assert validate.config(spec) == [
        'process.capabilities.bounding: "CAP_TEST" is not a capability',
        'process.capabilities.ambient: "net_raw" is not a capability',
    ]


def test_console_size_counts_with_a_terminal() -> None:
    with pytest.raises(InvalidInput, match="process.consoleSize.width is missing"):
        validate.config(bundle.config("true", terminal=True, consoleSize={"height": 5}))


def test_a_process_alone() -> None:
    with pytest.raises(InvalidInput, match="process.cwd is missing"):
        validate.process({"args": ["true"]})


def test_a_hostile_value_fits_on_a_line() -> None:
    with pytest.raises(InvalidInput) as caught:
        validate.config(put(bundle.config("true"), "linux.rootfsPropagation", "\x1b[2J\n" + "x" * 10000))
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


def rules(table: Any) -> Any:
    """Every rule of the tables, with those inside."""
    yield table
    inner = table.values() if isinstance(table, dict) else table if isinstance(table, list) else ()
    for one in inner:
        yield from rules(one)


def test_every_rule_of_the_tables_is_one_that_there_is() -> None:
    words = {"string", "absolute", "bool", *NUMBERS}
    found = list(rules(schema.CONFIG))
    assert len(found) > 200
    for rule in found:
        assert rule in words if isinstance(rule, str) else isinstance(rule, (dict, list, Choice, Text))
        assert not isinstance(rule, list) or len(rule) == 1
