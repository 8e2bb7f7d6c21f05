"""Configs that are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from bundle import config
from estiva.errors import InvalidInput, Unsupported
from estiva.runtime.launch.plan import Plan, Process
from estiva.runtime.rootfs.rootfs import Rootfs


def plan(spec: dict[str, Any]) -> Plan:
    process = Process(spec["process"], stdio=(0, 1, 2), bpf=None)
    return Plan(spec, Rootfs(path="/"), process, cgroup=None, init=False)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("process.args", [], "no command was given"),
        ("process.args", ["a\0b"], "NUL"),
        ("process.cwd", "tmp", "not an absolute path"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "moon"}], "'moon' is not a kind of namespace"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "mount"}], "given twice"),
        ("linux.namespaces", [{"type": "mount"}], "hostname can't be set"),
        (
            "linux.namespaces",
            [{"type": "mount", "path": "x"}],
            "linux.namespaces[0].path: 'x' is not an absolute",
        ),
        ("linux.namespaces", [{"type": t} for t in ("uts", "user")], "the host's mount namespace"),
        ("linux.namespaces", [{"type": t} for t in ("mount", "uts", "user")], "needs uidMappings"),
        ("linux.personality", {"domain": "BSD"}, "'BSD' is not a personality"),
        ("linux.sysctl", {"net/../kernel/panic": "1"}, "is not the name of a sysctl"),
        ("mounts", [{"type": "tmpfs"}], "no destination"),
        ("mounts", [{"destination": "/x", "options": ["bind"]}], "has no source"),
        (
            "mounts",
            [{"destination": "/x", "type": "proc", "options": ["tmpcopyup"]}],
            "tmpcopyup is for a tmpfs",
        ),
        ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}], "only a bind mount"),
        (
            "mounts",
            [{"destination": "/", "source": "/x", "uidMappings": [{"size": 1}]}],
            "gidMappings is missing",
        ),
        ("linux.uidMappings", [{"containerID": 0, "hostID": -1, "size": 1}], "linux.uidMappings[0]"),
    ],
)
def test_a_wrong_config_is_an_error_before_anything_is_made(path: str, value: Any, words: str) -> None:
    spec = config("true")
    where = spec
    *keys, last = path.split(".")
    for key in keys:
        where = where[key]
    where[last] = value
    with pytest.raises((InvalidInput, Unsupported)) as caught:
        plan(spec)
    assert words in str(caught.value)
