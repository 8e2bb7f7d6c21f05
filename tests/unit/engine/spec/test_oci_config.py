"""The OCI config of a record: Docker's defaults, and what each option changes."""

import pytest

from estiva import fastjson
from estiva.engine.spec import oci_config
from estiva.engine.state import record
from estiva.errors import InvalidInput, NotFound, Unsupported
from estiva.oci.config import DEFAULT_PATH
from estiva.runtime.bundle import validate
from estiva.runtime.process import labels
from estiva.runtime.security import capabilities, kernel_paths


def made(config=None, **host):
    merged = record.merge({"Image": "box", "Cmd": ["sh", "-c", "x"], **(config or {})}, {"config": {}})
    return record.new("f" * 64, "x", None, merged, {"NetworkMode": "bridge", **host}, [])


def make(config=None, extra=(), shared=None, **host):
    return oci_config.make(made(config, **host), list(extra), shared or {})


def test_the_defaults():
    config = make()
    process, linux = config["process"], config["linux"]
    assert process["args"] == ["sh", "-c", "x"] and process["cwd"] == "/" and not process["terminal"]
    assert process["env"] == [f"PATH={DEFAULT_PATH}", "HOSTNAME=ffffffffffff"]
    assert process["user"] == {"username": "", "additionalGroups": []}
    wanted = capabilities.bounded(capabilities.DEFAULT_CAPABILITIES)
    assert process["capabilities"] == dict.fromkeys(("bounding", "effective", "permitted"), wanted)
    assert process["noNewPrivileges"] is False
    assert [entry["type"] for entry in linux["namespaces"]] == [
        "mount",
        "pid",
        "ipc",
        "uts",
        "network",
        "cgroup",
    ]
    assert (
        linux["maskedPaths"] == kernel_paths.masked_paths()
        and linux["readonlyPaths"] == kernel_paths.READONLY_PATHS
    )
    assert linux["resources"]["pids"] == {"limit": 2048}
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert config["hostname"] == "f" * 12 and config["root"] == {"readonly": False}
    assert [mount["destination"] for mount in config["mounts"]] == [
        "/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm",
    ]  # fmt: skip
    assert "ro" in config["mounts"][3]["options"] and "size=67108864" in config["mounts"][6]["options"]


def test_what_is_made_follows_the_runtime_spec():
    config = make(
        {"Tty": True, "Env": ["A=1"]}, Memory=64 << 20, CapAdd=["ALL"], ReadonlyRootfs=True, OomScoreAdj=5
    )
    config["root"]["path"] = "/x"
    assert validate.config(fastjson.loads(fastjson.dumps(config))) == []


def test_privileged():
    config = make(Privileged=True)
    linux = config["linux"]
    assert linux["maskedPaths"] == linux["readonlyPaths"] == []
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert any(device["path"] == "/dev/null" for device in linux["devices"])
    assert config["process"]["capabilities"]["bounding"] == capabilities.bounded(
        capabilities.ALL_CAPABILITIES
    )
    assert "ro" not in config["mounts"][3]["options"]
    assert make(Privileged=True, MaskedPaths=["/x"])["linux"]["maskedPaths"] == ["/x"]


def test_the_process():
    config = {
        "Tty": True,
        "Env": ["A=1", "PATH=/x"],
        "User": "5:6",
        "WorkingDir": "/w",
        "Hostname": "h",
    }
    host = {
        "GroupAdd": ["7"], "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}, {"Name": "core"}], "ConsoleSize": [24, 80],
        "OomScoreAdj": 5, "SecurityOpt": ["no-new-privileges"],
    }  # fmt: skip
    process = make(config, **host)["process"]
    assert process["env"] == ["PATH=/x", "HOSTNAME=h", "TERM=xterm", "A=1"]
    assert process["user"] == {"username": "5:6", "additionalGroups": ["7"]} and process["cwd"] == "/w"
    assert process["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},  # what is not said is 0, as docker's
    ]
    assert process["consoleSize"] == {"height": 24, "width": 80}
    assert process["oomScoreAdj"] == 5 and process["noNewPrivileges"] is True
    assert "consoleSize" not in make({"Tty": False}, ConsoleSize=[24, 80])["process"]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("NetworkMode", "network"),
        ("PidMode", "pid"),
        ("IpcMode", "ipc"),
        ("UTSMode", "uts"),
        ("CgroupnsMode", "cgroup"),
    ],
)
def test_a_namespace_of_the_host(key, kind):
    assert kind not in [entry["type"] for entry in make(**{key: "host"})["linux"]["namespaces"]]


def test_a_namespace_of_another():
    config = make(shared={"pid": "/proc/1/ns/pid", "ipc": "/x", "uts": "/y"}, IpcMode="container:x")
    assert {"type": "pid", "path": "/proc/1/ns/pid"} in config["linux"]["namespaces"]
    assert "hostname" not in config
    assert not {"/dev/shm", "/dev/mqueue"} & {mount["destination"] for mount in config["mounts"]}


def test_a_user_s_mount_takes_the_place_of_ours():
    extra = [{"destination": "/dev/shm/"}, {"destination": "/a/b"}, {"destination": "/a"}]
    found = [mount["destination"] for mount in make(extra=extra)["mounts"]]
    assert "/dev/shm" not in found and found[-3:] == ["/a", "/dev/shm/", "/a/b"]


def test_sysctls_need_a_namespace_of_the_container_s():
    assert make(Sysctls={"net.ipv4.ip_forward": "1"})["linux"]["sysctl"] == {"net.ipv4.ip_forward": "1"}
    with pytest.raises(InvalidInput, match="can't be set while the network namespace is the host's"):
        make(NetworkMode="host", Sysctls={"net.ipv4.ip_forward": "1"})
    with pytest.raises(InvalidInput, match="can't be set while the ipc namespace is the host's"):
        make(IpcMode="host", Sysctls={"kernel.shmmax": "1"})


def test_what_this_machine_lacks_is_found_out():
    with pytest.raises(InvalidInput, match="device /nosuch can't be used"):
        make(Devices=[{"PathOnHost": "/nosuch"}])
    with pytest.raises(NotFound, match="no such CDI device"):
        make(DeviceRequests=[{"Driver": "cdi", "DeviceIDs": ["vendor.invalid/class=name"]}])
    with pytest.raises(Unsupported, match="could not select device driver"):
        make(DeviceRequests=[{"Capabilities": [["tpu"]]}])


def test_labels_and_capabilities():
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(Unsupported, match="SELinux is not enabled here"),
    ):
        patch.setattr(labels, "selinux", lambda: False)
        make(SecurityOpt=["label=type:x"])
    assert make(CapAdd=None, CapDrop=["ALL"])["process"]["capabilities"]["bounding"] == []
    assert make(CapAdd=["CHOWN"], CapDrop=["ALL"])["process"]["capabilities"]["bounding"] == ["CAP_CHOWN"]


def test_names():
    config = make({"Hostname": "h", "Domainname": "d"})
    assert (config["hostname"], config["domainname"]) == ("h", "d")
    assert "hostname" not in make(UTSMode="host")


def test_which_modes_are_special():
    for mode in ("bridge", "none", "host", None):
        assert not oci_config.special({"NetworkMode": mode})
    assert oci_config.special({"NetworkMode": "container:x"})
    assert oci_config.special({"NetworkMode": "none", "PidMode": "host"})
