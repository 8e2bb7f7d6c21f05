"""api/builds/route.py: every parameter of POST /build is done, or refused by name."""

from __future__ import annotations

import json
from typing import Any, cast
from urllib.parse import quote

import pytest
from aiohttp.test_utils import make_mocked_request

from estiva.api.app import Api
from estiva.api.builds.route import options
from estiva.engine.builds.build import elsewhere
from estiva.errors import EstivaError, InvalidInput, Unsupported


def asked(query: str) -> dict[str, Any]:
    return options(cast("Api", None), make_mocked_request("POST", f"/build?{query}"))


NONE = asked("")
# what the specification lists (Engine API 1.51, ImageBuild), but for q, remote and cachefrom, which the handler takes
DONE = {
    "dockerfile=d/File": ("dockerfile", "d/File"),
    "t=a&t=b:2&t=a:latest": ("tags", ["docker.io/library/a:latest", "docker.io/library/b:2"]),
    "extrahosts=a:1.2.3.4&extrahosts=b:::1": ("limits", {"ExtraHosts": ["a:1.2.3.4", "b:::1"]}),
    "nocache=1": ("no_cache", True),
    "pull=true": ("pull", True),
    "memory=5000000": ("limits", {"Memory": 5000000}),
    "memswap=-1": ("limits", {"MemorySwap": -1}),
    "cpushares=5": ("limits", {"CpuShares": 5}),
    "cpusetcpus=0-3": ("limits", {"CpusetCpus": "0-3"}),
    "cpusetmems=0": ("limits", {"CpusetMems": "0"}),
    "cpuperiod=5000": ("limits", {"CpuPeriod": 5000}),
    "cpuquota=5000": ("limits", {"CpuQuota": 5000}),
    "shmsize=5": ("limits", {"ShmSize": 5}),
    "cgroupparent=/a": ("limits", {"CgroupParent": "/a"}),
    "isolation=default": ("limits", {"Isolation": "default"}),
    "ulimits=" + quote('[{"Name":"nofile","Soft":1,"Hard":2}]'): (
        "limits",
        {"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}]},
    ),
    "buildargs=" + quote('{"A":"1","B":null}'): ("build_args", {"A": "1"}),
    "labels=" + quote('{"A":"1"}'): ("labels", {"A": "1"}),
    "networkmode=none": ("network", "none"),
    "platform=linux/arm64": ("platform", "linux/arm64"),
    "target=a": ("target", "a"),
    "outputs=" + quote('[{"Type":"cacheonly"}]'): ("outputs", [{"type": "cacheonly"}]),
}


@pytest.mark.parametrize("query", DONE)
def test_what_is_done(query: str) -> None:
    name, value = DONE[query]
    assert asked(query) == {**NONE, name: value}


@pytest.mark.parametrize("query", ["rm=0", "rm=1", "forcerm=1", "version=1", "buildid=x", "isolation="])
def test_what_changes_nothing(query: str) -> None:
    """There are no containers between steps that could be kept."""
    assert asked(query) == NONE


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("squash=1", InvalidInput),
        ("securityopt=label", InvalidInput),
        ("session=abc", Unsupported),
        ("platform=nonsense", InvalidInput),
        ("memory=1e3", InvalidInput),
        ("t=a@sha256:" + "a" * 64, InvalidInput),
        ("buildargs=5", InvalidInput),
        ("buildargs=" + quote('{"A":5}'), InvalidInput),
        ("labels=" + quote("[" * 5000), InvalidInput),
        ("ulimits=" + quote('{"a":1}'), InvalidInput),
        ("outputs=" + quote('[{"Type":"local","Attrs":{"dest":"/etc"}}]'), Unsupported),
        ("outputs=" + quote('[{"Type":"image","Attrs":{"push":"true"}}]'), Unsupported),
        ("outputs=" + quote('["a"]'), InvalidInput),
    ],
)
def test_what_is_refused(query: str, kind: type[EstivaError]) -> None:
    with pytest.raises(kind):
        asked(query)


@pytest.mark.parametrize("place", ["/etc", "file:///etc", "../x", "/srv/x.git", "client-session", "-x", ""])
def test_a_remote_context_is_no_folder_of_the_server(place: str) -> None:
    with pytest.raises(InvalidInput, match="no address"):
        elsewhere(place)


def test_a_remote_context() -> None:
    for place in ("https://h.example/x.tar", "https://h.example/x.git#main:sub", "git@h.example:x.git"):
        assert elsewhere(place) == place
    assert json.dumps(NONE["given"]) == "{}"
