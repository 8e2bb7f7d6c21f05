"""Which hierarchies are mounted, and cgroup paths."""

from __future__ import annotations

import pytest

from estiva.errors import InvalidInput, Unsupported
from estiva.runtime.cgroup.layout import Layout, clean, parent, parse, resolve

V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
42 31 0:39 / /sys/fs/cgroup/other rw,relatime - cgroup cgroup rw,name=mine
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2 = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
77 23 0:26 / /mnt/a\\040cgroup rw,nosuid - cgroup2 cgroup2 rw
"""


def test_hybrid_is_v1_with_each_mount_once() -> None:
    places = parse(V1)
    assert places.version == "v1"
    assert places.where == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }
    assert places.mounts == ("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd")
    assert places.hybrid == "/sys/fs/cgroup/unified"
    assert parse(V2).hybrid == ""


def test_unified() -> None:
    places = parse(V2)
    assert (places.version, places.mounts) == ("v2", ("/sys/fs/cgroup",))
    assert parse(V2.splitlines()[2]).mounts == ("/mnt/a cgroup",)


def test_the_usual_place_wins_over_another_mount_of_the_same() -> None:
    extra = "90 1 0:32 / /tmp/memory rw - cgroup cgroup rw,memory\n"
    for text in (V1 + extra, extra + V1):
        assert parse(text).where["memory"] == "/sys/fs/cgroup/memory"


def test_none_mounted() -> None:
    with pytest.raises(Unsupported, match="no cgroup hierarchy"):
        parse("27 1 254:0 / / rw,relatime - ext4 /dev/cgroup rw\n")


def test_paths_have_one_spelling() -> None:
    assert clean("/a//b/") == "/a/b"
    assert clean("/./a/b/../c") == "/a/c"
    assert clean("/../../a/../../b") == "/b"  # the root has nothing above it
    for bad in ("a", "/", "", "/..", "/a/..", "../a", "/a\nb", "/a\0"):
        with pytest.raises(InvalidInput):
            clean(bad)


def test_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESTIVA_CGROUP_PARENT", raising=False)
    assert parent() == "/estiva"
    monkeypatch.setenv("ESTIVA_CGROUP_PARENT", "/tests/one/")
    assert parent() == "/tests/one"
    monkeypatch.setenv("ESTIVA_CGROUP_PARENT", "../up")
    with pytest.raises(InvalidInput):
        parent()


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/estiva/ID"),
        ("/pods/x", "/pods/x"),
        ("mine", "/estiva/mine"),
        ("system.slice:docker:ID", "/system.slice/docker-ID.scope"),
        (":docker:ID", "/system.slice/docker-ID.scope"),
        ("/a/../../b", "/b"),
        ("../../mine", "/estiva/mine"),
        ("a/../../../mine", "/estiva/mine"),
        ("a-b-c.slice:cri:ID", "/a.slice/a-b.slice/a-b-c.slice/cri-ID.scope"),
    ],
)
def test_cgroups_path_of_a_bundle(monkeypatch: pytest.MonkeyPatch, given: str, path: str) -> None:
    monkeypatch.delenv("ESTIVA_CGROUP_PARENT", raising=False)
    assert resolve(given, "ID") == path
    for root in ("/a/../..", "..", "/"):
        with pytest.raises(InvalidInput):
            resolve(root, "ID")


def test_where_a_cgroup_may_have_been_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """On v2, without the right to the root, below what is delegated to the caller."""
    from estiva.runtime.cgroup import factory
    from estiva.runtime.cgroup.v2 import tree

    monkeypatch.setattr(factory, "layout", lambda: Layout("v2", ("/cg",), {}))
    monkeypatch.setattr(tree, "own_cgroup", lambda: "/user.slice/x")
    assert [group.path for group in factory.places("/a/../b")] == ["/b", "/user.slice/x/b"]
    monkeypatch.setattr(tree, "own_cgroup", lambda: "")
    assert [group.path for group in factory.places("/b")] == ["/b"]
    monkeypatch.setattr(factory, "layout", lambda: Layout("v1", ("/cg/pids",), {"pids": "/cg/pids"}))
    assert [group.path for group in factory.places("/b")] == ["/b"]
