"""The plan of a run: what a monitor is told of a record, as JSON-able data."""

import types

import pytest

from estiva import fastjson
from estiva.engine.launch import plan
from estiva.engine.mounts import initlayer
from estiva.engine.state import record
from estiva.errors import NotFound
from estiva.paths import Paths


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setattr(initlayer, "provide", lambda paths: "/below")
    paths = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    (tmp_path / "root" / "containers" / ("f" * 64)).mkdir(parents=True)
    return types.SimpleNamespace(paths=paths)


def made(config=None, **host):
    merged = record.merge({"Image": "box", "Cmd": ["true"], **(config or {})}, {"config": {}})
    return record.new("f" * 64, "web", None, merged, {"NetworkMode": "none", **host}, [])


def planned(engine, config=None, address="", **host):
    found = plan.make(engine, made(config, **host), ["/upper", "/lower"], address)
    assert fastjson.loads(fastjson.dumps(found))["id"] == found["id"]
    return found


def test_the_least(engine):
    found = planned(engine)
    directory = engine.paths.container("f" * 64)
    expected = {
        "id": "f" * 64, "name": "web", "root": engine.paths.root, "run_root": engine.paths.run_root,
        "lowerdirs": ["/upper", "/lower", "/below"], "upper": f"{directory}/upper", "work": f"{directory}/work",
        "seccomp": {}, "network": {"mode": "none", "address": "", "ports": []}, "stdin": False,
        "log": f"{directory}/log.json", "init": False, "auto_remove": False, "ephemeral": False, "detach": False,
        "stop_signal": "", "cgroup_parent": "",
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert "sharing" not in found
    assert found["config"]["process"]["args"] == ["true"]
    assert [mount["destination"] for mount in found["config"]["mounts"]][-3:] == [
        "/etc/resolv.conf", "/etc/hostname", "/etc/hosts",
    ]  # fmt: skip


def test_what_was_asked_for(engine):
    config = {"OpenStdin": True, "StopSignal": "INT"}
    host = {
        "LogConfig": {"Type": "none"},
        "Init": True,
        "AutoRemove": True,
        "CgroupParent": "/x",
        "Privileged": True,
    }
    found = planned(engine, config, **host)
    assert found["stdin"] and found["init"] and found["auto_remove"]
    assert (found["log"], found["stop_signal"], found["cgroup_parent"], found["seccomp"]) == (
        "",
        "INT",
        "/x",
        None,
    )


def test_ports_are_published_on_the_bridge_alone(engine):
    bindings = {"80/tcp": [{"HostPort": "8080"}]}
    found = planned(engine, address="10.88.0.5", NetworkMode="bridge", PortBindings=bindings)
    port = {"HostIp": "", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}
    assert found["network"] == {"mode": "bridge", "address": "10.88.0.5", "ports": [port]}
    assert planned(engine, NetworkMode="host", PortBindings=bindings)["network"]["ports"] == []


def test_a_profile_goes_along(engine, tmp_path):
    path = tmp_path / "profile"
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    found = planned(engine, SecurityOpt=[f"seccomp={path}"])
    assert found["seccomp"] == {"profile": {"defaultAction": "SCMP_ACT_ALLOW"}}
    path.unlink()
    with pytest.raises(NotFound, match="opening seccomp profile"):
        planned(engine, SecurityOpt=[f"seccomp={path}"])


def test_namespaces_of_others(engine):
    found = planned(engine, PidMode="host", IpcMode="ns:/proc/self/ns/ipc")
    assert found["sharing"]["lenders"] == [] and not found["sharing"]["mapped"]
    mapped = planned(engine, IDMappings={"UidMap": ["0:1000:5"], "GidMap": ["0:1000:5"]})
    assert mapped["config"]["linux"]["uidMappings"] and mapped["sharing"]["mapped"]
    kinds = {entry["type"]: entry for entry in found["config"]["linux"]["namespaces"]}
    assert "pid" not in kinds and kinds["ipc"]["path"] == "/proc/self/ns/ipc"
