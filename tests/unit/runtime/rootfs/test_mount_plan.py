"""config.mounts read."""

from __future__ import annotations

from typing import Any

import pytest

from estiva.errors import InvalidInput
from estiva.linux import mount as mnt
from estiva.runtime.rootfs import mount_plan


def one(*options: str, **fields: Any) -> mount_plan.Mount:
    entry: dict[str, Any] = {"destination": "/x", "source": "/s", "options": list(options)} | fields
    return mount_plan.plan([entry])[0]


def test_mount_options() -> None:
    mount = one("nosuid", "noexec", "ro", "size=5m", "mode=755", type="tmpfs")
    assert (mount.bind, mount.data) == (False, ["size=5m", "mode=755"])
    assert mount.flags == mnt.MS_NOSUID | mnt.MS_NOEXEC | mnt.MS_RDONLY
    mount = one("rbind", "ro", "rslave", "x-whatever", "nodev", "dev")
    assert mount.bind and mount.recursive and mount.propagation == mnt.MS_SLAVE | mnt.MS_REC
    assert mount.set == mnt.MOUNT_ATTR_RDONLY and mount.clear == mnt.MOUNT_ATTR_NODEV
    mount = one("bind", "rro", "noatime")
    assert (mount.set_all, mount.recursive) == (mnt.MOUNT_ATTR_RDONLY, False)
    assert (mount.set, mount.clear) == (mnt.MOUNT_ATTR_NOATIME, mnt.MOUNT_ATTR__ATIME)
    assert one("rrelatime", "rbind").clear_all == mnt.MOUNT_ATTR__ATIME


def test_a_type_of_bind_is_one_and_so_is_none() -> None:
    assert one(type="none").bind and one(type="").bind and one("rbind", type="ext4").bind
    assert not one(type="tmpfs").bind
    assert str(one("bind")) == "mount /s at /x"
    assert str(one(type="tmpfs")) == "mount tmpfs at /x"


def test_destinations_are_taken_from_the_root() -> None:
    assert one(destination="data").destination == "/data"
    for bad in ("", None, 5):
        with pytest.raises(InvalidInput, match=r"mounts\[0\].destination is missing"):
            one(destination=bad)


def test_options_for_other_programs_are_passed_over_and_of_a_filesystem_kept() -> None:
    assert one("x-y", "X-z", "defaults", "nofail", "_netdev", type="tmpfs").data == []
    assert one("size=1m", "bind").data == []  # a bind mount has none
    assert one("newinstance", "ptmxmode=0666", type="devpts").data == ["newinstance", "ptmxmode=0666"]


@pytest.mark.parametrize(("word", "flags"), mount_plan.PROPAGATION.items())
def test_propagation(word: str, flags: int) -> None:
    assert one("bind", word).propagation == flags


def test_what_is_said_last_counts() -> None:
    assert one("bind", "ro", "rw").clear == mnt.MOUNT_ATTR_RDONLY
    mount = one("bind", "rw", "ro")
    assert (mount.set, mount.clear) == (mnt.MOUNT_ATTR_RDONLY, 0)
    assert one("ro", "rw", type="tmpfs").flags == 0


def test_a_subpath_stays_words() -> None:
    assert one("bind", f"{mount_plan.SUBPATH}a/../../b").subpath == "a/../../b"


def test_a_label_goes_to_filesystems_that_take_one() -> None:
    entries = [
        {"destination": "/a", "type": kind, "source": kind} for kind in ("tmpfs", "proc", "cgroup", "bind")
    ]
    labelled = [mount.fstype for mount in mount_plan.plan(entries, "system_u:x") if mount.data]
    assert labelled == ["tmpfs"]


def test_id_maps() -> None:
    maps = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 5000, "size": 10}]
    assert mount_plan.id_map(maps, "x") == "0 1000 1\n1 5000 10"
    mount = one("bind", uidMappings=maps, gidMappings=maps[:1])
    assert (mount.idmap, mount.uid_map, mount.gid_map) == ("idmap", "0 1000 1\n1 5000 10", "0 1000 1")
    assert one("rbind", "ridmap").idmap == "ridmap"


@pytest.mark.parametrize(
    "entry",
    [
        {"size": 0},
        {"containerID": 1},
        {"containerID": -1, "size": 1},
        {"hostID": 1 << 32, "size": 1},
        {"size": True},
        {"size": "1"},
        {"hostID": 1.0, "size": 1},
    ],
)
def test_what_is_no_id_map_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"where\[0\]: "):
        mount_plan.id_map([entry], "where")


def test_every_option_that_is_told_of_is_known() -> None:
    told = mount_plan.names()
    assert told == sorted(set(told)) and {"rbind", "rro", "rslave", "tmpcopyup"} <= set(told)
    for option in set(told) - {"tmpcopyup"}:
        assert one("bind", option).data == []
