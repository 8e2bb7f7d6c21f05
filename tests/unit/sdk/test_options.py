"""Keyword options of the Python API: the Config and HostConfig that they become, and hostile values."""

import pathlib

import pytest

from estiva.engine.spec import judge
from estiva.errors import EstivaError, InvalidInput
from estiva.sdk.options import CONFIG, HOST, SEVERAL, changes_of, host_config_of

GOOD = [
    ({"memory": "64m", "memory_swap": "-1", "shm_size": 1024}, {"Memory": 64 << 20, "MemorySwap": -1, "ShmSize": 1024}),
    ({"cpus": 0.5}, {"NanoCpus": 500_000_000}),
    ({"cpus": 2}, {"NanoCpus": 2_000_000_000}),
    ({"cpus": "1.25"}, {"NanoCpus": 1_250_000_000}),
    ({"cpus": 0.1 + 0.2}, {"NanoCpus": 300_000_000}),
    ({"pids_limit": 0}, {"PidsLimit": -1}),
    ({"pids_limit": 5}, {"PidsLimit": 5}),
    ({"cap_add": "NET_ADMIN", "cap_drop": ("ALL",)}, {"CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"]}),
    ({"ulimits": {"nofile": 5, "core": (1, 2)}},
     {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 5}, {"Name": "core", "Soft": 1, "Hard": 2}]}),
    ({"ports": {80: 8080, "53/udp": None}},
     {"PortBindings": {"80/tcp": [{"HostPort": "8080"}], "53/udp": [{"HostPort": ""}]}}),
    ({"volumes": {pathlib.Path("/a"): "/b:ro", "data": "/c", ".": "/d"}}, {"Binds": ["/a:/b:ro", "data:/c", "{here}:/d"]}),
    ({"tmpfs": ["/t"]}, {"Tmpfs": {"/t": ""}}),
    ({"tmpfs": {"/t": "size=1m"}}, {"Tmpfs": {"/t": "size=1m"}}),
    ({"devices": ["/dev/null:r", "/dev/zero:/dev/x"]},
     {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/null", "CgroupPermissions": "r"},
                  {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]}),
    ({"devices": "vendor.com/class=name"},
     {"Devices": [], "DeviceRequests": [{"Driver": "cdi", "Count": 0, "DeviceIDs": ["vendor.com/class=name"],
                                         "Capabilities": None, "Options": None}]}),
    ({"security_opt": ["no-new-privileges", "systempaths=unconfined"]},
     {"SecurityOpt": ["no-new-privileges"], "MaskedPaths": [], "ReadonlyPaths": []}),
    ({"security_opt": 'seccomp={"defaultAction": "SCMP_ACT_ALLOW"}'},
     {"SecurityOpt": ['seccomp={"defaultAction": "SCMP_ACT_ALLOW"}']}),
    ({"uidmap": "0:1000:1", "gidmap": ["0:1:1"]}, {"IDMappings": {"UidMap": ["0:1000:1"], "GidMap": ["0:1:1"]}}),
    ({"sysctls": {"net.ipv4.ip_forward": 1}}, {"Sysctls": {"net.ipv4.ip_forward": "1"}}),
    ({"add_host": {"db": "10.0.0.9"}, "dns": "10.0.0.1"}, {"ExtraHosts": ["db:10.0.0.9"], "Dns": ["10.0.0.1"]}),
    ({"network": "none", "init": True, "oom_score_adj": 5}, {"NetworkMode": "none", "Init": True, "OomScoreAdj": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), GOOD, ids=[str(row[0])[:60] for row in GOOD])
def test_host_config(options, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"Image": "box"}
    host = host_config_of(options, config)
    if "Binds" in expected:
        expected = {"Binds": [bind.replace("{here}", str(tmp_path)) for bind in expected["Binds"]]}
    assert host == expected
    judge.check(config, host)


def test_config():
    config = {"Image": "box"}
    options = {"user": 1000, "workdir": pathlib.PurePath("/w"), "entrypoint": "sh", "env": {"A": 1, "B": None},
               "labels": {"a": 1, "b": "x"}, "expose": [80, "53/udp"], "stop_timeout": 3, "hostname": "h"}  # fmt: skip
    assert host_config_of(options, config) == {}
    assert config == {
        "Image": "box", "User": "1000", "WorkingDir": "/w", "Entrypoint": ["sh"], "Env": ["A=1", "B"],
        "Labels": {"a": "1", "b": "x"}, "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "StopTimeout": 3,
        "Hostname": "h",
    }  # fmt: skip
    judge.check(config, {})


REFUSED = [
    ({"nosuch": 1}, "unknown option: nosuch"),
    ({"memory": "x"}, "invalid memory: invalid size: 'x'"),
    ({"memory": "9" * 5000}, "invalid memory: it is too large"),
    ({"memory": 1.5}, "HostConfig.Memory: 1.5 is not a number"),
    ({"memory": True}, "HostConfig.Memory: true is not a number"),
    ({"cpus": float("nan")}, "invalid cpus: failed to parse nan"),
    ({"cpus": float("inf")}, "invalid cpus: failed to parse inf"),
    ({"cpus": -1}, "invalid cpus: failed to parse -1"),
    ({"cpus": 1e300}, "invalid cpus: it is too large"),
    ({"cpus": [1]}, "invalid cpus: failed to parse"),
    ({"cpu_shares": 1}, "invalid cpu shares (1): the minimum is 2, the maximum 262144"),
    ({"env": 5}, "Config.Env: 5 is not a list"),
    ({"env": {"": 1}}, "invalid environment variable: =1"),
    ({"env": {"A": "x\0"}}, 'Config.Env[0]: "A=x'),
    ({"env": {None: 1}}, "env must be names with texts or numbers, not {None: 1}"),
    ({"env": {"a": {}}}, "env must be names with texts or numbers, not {'a': {}}"),
    ({"env": {"a": b"x"}}, "env must be names with texts or numbers, not {'a': b'x'}"),
    ({"labels": b""}, "Config.Labels: "),
    ({"labels": ""}, "Config.Labels: "),
    ({"expose": bytearray(b"x")}, "Config.ExposedPorts: "),
    ({"expose": memoryview(b"x")}, "Config.ExposedPorts: "),
    ({"dns": bytearray(b"x")}, "HostConfig.Dns: "),
    ({"labels": ["a"]}, "Config.Labels: a list is not an object"),
    ({"volumes": {"./x": "rel"}}, "invalid volume specification: "),
    ({"volumes": 5}, "HostConfig.Binds: 5 is not a list"),
    ({"ports": {"x": 1}}, "invalid container port: x/tcp"),
    ({"ports": {80: True}}, "invalid hostPort: True"),
    ({"ports": [80]}, "HostConfig.PortBindings: a list is not an object"),
    ({"devices": ["/dev/null:/x:q"]}, "invalid devices: bad mode specified: q"),
    ({"devices": ["x"]}, "x is not the name of a device"),
    ({"devices": [5]}, "HostConfig.Devices[0]: 5 is not an object"),
    ({"ulimits": {"nofile": "x"}}, 'HostConfig.Ulimits[0].Soft: "x" is not a number'),
    ({"ulimits": {"nofile": (1, 2, 3)}}, "HostConfig.Ulimits[0].Soft: (1, 2, 3) is not a number"),
    ({"ulimits": {"nofile": (5, 3)}}, "soft limit must be less than or equal to hard limit: 5 > 3"),
    ({"security_opt": "x"}, 'invalid --security-opt: "x"'),
    ({"security_opt": [5]}, "HostConfig.SecurityOpt[0]: 5 is not a string"),
    ({"uidmap": {"a": 1}}, "HostConfig.IDMappings.UidMap: an object is not a list"),
    ({"privileged": "yes"}, 'HostConfig.Privileged: "yes" is not true or false'),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[row[1][:60] for row in REFUSED])
def test_refused(options, message):
    config = {"Image": "box"}
    with pytest.raises(InvalidInput) as caught:
        judge.check(config, host_config_of(options, config))
    assert message in caught.value.message and len(caught.value.message) < 1000


ANYTHING = [
    None, True, 0, -1, 5, 10**5000, 1.5, float("nan"), "", "text", "a\0b", "\ud800", "9" * 5000, b"bytes", object(),
    [], [None], [5], ["text"], [["x"]], (), (1, 2), {}, {"k": "v"}, {"k": None}, {5: 5}, {None: [1]}, {"k": {"k": 1}},
    {b"x": b"y"}, {"a\0": "x"}, pathlib.Path("x"), {1, 2}, iter([1]), int, ["a", 1], [("a", "b", "c")], [("a", "b")],
]  # fmt: skip


@pytest.mark.parametrize("keyword", [*CONFIG, *HOST, *SEVERAL])
def test_an_option_with_anything_in_it(keyword):
    for value in ANYTHING:
        config = {"Image": "box", "Cmd": ["true"]}
        try:
            judge.check(config, host_config_of({keyword: value}, config))
        except EstivaError as error:
            assert len(error.message) < 1000


def test_what_an_update_can_change():
    assert changes_of({"memory": "64m", "pids_limit": 0}) == {"Memory": 64 << 20, "PidsLimit": -1}
    with pytest.raises(InvalidInput, match="User can't be changed"):
        changes_of({"memory": "64m", "user": "x"})
