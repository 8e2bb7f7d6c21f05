"""The flags of `update` as linux.resources."""

import json

import pytest

from estiva.cmdline.parser import UsageError, parse_verb
from estiva.ocicli import update


def resources(*words):
    return update._from_flags(parse_verb(update.UPDATE, [*words, "id"], "update"))


def test_update_flags():
    assert resources(
        "--memory", "512m", "--memory-swap", "-1", "--cpu-share", "2", "--cpuset-cpus", "0-1"
    ) == {
        "memory": {"limit": 512 << 20, "swap": -1},
        "cpu": {"shares": 2, "cpus": "0-1"},
    }
    with pytest.raises(UsageError):
        resources("--pids-limit", "5k")


def test_update_leaves_devices_alone(tmp_path):
    file = tmp_path / "r"
    file.write_text(json.dumps({"devices": [{}], "memory": {"limit": 1}, "cpu": None}))
    assert update._from_file(str(file)) == {"memory": {"limit": 1}}
