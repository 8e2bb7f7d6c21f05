"""Modes of namespaces, and what a container that is started gets from those that lend theirs."""

import os
import types

import pytest

from estiva.engine.spec import namespaces
from estiva.engine.state import lookup
from estiva.errors import Conflict, InvalidInput, NotFound, Unsupported


def lender(**changes):
    record = {
        "Id": "a" * 64,
        "State": {"Running": True},
        "Config": {"Hostname": "theirs"},
        "HostConfig": {"IpcMode": "shareable"},
    }
    return {**record, **changes}


@pytest.fixture
def lenders(monkeypatch):
    """Containers by name, and the run state of each."""
    known = {"web": lender(), "stopped": lender(State={"Running": False}), "closed": lender(HostConfig={})}

    def resolve(engine, name):
        if name not in known:
            raise NotFound(f"no such container: {name}")
        return known[name]

    monkeypatch.setattr(lookup, "resolve", resolve)
    monkeypatch.setattr(
        lookup, "running_state", lambda engine, name: {"id": "a" * 64, "pid": os.getpid(), "start_time": 7}
    )
    return known


def settled(config=None, starts=True, **host):
    config = config if config is not None else {}
    namespaces.check(host)
    namespaces.settle(None, config, host, starts=starts)
    return config, host


REFUSED = [
    ({"PidMode": "x"}, InvalidInput, "--pid: invalid pid mode 'x'"),
    ({"PidMode": "container:"}, InvalidInput, "--pid: invalid pid mode 'container:'"),
    ({"PidMode": "shareable"}, InvalidInput, "--pid: invalid pid mode 'shareable'"),
    ({"PidMode": "host:x"}, InvalidInput, "--pid: invalid pid mode 'host:x'"),
    ({"IpcMode": "x"}, InvalidInput, "--ipc: invalid ipc mode 'x'"),
    ({"UTSMode": "none"}, InvalidInput, "--uts: invalid uts mode 'none'"),
    ({"CgroupnsMode": "x"}, InvalidInput, "--cgroupns: invalid cgroupns mode 'x'"),
    ({"PidMode": "ns:"}, InvalidInput, "--pid: ns: needs an absolute path"),
    ({"NetworkMode": "ns:rel"}, InvalidInput, "--network: ns:rel needs an absolute path"),
    ({"NetworkMode": "container:"}, Unsupported, "network 'container:' is not available"),
    ({"UsernsMode": "x"}, InvalidInput, "--userns: invalid userns mode 'x'"),
]


@pytest.mark.parametrize(("host", "kind", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_modes_that_there_are_not(host, kind, message):
    with pytest.raises(kind) as caught:
        namespaces.check(host)
    assert message in caught.value.message


def test_modes_that_there_are():
    for _, key, _, _, known in namespaces.KINDS:
        for mode in (None, "", *known, "container:x", "ns:/proc/1/ns/x"):
            namespaces.check({key: mode})


def test_names_become_ids(lenders):
    _, host = settled(
        PidMode="container:web", IpcMode="container:web", UTSMode="private", CgroupnsMode="host"
    )
    assert host["PidMode"] == host["IpcMode"] == "container:" + "a" * 64
    assert host["UTSMode"] == "private" and host["CgroupnsMode"] == "host"


def test_who_lends_must_be_there_and_run(lenders):
    with pytest.raises(NotFound, match="no such container: nosuch"):
        settled(PidMode="container:nosuch")
    with pytest.raises(Conflict, match="container stopped is not running"):
        settled(PidMode="container:stopped")
    settled(PidMode="container:stopped", starts=False)


def test_ipc_is_shared_by_those_that_were_made_for_it(lenders):
    with pytest.raises(Conflict, match="the ipc namespace of container aaaaaaaaaaaa is its own"):
        settled(IpcMode="container:closed")


def test_the_name_comes_with_the_namespace(lenders):
    assert settled(NetworkMode="container:web")[0] == {"Hostname": "theirs"}
    assert settled(UTSMode="container:web")[0] == {"Hostname": "theirs"}
    assert settled(UTSMode="host")[0] == {"Hostname": os.uname().nodename}
    for mode in ("host", "container:web"):
        with pytest.raises(Conflict, match="--hostname and --domainname can't be used with --uts"):
            settled({"Hostname": "mine"}, UTSMode=mode)


@pytest.mark.parametrize(
    ("config", "host", "option"),
    [
        ({}, {"PortBindings": {"80": None}}, "--publish"),
        ({}, {"PublishAllPorts": True}, "--publish"),
        ({"ExposedPorts": {"80": {}}}, {}, "--expose"),
        ({"Hostname": "x"}, {}, "--hostname"),
        ({}, {"DnsSearch": ["x"]}, "--dns"),
        ({}, {"ExtraHosts": ["x:1.2.3.4"]}, "--add-host"),
    ],
)
def test_what_belongs_to_the_network_is_the_lender_s(lenders, config, host, option):
    with pytest.raises(Conflict, match=f"{option} can't be used with the network of another container"):
        settled(config, NetworkMode="container:web", **host)
    if option in ("--publish", "--expose"):
        with pytest.raises(Conflict, match=f"{option} can't be used with the network of another namespace"):
            settled(config, NetworkMode="ns:/proc/1/ns/net", **host)


def test_mappings_come_with_the_user_namespace(lenders):
    mappings = {"UidMap": ["0:5:1"], "GidMap": ["0:5:1"]}
    lenders["web"]["HostConfig"]["IDMappings"] = mappings
    assert settled(UsernsMode="container:web")[1]["IDMappings"] == mappings


# --- at the start ---

PATHS = types.SimpleNamespace(containers="/state/containers", volumes="/state/volumes")


def oci(*mounts):
    return {
        "mounts": [{"type": "bind", "options": [], "source": "", **mount} for mount in mounts],
        "linux": {"namespaces": [{"type": "mount"}]},
    }


def adapted(config, **host):
    joining = namespaces.Joining(None, {"HostConfig": host})
    joining.adapt(config, PATHS)
    return joining, config


def test_the_files_of_a_network_are_those_of_the_first_that_had_it(lenders):
    lenders["first"] = lender(Id="f" * 64)
    lenders["middle"] = lender(HostConfig={"NetworkMode": "container:first"})
    joining = namespaces.Joining(None, {"HostConfig": {"NetworkMode": "container:middle"}})
    assert joining.network == "f" * 64


def test_what_is_lent(lenders):
    lenders["x"] = lender()
    joining = namespaces.Joining(
        None, {"HostConfig": {"PidMode": "container:x", "NetworkMode": "container:x", "IpcMode": "ns:/x"}}
    )
    assert joining.shared == {
        "network": f"/proc/{os.getpid()}/ns/net",
        "pid": f"/proc/{os.getpid()}/ns/pid",
        "ipc": "/x",
    }
    assert joining.network == "a" * 64
    assert [entry["kind"] for entry in joining.wanted["lenders"]] == ["network", "pid"]
    assert not joining.in_userns


def test_the_own_user_namespace_is_no_other():
    joining = namespaces.Joining(None, {"HostConfig": {"UsernsMode": "ns:/proc/self/ns/user"}})
    assert joining.shared == {} and not joining.in_userns


def test_a_mapping_makes_a_user_namespace():
    mappings = {"UidMap": ["0:1000:5"], "GidMap": ["0:2000:5"]}
    config = oci(
        {"destination": "/etc/hosts", "source": "/state/containers/x/hosts"},
        {"destination": "/data", "source": "/elsewhere"},
        {"destination": "/dev/pts", "type": "devpts", "options": ["gid=5"]},
    )
    joining, config = adapted(config, IDMappings=mappings)
    assert config["linux"]["namespaces"][0] == {"type": "user"}
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 5}]
    assert [mount["options"] for mount in config["mounts"]] == [["idmap"], [], []]  # group 5 is not mapped
    assert joining.wanted["maps"] == ["0 1000 5", "0 2000 5"] and joining.wanted["root"] == (1000, 2000)
    assert joining.mapped


def test_equal_ids_need_no_mapped_mounts():
    mappings = {"UidMap": ["0:0:9"], "GidMap": ["0:0:9"]}
    config = oci({"destination": "/etc/hosts", "source": "/state/containers/x/hosts"},
                 {"destination": "/dev/pts", "type": "devpts", "options": ["gid=5"]})  # fmt: skip
    joining, config = adapted(config, IDMappings=mappings)
    assert [mount["options"] for mount in config["mounts"]] == [[], ["gid=5"]] and not joining.mapped


def test_what_the_host_has_is_bound_where_it_can_t_be_mounted(monkeypatch):
    """In a user namespace /proc, /sys and cgroups are mounted new only where their namespace is the container's."""
    mappings = {"UidMap": ["0:1:1"], "GidMap": ["0:1:1"]}
    kernel = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": []},
    ]
    for v2 in (True, False):
        monkeypatch.setattr(namespaces.os.path, "exists", lambda path, v2=v2: v2)
        _, config = adapted(
            oci(*kernel), IDMappings=mappings, NetworkMode="host", PidMode="host", CgroupnsMode="host"
        )
        kinds = ["bind", "bind", "bind" if v2 else "cgroup"]
        assert [mount["type"] for mount in config["mounts"]] == kinds
        assert config["mounts"][0]["options"] == ["bind", "rprivate", "nosuid"]
        _, config = adapted(oci(*kernel), IDMappings=mappings)
        assert [mount["type"] for mount in config["mounts"]] == ["proc", "sysfs", "cgroup"]
        _, config = adapted(oci({**kernel[0], "type": "tmpfs"}), IDMappings=mappings, PidMode="host")
        assert config["mounts"][0]["type"] == "tmpfs"  # the user's


def test_a_namespace_of_another_user_namespace():
    mappings = {"UidMap": ["0:1:1"], "GidMap": ["0:1:1"]}
    for key, kind in (("PidMode", "pid"), ("CgroupnsMode", "cgroup")):
        with pytest.raises(
            Unsupported, match=f"the {kind} namespace of .* belongs to another user namespace"
        ):
            adapted(oci(), IDMappings=mappings, **{key: f"ns:/proc/self/ns/{kind}"})
    adapted(oci(), IDMappings=mappings, NetworkMode="ns:/proc/self/ns/net")


def test_nodes_of_another_name_are_bound_in_a_user_namespace():
    config = oci()
    config["linux"]["devices"] = [{"path": "/dev/x"}, {"path": "/dev/null"}]
    devices = [
        {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/x"},
        {"PathOnHost": "/dev/null", "PathInContainer": ""},
    ]
    _, config = adapted(config, IDMappings={"UidMap": ["0:1:1"], "GidMap": ["0:1:1"]}, Devices=devices)
    assert config["linux"]["devices"] == [{"path": "/dev/null"}]
    assert (config["mounts"][0]["source"], config["mounts"][0]["destination"]) == ("/dev/zero", "/dev/x")


def test_no_ipc_means_no_shm():
    config = oci({"destination": "/dev/pts"}, {"destination": "/dev/shm", "source": "shm", "type": "tmpfs"})
    _, config = adapted(config, IpcMode="none")
    assert [mount["destination"] for mount in config["mounts"]] == ["/dev/pts"]
    config = oci({"destination": "/dev/shm", "source": "/mine"})
    _, config = adapted(config, IpcMode="none")
    assert [mount["source"] for mount in config["mounts"]] == ["/mine"]


def test_the_host_s_ipc_has_the_host_s_shm():
    _, config = adapted(oci({"destination": "/dev/pts"}, {"destination": "/x"}), IpcMode="host")
    places = [(mount["destination"], mount["type"]) for mount in config["mounts"]]
    assert places == [("/dev/pts", "bind"), ("/dev/mqueue", "mqueue"), ("/dev/shm", "bind"), ("/x", "bind")]
