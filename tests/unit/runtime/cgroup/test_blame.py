"""Whose memory limit it was, by files as the kernel has them."""

import pathlib

import pytest

from estiva.runtime.cgroup import blame
from estiva.runtime.cgroup.layout import Layout

MAX = str(0x7FFFFFFFFFFFF000)


class Group:
    path = "/top/middle/own"

    def __init__(self, places):
        self.places = places
        self.directories = tuple(mount + self.path for mount in places.mounts)


def v1(folder, **files):
    make(folder, files)
    return Group(Layout("v1", (str(folder),), {"memory": str(folder)}))


def v2(folder, **files):
    make(folder, files)
    return Group(Layout("v2", (str(folder),), {}))


def make(folder, files):
    for name, content in files.items():
        where = {"top": "top", "middle": "top/middle", "own": "top/middle/own"}[name]
        place = pathlib.Path(folder, where)
        place.mkdir(parents=True, exist_ok=True)
        for file, text in content.items():
            (place / file).write_text(text + "\n")


def old(limit, failcnt, name="memory"):
    return {f"{name}.limit_in_bytes": str(limit), f"{name}.failcnt": str(failcnt)}


def new(limit, oom):
    return {"memory.max": str(limit), "memory.events.local": f"low 0\noom {oom}\noom_kill 0"}


@pytest.mark.parametrize(
    ("own", "middle", "top", "found"),
    [
        (old(64, 9), old(MAX, 0), old(MAX, 0), {"Scope": "own", "Cgroup": "/top/middle/own", "Limit": 64}),
        (old(64, 0), old(128, 5), old(MAX, 0), {"Scope": "ancestor", "Cgroup": "/top/middle", "Limit": 128}),
        (old(MAX, 0), old(MAX, 0), old(128, 5), {"Scope": "ancestor", "Cgroup": "/top", "Limit": 128}),
        (old(64, 9), old(128, 5), old(MAX, 0), {"Scope": "unknown"}),
        (old(64, 0), old(128, 0), old(MAX, 0), {"Scope": "machine"}),
        (
            {**old(64, 0), **old(64, 0, "memory.memsw"), "memory.memsw.max_usage_in_bytes": "64"},
            {**old(MAX, 0), **old(MAX, 0, "memory.memsw"), "memory.memsw.max_usage_in_bytes": "900"},
            {},
            {"Scope": "own", "Cgroup": "/top/middle/own", "Limit": 64},
        ),
        (
            {**old(64, 0), **old(96, 3, "memory.memsw")},
            old(MAX, 0),
            {},
            {"Scope": "own", "Cgroup": "/top/middle/own", "Limit": 96},
        ),
    ],
)
def test_on_v1_by_failcnt(tmp_path, own, middle, top, found):
    assert blame.blame(v1(tmp_path, top=top, middle=middle, own=own)) == found


@pytest.mark.parametrize(
    ("own", "middle", "found"),
    [
        (new(64, 1), new("max", 0), {"Scope": "own", "Cgroup": "/top/middle/own", "Limit": 64}),
        (new(64, 0), new(128, 1), {"Scope": "ancestor", "Cgroup": "/top/middle", "Limit": 128}),
        (new(64, 1), new(128, 1), {"Scope": "unknown"}),
        (new(64, 0), new("max", 1), {"Scope": "machine"}),
        ({**new(64, 0), "memory.events": "oom 1\noom_kill 1"}, new("max", 0), {"Scope": "inside"}),
    ],
)
def test_on_v2_by_the_events_that_are_its_own(tmp_path, own, middle, found):
    assert blame.blame(v2(tmp_path, top={}, middle=middle, own=own)) == found


def test_where_there_is_no_controller(tmp_path):
    group = Group(Layout("v1", (str(tmp_path),), {"pids": str(tmp_path)}))
    assert blame.blame(group) == {"Scope": "unknown"} and blame.peak(group) is None


def test_the_peak(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert blame.peak(v1(tmp_path / "1", own={"memory.max_usage_in_bytes": "4096"})) == 4096
    assert blame.peak(v2(tmp_path / "2", own={"memory.peak": "8192"})) == 8192
    assert blame.peak(v2(tmp_path / "2", own={"memory.max": "max"})) == 8192
    (tmp_path / "2/top/middle/own/memory.peak").unlink()
    assert blame.peak(v2(tmp_path / "2")) is None
