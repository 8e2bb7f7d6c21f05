"""Keyword options of the Python API: the Config and HostConfig that they become, and hostile values."""

import inspect
import itertools
import pathlib
from typing import get_type_hints

import pytest

from estiva.builder.request import Request
from estiva.cli.build.limits import KINDS as LIMITS
from estiva.cli.container import update as cli_update
from estiva.cli.options import run as cli_run
from estiva.engine.spec import judge
from estiva.errors import Conflict, EstivaError, InvalidInput
from estiva.sdk import run_options
from estiva.sdk.options import (
    CONFIG,
    CREATION,
    FILES,
    HEALTH,
    HOST,
    NETWORKING,
    SEVERAL,
    changes_of,
    host_config_of,
    networking_of,
)

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
    ({"volumes": ["data:/c:ro", "./x:/y"]}, {"Binds": ["data:/c:ro", "{here}/x:/y"]}),
    ({"volumes": {"/a": {"bind": "/b", "mode": "ro"}}}, {"Binds": ["/a:/b:ro"]}),
    ({"ports": ["8080:80", "127.0.0.1:53:53/udp", 90, "[::1]:1:2"]},
     {"PortBindings": {"80/tcp": [{"HostPort": "8080"}], "53/udp": [{"HostPort": "53", "HostIp": "127.0.0.1"}],
                       "90/tcp": [{"HostPort": ""}], "2/tcp": [{"HostPort": "1", "HostIp": "::1"}]}}),
    ({"ports": {80: ("127.0.0.1", 8080), "90": [9000, 9001]}},
     {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
                       "90/tcp": [{"HostPort": "9000"}, {"HostPort": "9001"}]}}),
    ({"restart": "on-failure:3"}, {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}),
    ({"log_driver": "json-file", "log_opts": {"max-file": 3}},
     {"LogConfig": {"Type": "json-file", "Config": {"max-file": "3"}}}),
    ({"gpus": "all"}, {"DeviceRequests": [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]],
                                           "Options": {}}]}),
    ({"device_read_bps": {"/dev/sda": "1m"}}, {"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1 << 20}]}),
    ({"blkio_weight_device": {"/dev/sda": 20}}, {"BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 20}]}),
    ({"mounts": [{"Type": "bind", "Source": "/a", "Target": "/b"}]},
     {"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b"}]}),
    ({"network": ["one", "two"]}, {"NetworkMode": "one"}),
    ({"network": {"one": {"ip": "10.0.0.2"}}}, {"NetworkMode": "one"}),
    ({"memory": None, "env": None, "volumes": None}, {}),
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
    ({"memory": 1.5}, 'memory must be bytes or a size such as "256m", not 1.5'),
    ({"memory": True}, 'memory must be bytes or a size such as "256m", not True'),
    ({"cpus": float("nan")}, "invalid cpus: failed to parse nan"),
    ({"cpus": float("inf")}, "invalid cpus: failed to parse inf"),
    ({"cpus": -1}, "invalid cpus: failed to parse -1"),
    ({"cpus": 1e300}, "invalid cpus: it is too large"),
    ({"cpus": [1]}, "cpus must be a number of cpus such as 1.5, not [1]"),
    ({"cpu_shares": 1}, "invalid cpu shares (1): the minimum is 2, the maximum 262144"),
    ({"env": 5}, "env must be names with texts or numbers, not 5"),
    ({"env": {"": 1}}, "invalid environment variable: =1"),
    ({"env": {"A": "x\0"}}, 'Config.Env[0]: "A=x'),
    ({"env": {None: 1}}, "env must be names with texts or numbers, not {None: 1}"),
    ({"env": {"a": {}}}, "env must be names with texts or numbers, not {'a': {}}"),
    ({"env": {"a": b"x"}}, "env must be names with texts or numbers, not {'a': b'x'}"),
    ({"labels": b""}, "labels must be names with texts, or a list of names, not b''"),
    ({"labels": ""}, "invalid label '=': empty name"),
    ({"expose": bytearray(b"x")}, "expose must be a port or a list of ports, not bytearray"),
    ({"expose": memoryview(b"x")}, "expose must be a port or a list of ports, not <memory"),
    ({"dns": bytearray(b"x")}, "dns must be text or a list of texts, not bytearray"),
    ({"labels": [5]}, "labels must be names with texts, or a list of names, not [5]"),
    ({"volumes": {"./x": "rel"}}, "invalid volume specification: "),
    (
        {"volumes": 5},
        'volumes must be a dict of source and place, or a list such as ["data:/data:ro"], not 5',
    ),
    ({"ports": {"x": 1}}, "invalid container port: x/tcp"),
    (
        {"ports": {80: True}},
        'ports must be a dict such as {80: 8080} or a list such as ["8080:80"], not {80: True}',
    ),
    ({"ports": [{}]}, "ports must be a dict such as {80: 8080} or a list"),
    ({"devices": ["/dev/null:/x:q"]}, "invalid devices: bad mode specified: q"),
    ({"devices": ["x"]}, "x is not the name of a device"),
    ({"devices": [5]}, "devices must be text or a list of texts, not [5]"),
    (
        {"ulimits": {"nofile": "x"}},
        "ulimits must be a dict such as {'nofile': (1024, 2048)}, not {'nofile': 'x'}",
    ),
    ({"ulimits": {"nofile": (1, 2, 3)}}, "ulimits must be a dict such as"),
    ({"ulimits": {"nofile": (5, 3)}}, "soft limit must be less than or equal to hard limit: 5 > 3"),
    ({"security_opt": "x"}, 'invalid --security-opt: "x"'),
    ({"security_opt": [5]}, "security_opt must be text or a list of texts, not [5]"),
    ({"uidmap": {"a": 1}}, "uidmap must be text or a list of texts, not {'a': 1}"),
    ({"privileged": "yes"}, "privileged must be True or False, not 'yes'"),
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


@pytest.mark.parametrize("keyword", sorted(get_type_hints(run_options.CreateOptions)))
def test_an_option_with_anything_in_it(keyword):
    for value in ANYTHING:
        config = {"Image": "box", "Cmd": ["true"]}
        try:
            judge.check(config, host_config_of({keyword: value}, config))
            networking_of({keyword: value})
        except EstivaError as error:
            assert len(error.message) < 1000


def test_a_health_check():
    config = {"Image": "box"}
    options = {"health_cmd": "true", "health_interval": 1.5, "health_timeout": "2s", "health_retries": 2,
               "health_on_failure": "kill"}  # fmt: skip
    host_config_of(options, config)
    assert config["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"], "Interval": 1_500_000_000, "Timeout": 2_000_000_000, "Retries": 2,
    }  # fmt: skip
    assert config["HealthcheckOnFailureAction"] == "kill"
    for given, test in (
        (["ls", "/"], ["CMD", "ls", "/"]),
        ("none", ["NONE"]),
        (["CMD-SHELL", "x"], ["CMD-SHELL", "x"]),
    ):
        host_config_of({"health_cmd": given}, config)
        assert config["Healthcheck"]["Test"] == test
    host_config_of({"no_healthcheck": True}, config)
    assert config["Healthcheck"] == {"Test": ["NONE"]}
    with pytest.raises(InvalidInput, match="no_healthcheck conflicts"):
        host_config_of({"no_healthcheck": True, "health_retries": 1}, config)


def test_networks_with_settings():
    assert networking_of({"network": "none"}) is None and networking_of({}) is None
    assert networking_of({"network": ["a", "b"]}) == {"a": {}, "b": {}}
    assert networking_of({"network": "a", "ip": "10.0.0.2", "network_alias": "x", "links": {"c": "d"}}) == {
        "a": {"IPAMConfig": {"IPv4Address": "10.0.0.2"}, "Aliases": ["x"], "Links": ["c:d"]}
    }
    assert networking_of({"link_local_ips": "169.254.8.8"}) == {
        "default": {"IPAMConfig": {"LinkLocalIPs": ["169.254.8.8"]}}
    }
    settings = {"ip6": "fd00::2", "aliases": ["x"], "mac_address": "02:00:00:00:00:01", "gw_priority": 1}
    assert networking_of({"network": {"a": settings, "b": None}}) == {
        "a": {"IPAMConfig": {"IPv6Address": "fd00::2"}, "MacAddress": "02:00:00:00:00:01", "Aliases": ["x"],
              "GwPriority": 1},
        "b": {},
    }  # fmt: skip
    with pytest.raises(Conflict, match="ip and the ip of network a"):
        networking_of({"network": {"a": {"ip": "10.0.0.2"}}, "ip": "10.0.0.3"})


def test_an_entrypoint_and_a_volume_without_a_name():
    config = {"Image": "box"}
    assert host_config_of({"entrypoint": "sh -c 'a b'", "volumes": ["/data", "x:/y"]}, config) == {
        "Binds": ["x:/y"]
    }
    assert config["Entrypoint"] == ["sh", "-c", "a b"] and config["Volumes"] == {"/data": {}}
    with pytest.raises(InvalidInput, match="invalid entrypoint: No closing quotation"):
        host_config_of({"entrypoint": "'"}, config)


def test_the_words_of_docker_py_lead_to_ours():
    for word, ours in run_options.DOCKER_PY.items():
        with pytest.raises(InvalidInput, match=f"unknown option: {word}") as caught:
            host_config_of({word: 1}, {})
        assert caught.value.hint == f"here it is {ours}"


def test_an_endless_list_is_refused():
    with pytest.raises(InvalidInput, match="dns must be text or a list of texts"):
        host_config_of({"dns": itertools.repeat("x")}, {})


# --- the options are those of the command line, each with a type and a reader --------------------------------


def test_each_flag_of_run_has_a_keyword_or_a_reason():
    keywords = get_type_hints(run_options.CreateOptions)
    for flag in cli_run.KIND:
        keyword = run_options.SPELLED.get(flag, flag.replace("-", "_"))
        assert (keyword in keywords) != (flag in run_options.REASONS), flag
    assert set(run_options.REASONS) | set(run_options.SPELLED) <= set(cli_run.KIND)


def test_each_keyword_has_a_reader():
    read = {*CONFIG, *HOST, *SEVERAL, *HEALTH, *CREATION, *NETWORKING, *FILES}
    assert read == set(get_type_hints(run_options.CreateOptions))
    assert set(get_type_hints(run_options.UpdateOptions)) <= {*HOST}


def test_an_update_takes_what_the_command_line_does():
    flags = {row[1] for row in cli_update.TABLE}
    keywords = {word.replace("_", "-") for word in get_type_hints(run_options.UpdateOptions)}
    assert keywords <= flags and flags - keywords == {"kernel-memory"}


NOT_IN_PYTHON = {"ulimit", "isolation", "security_opt"}  # of another name; refused anyway


def test_a_build_takes_what_a_request_does():
    explicit = {"self", "context", "dockerfile", "pull", "tags", "hidden"}
    explicit |= {"dockerfile_folder"}  # of a client's files, which the API keeps apart
    of_the_result = {"annotations", "attest", "load", "output", "platforms", "provenance", "push", "sbom"}
    of_steps = set(get_type_hints(run_options.StepOptions))  # a HostConfig, which is the engine's
    assert of_steps == {name.replace("-", "_") for name in LIMITS} - NOT_IN_PYTHON | {"ulimits"}
    assert set(get_type_hints(run_options.BuildOptions)) - of_steps - of_the_result | explicit == set(
        inspect.signature(Request.__init__).parameters
    )


def test_what_an_update_can_change():
    assert changes_of({"memory": "64m", "pids_limit": 0}) == {"Memory": 64 << 20, "PidsLimit": -1}
    with pytest.raises(InvalidInput, match="User can't be changed"):
        changes_of({"memory": "64m", "user": "x"})
