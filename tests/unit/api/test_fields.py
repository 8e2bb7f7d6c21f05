"""The body of a create: every field of docker's structs has a fate, and the old ones become the new."""

from typing import Any

import pytest

from estiva.api.containers.fields import Create
from estiva.engine.spec import endpoints, fields, judge
from estiva.errors import EngineError, EstivaError, InvalidInput
from estiva.oci import rules
from estiva.oci.rules import Later

V = (1, 45)

# each field of docker's Config, HostConfig and EndpointSettings (API 1.51), with a value that asks for something
CONFIG: dict[str, Any] = {
    "Hostname": "h", "Domainname": "d", "User": "1", "AttachStdin": True, "AttachStdout": True,
    "AttachStderr": True, "ExposedPorts": {"80/tcp": {}}, "Tty": True, "OpenStdin": True, "StdinOnce": True,
    "Env": ["A=b"], "Cmd": ["true"], "Healthcheck": {"Test": ["CMD", "true"]}, "ArgsEscaped": True,
    "Image": "i", "Volumes": {"/v": {}}, "WorkingDir": "/w", "Entrypoint": ["e"], "NetworkDisabled": True,
    "MacAddress": "02:42:ac:11:00:09", "OnBuild": ["RUN true"], "Labels": {"a": "b"}, "StopSignal": "INT",
    "StopTimeout": 3, "Shell": ["sh"],
}  # fmt: skip
RATE = [{"Path": "/dev/sda", "Rate": 1}]
HOST: dict[str, Any] = {
    "Binds": ["/a:/b"], "ContainerIDFile": "f", "LogConfig": {"Type": "none"}, "NetworkMode": "none",
    "PortBindings": {"80/tcp": [{"HostPort": "80"}]}, "RestartPolicy": {"Name": "always"},
    "AutoRemove": True, "VolumeDriver": "local", "VolumesFrom": ["c"], "ConsoleSize": [1, 2],
    "Annotations": {"a": "b"}, "CapAdd": ["CHOWN"], "CapDrop": ["CHOWN"], "CgroupnsMode": "host",
    "Dns": ["1.1.1.1"], "DnsOptions": ["a"], "DnsSearch": ["b"], "ExtraHosts": ["a:1.1.1.1"],
    "GroupAdd": ["1"], "IpcMode": "host", "Cgroup": "x", "Links": ["a:b"], "OomScoreAdj": 1,
    "PidMode": "host", "Privileged": True, "PublishAllPorts": True, "ReadonlyRootfs": True,
    "SecurityOpt": ["no-new-privileges"], "StorageOpt": {"size": "1G"}, "Tmpfs": {"/t": ""},
    "UTSMode": "host", "UsernsMode": "host", "ShmSize": 1 << 20, "Sysctls": {"net.ipv4.ip_forward": "1"},
    "Runtime": "estiva", "Isolation": "hyperv", "CpuShares": 5, "Memory": 1 << 30, "NanoCpus": 10**9,
    "CgroupParent": "p", "BlkioWeight": 100, "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 100}],
    "BlkioDeviceReadBps": RATE, "BlkioDeviceWriteBps": RATE, "BlkioDeviceReadIOps": RATE,
    "BlkioDeviceWriteIOps": RATE, "CpuPeriod": 10000, "CpuQuota": 10000, "CpuRealtimePeriod": 10000,
    "CpuRealtimeRuntime": 5000, "CpusetCpus": "0", "CpusetMems": "0",
    "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "r"}],
    "DeviceCgroupRules": ["c 1:1 r"], "DeviceRequests": [{"Count": 1, "Capabilities": [["gpu"]]}],
    "KernelMemory": 1 << 23, "KernelMemoryTCP": 1 << 23, "MemoryReservation": 1 << 23,
    "MemorySwap": -1, "MemorySwappiness": 5, "OomKillDisable": True, "PidsLimit": 5,
    "Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 5}], "CpuCount": 1, "CpuPercent": 1,
    "IOMaximumIOps": 1, "IOMaximumBandwidth": 1, "Mounts": [{"Type": "tmpfs", "Target": "/m"}],
    "MaskedPaths": ["/a"], "ReadonlyPaths": ["/b"], "Init": True,
}  # fmt: skip
ENDPOINT: dict[str, Any] = {
    "IPAMConfig": {"IPv4Address": "10.1.1.1"}, "Links": ["a:b"], "MacAddress": "02:42:ac:11:00:09",
    "Aliases": ["a"], "DriverOpts": {"a": "b"}, "GwPriority": 1, "NetworkID": "n", "EndpointID": "e",
    "Gateway": "g", "IPAddress": "i", "IPPrefixLen": 1, "IPv6Gateway": "g", "GlobalIPv6Address": "a",
    "GlobalIPv6PrefixLen": 1, "DNSNames": ["a"],
}  # fmt: skip
ELSEWHERE = ("NetworkDisabled", "MacAddress", "Links")  # done by another field: see the tests below


def made(config: Any = None, host: Any = None, networks: Any = None, version: Any = V) -> Create:
    body = {"Image": "i", **(config or {})}
    return Create({**body, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": networks}}, version)


def fate(name: str, config: Any, host: Any) -> str:
    try:
        wanted = made(config, host)
    except EstivaError as error:
        return f"refused: {error.message}"
    if any(name in line for line in wanted.warnings):
        return "warned"
    kept, rule = (wanted.config, fields.CONFIG) if config else (wanted.host, fields.HOST)
    if name not in kept:
        return "elsewhere" if name in ELSEWHERE else "lost"
    if isinstance(rule.get(name), Later):
        with pytest.raises(EstivaError, match=name):
            judge.check(wanted.config, wanted.host)
        return "refused by name"
    rules.check(kept[name], rule.get(name, rule.get(name + "!")), name)
    return "done"


@pytest.mark.parametrize("name", CONFIG)
def test_each_field_of_config_has_a_fate(name: str) -> None:
    assert fate(name, {name: CONFIG[name]}, None) in ("done", "elsewhere", "warned")


REFUSED = ("Cgroup", "KernelMemoryTCP", "StorageOpt", "Isolation", "IOMaximumIOps", "IOMaximumBandwidth")
WARNED = ("CpuCount", "CpuPercent", "KernelMemory")


@pytest.mark.parametrize("name", HOST)
def test_each_field_of_host_config_has_a_fate(name: str) -> None:
    found = fate(name, None, {name: HOST[name]})
    if name in REFUSED:
        assert found.startswith("refused")
    elif name in WARNED:
        assert found == "warned"
    else:
        assert found == ("elsewhere" if name in ELSEWHERE else "done")


def test_each_field_of_an_endpoint_is_known() -> None:
    rules.check({"n": ENDPOINT}, {rules.EACH: endpoints.ENDPOINT}, "EndpointsConfig")


def test_no_rule_is_of_a_field_that_docker_has_not_and_nobody_means() -> None:
    ours = {"AllowHosts", "IDMappings", "OutputLimit", "Profile", "SubgidName", "SubuidName", "TimeLimit"}
    known = {name.rstrip("!") for name in fields.HOST if name}
    assert known == set(HOST) | ours


def test_what_docker_has_no_field_for_is_told() -> None:
    wanted = made({"Foo": 1, "Bar": ""}, {"Baz": {"a": 1}})
    assert wanted.warnings == [
        "Foo is not known and has no effect",
        "HostConfig.Baz is not known and has no effect",
    ]
    body = {"Image": "i", "name": "n", "platform": "linux"}
    assert Create(body, V, ("name", "platform")).warnings == []


def test_names_are_taken_in_any_case_as_go_does() -> None:
    wanted = Create({"image": "i", "hostconfig": {"memory": 5}, "CMD": "x"}, V)
    assert (wanted.config["Image"], wanted.host["Memory"], wanted.config["Cmd"]) == ("i", 5, ["x"])


def test_an_old_mac_address_is_its_networks() -> None:
    mac = "02:42:ac:11:00:09"
    wanted = made({"MacAddress": mac})
    assert wanted.endpoints == {"bridge": {"MacAddress": mac}}
    assert "deprecated" in wanted.warnings[0]
    assert made({"MacAddress": mac}, version=(1, 43)).warnings == []
    old = made(None, None, {"n": {"MacAddress": mac}}, version=(1, 43))
    assert old.endpoints == {"n": {}}  # an old daemon did not look at it
    for host, networks in (
        ({"NetworkMode": "host"}, None),
        (None, {"n": {}}),
        (None, {"bridge": {"MacAddress": "x"}}),
    ):
        with pytest.raises(InvalidInput):
            made({"MacAddress": mac}, host, networks)


def test_links_and_no_network() -> None:
    assert made(None, {"Links": ["a:b"]}).endpoints == {"bridge": {"Links": ["a:b"]}}
    own = made(None, {"Links": ["a:b"], "NetworkMode": "n"}, {"n": {"Links": ["c:d"]}})
    assert own.endpoints["n"]["Links"] == ["c:d", "a:b"]
    assert made({"NetworkDisabled": True}, None, {"n": {}}).host["NetworkMode"] == "none"
    assert made(None, {"NetworkMode": "default"}, {"default": {"Aliases": ["a"]}}).endpoints == {
        "bridge": {"Aliases": ["a"]}
    }
    with pytest.raises(InvalidInput, match="links"):
        made(None, {"Links": ["a:b"], "NetworkMode": "none"})


def test_what_is_absent_is_dockers_null_and_false() -> None:
    wanted = made()
    assert all(wanted.host[name] is None for name in ("Devices", "Dns", "Ulimits", "PortBindings"))
    assert wanted.config["AttachStdout"] is False
    assert made(None, {"PidsLimit": -1}).host["PidsLimit"] is None
    assert made(None, {"LogConfig": {"Type": ""}}).host["LogConfig"] == {"Type": "json-file", "Config": {}}


def test_a_runtime_beside_the_config_is_taken_where_it_is_meant_anyway() -> None:
    assert made({"Runtime": "runc"}).host["Runtime"] == "runc"
    other = made({"runtime": "kata"}, {"Memory": 1})
    assert "Runtime" not in other.host and "Runtime is not known" in other.warnings[0]


def test_versions() -> None:
    with pytest.raises(InvalidInput, match="multiple network endpoints: a, b"):
        made(None, None, {"a": {}, "b": {}}, version=(1, 43))
    assert made(None, {"KernelMemory": 1 << 23}, version=(1, 41)).host["KernelMemory"] == 1 << 23
    assert "Annotations" not in made(None, {"Annotations": {"a": "b"}}, version=(1, 42)).host
    assert made(None, {"AutoRemove": True}, version=(1, 24)).host["AutoRemove"] is False


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Image": "i", "HostConfig": "x"},
        {"Image": "i", "HostConfig": []},
        {"Image": "i", "NetworkingConfig": 1},
        {"Image": "i", "NetworkingConfig": {"EndpointsConfig": [1]}},
        {"Image": "i", "HostConfig": {"Links": "a:b"}},
        {"Image": "i", "HostConfig": {"Mounts": 5}},
        {
            "Image": "i",
            "HostConfig": {"Links": ["a"]},
            "NetworkingConfig": {"EndpointsConfig": {"bridge": {"Links": "b"}}},
        },
        {
            "Image": "i",
            "HostConfig": {"Links": ["a"]},
            "NetworkingConfig": {"EndpointsConfig": {"bridge": 1}},
        },
        {"Image": "i", "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/no/such", "Target": "/a"}]}},
        {"Image": "i", "HostConfig": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}},
    ],
)
def test_hostile_bodies_are_bad_input(body: Any) -> None:
    with pytest.raises(InvalidInput):
        Create(body, V)


def test_storage_options_are_refused_in_dockers_words() -> None:
    with pytest.raises(EngineError, match="pquota"):
        made(None, {"StorageOpt": {"size": "1G"}})
