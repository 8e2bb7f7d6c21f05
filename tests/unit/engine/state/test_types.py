"""The types of what crosses a process or a file say what is there: the judge's fields, and the keys of a plan."""

import os
import types
import typing

import pytest

from estiva.engine.launch import plan
from estiva.engine.spec import fields
from estiva.engine.state import config_types, record
from estiva.engine.state import types as engine_types
from estiva.oci.rules import ONLY
from estiva.paths import Paths

NESTED = {
    "DeviceRequest": fields.HOST["DeviceRequests"][0],
    "LogConfig": fields.HOST["LogConfig"],
    "RestartPolicy": fields.HOST["RestartPolicy"],
    "Ulimit": fields.HOST["Ulimits"][0],
}
OURS = {"Flags", "Mode", "Overlay"}  # of a Mount: made out of HostConfig.Binds, never given


def keys(name):
    """(those that are always there, those that may be there) of a TypedDict."""
    cls = getattr(config_types, name, None) or getattr(engine_types, name)
    hints = typing.get_type_hints(cls, include_extras=True)
    free = {key for key, hint in hints.items() if typing.get_origin(hint) is typing.NotRequired}
    return set(hints) - free, free


def known(table):
    return {key.removesuffix("!") for key in table if key != ONLY}


@pytest.mark.parametrize(
    "name, table", [("Config", fields.CONFIG), ("HostConfig", fields.HOST), *NESTED.items()]
)
def test_what_is_judged_has_a_type(name, table):
    assert known(table) == keys(name)[0]


def test_a_mount_that_is_judged_has_a_type():
    assert known(fields.HOST["Mounts"][0]) == keys("Mount")[0] - OURS


def made(tmp_path, **host):
    directory = tmp_path / "container"
    directory.mkdir()
    config = {"Image": "box", "Cmd": ["true"], "Env": []}
    one = record.new("a" * 64, "box", None, config, {"NetworkMode": "none", **host}, [])
    paths, where = Paths(str(tmp_path / "root"), str(tmp_path / "run")), str(directory)
    os.makedirs(paths.ingest)
    engine = types.SimpleNamespace(paths=paths)
    return plan.make_in(engine, one, ["/lower"], "", where, where + "/upper", where + "/work", [])


def test_a_plan_has_the_keys_of_its_type(tmp_path):
    found = made(tmp_path)
    assert set(found) == keys("Plan")[0]
    assert set(found["network"]) == keys("NetworkPlan")[0]


def test_a_plan_with_shared_namespaces_has_the_keys_of_its_type(tmp_path):
    mapping = ["0:100000:65536"]
    found = made(tmp_path, UTSMode="ns:/proc/self/ns/uts", IDMappings={"UidMap": mapping, "GidMap": mapping})
    assert set(found) - keys("Plan")[0] == {"sharing"} <= keys("Plan")[1]
    always, maybe = keys("Sharing")
    assert set(found["sharing"]) == always | maybe
