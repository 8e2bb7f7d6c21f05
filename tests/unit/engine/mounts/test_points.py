"""Mount points: what is asked for, as it is on this machine, and as the launcher mounts it."""

import os
import stat
import types

import pytest

from estiva.engine.mounts import points
from estiva.errors import Conflict, InvalidInput, NotFound, Unsupported

OPTIONS = {"ram": {"type": "tmpfs", "device": "tmpfs"}}


class Volumes:
    """Volumes in memory."""

    def __init__(self, *names):
        self.names = {name: {} for name in names}
        self.users = {}

    def find(self, name):
        return self.names.get(name)

    def create(self, name, labels=None, *, anonymous=False, user="", options=None):
        if name == "broken":
            raise Conflict("no")
        new = name not in self.names
        self.names.setdefault(name, {"labels": labels, "anonymous": anonymous})
        self.users[name] = user
        return types.SimpleNamespace(options=options or OPTIONS.get(name) or {}, new=new)

    def path(self, name):
        return f"/volumes/{name}/_data"


def plan(volumes=None, config=None, **host):
    return points.plan(config or {}, host, volumes or Volumes())


def test_nothing_asked_for():
    assert plan() == plan(Binds=None, Mounts=[], Tmpfs={}, config={"Volumes": None}) == []


def test_a_volume_driver_that_there_isn_t_is_refused_where_a_volume_would_be_its(tmp_path):
    assert plan(VolumeDriver="nfs") == []
    mount = {"Type": "volume", "Source": "own", "Target": "/x"}  # which has a driver of its own, or local
    assert len(plan(VolumeDriver="nfs", Binds=[f"{tmp_path}:/y"], Mounts=[mount])) == 2
    volumes = Volumes()
    for asked in ({"Binds": ["data:/x"]}, {"config": {"Volumes": {"/x": {}}}}):
        with pytest.raises(Unsupported, match="the volume driver nfs is not supported"):
            plan(volumes, VolumeDriver="nfs", **asked)
    assert not volumes.names
    assert len(plan(VolumeDriver="nfs", Binds=[f"{tmp_path}:/x"], config={"Volumes": {"/x": {}}})) == 1


def test_a_bind_makes_its_folder(tmp_path):
    umask = os.umask(0o077)
    try:
        (point,) = plan(Binds=[f"{tmp_path}/a/b:/x:ro,rslave"])
    finally:
        os.umask(umask)
    assert point == {
        "Type": "bind", "Source": f"{tmp_path}/a/b", "Destination": "/x", "Mode": "ro,rslave", "RW": False,
        "Propagation": "rslave",
    }  # fmt: skip
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o755


def test_a_mount_wants_its_source_to_be_there(tmp_path):
    mount = {"Type": "bind", "Source": f"{tmp_path}/a", "Target": "/x"}
    with pytest.raises(InvalidInput, match=f"bind source path does not exist: {tmp_path}/a"):
        plan(Mounts=[mount])
    assert not (tmp_path / "a").exists()
    (point,) = plan(Mounts=[{**mount, "BindOptions": {"CreateMountpoint": True}}])
    assert (tmp_path / "a").is_dir() and point["Propagation"] == "rprivate" and point["RW"]


def test_a_source_that_is_the_container_s_user_s(tmp_path):
    (point,) = plan(Volumes("data"), Binds=["data:/x:U"])
    assert point["Chown"] is True
    volumes = Volumes()
    volumes.paths = types.SimpleNamespace(root="/nosuch/root", run_root="/nosuch/run")
    with pytest.raises(InvalidInput, match="/etc"):  # engine/mounts/chown.py says which folders never are
        plan(volumes, Binds=["/etc:/x:U"])
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        points.make_folder(f"{tmp_path}/file")


def test_a_folder_that_can_t_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="file/x is not there and can't be made: not a directory"):
        plan(Binds=[f"{tmp_path}/file/x:/y"])


def test_nothing_is_made_when_one_is_wrong(tmp_path):
    volumes = Volumes()
    with pytest.raises(InvalidInput, match="can't be mounted on: it is the kernel's"):
        plan(volumes, Binds=[f"{tmp_path}/a:/x", "data:/proc/sys"])
    assert volumes.names == {} and not (tmp_path / "a").exists()


@pytest.mark.parametrize("target", ["/proc", "/proc/", "/proc/sys", "/proc/1", "/x/../proc/self"])
def test_what_is_the_kernel_s_is_not_mounted_on(target):
    with pytest.raises(InvalidInput, match="can't be mounted on: it is the kernel's"):
        plan(Tmpfs={target: ""})


def test_files_of_proc_that_may_be_and_proc_itself(tmp_path):
    (tmp_path / "file").write_text("")
    assert plan(Binds=[f"{tmp_path}/file:/proc/meminfo"])[0]["Destination"] == "/proc/meminfo"
    assert plan(Binds=["/proc:/proc"])[0]["Source"] == "/proc"


def test_volumes():
    volumes = Volumes("old")
    found = plan(
        volumes,
        {"Volumes": {"/anonymous": {}}},
        Binds=["old:/a", "new:/b:nocopy"],
        Mounts=[
            {"Type": "volume", "Source": "third", "Target": "/c", "VolumeOptions": {"Labels": {"k": "v"}}}
        ],
    )
    old, new, third, anonymous = found
    assert (old["Name"], old["Source"], old["Driver"], "New" in old) == (
        "old",
        "/volumes/old/_data",
        "local",
        True,
    )  # filled where it is empty
    assert new["New"] is False and third["New"] is True
    assert volumes.names["third"] == {"labels": {"k": "v"}, "anonymous": False}
    assert anonymous["Anonymous"] and anonymous["New"] and len(anonymous["Name"]) == 64
    assert volumes.names[anonymous["Name"]]["anonymous"]


def test_an_error_half_way_leaves_its_volumes_to_whom_they_were_made_for():
    volumes = Volumes()
    mounts = [
        {"Type": "volume", "Target": "/a"},
        {"Type": "volume", "Source": "broken", "Target": "/b"},
    ]
    with pytest.raises(Conflict):
        points.plan({}, {"Mounts": mounts}, volumes, "mine")
    assert volumes.users == dict.fromkeys(volumes.names, "mine") and len(volumes.users) == 1


def test_tmpfs():
    (one, two) = plan(Tmpfs={"/a": "size=1m,,exec"}, Mounts=[{"Type": "tmpfs", "Target": "/b", "ReadOnly": True, "TmpfsOptions": {"SizeBytes": 5, "Mode": 0o700}}])  # fmt: skip
    assert (two["Mode"], one["Mode"]) == ("size=1m,exec", "size=5,mode=700")
    assert points.oci([two, one]) == [
        {"destination": "/a", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "nodev", "size=1m", "mode=1777"]},
        {"destination": "/b", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "nodev", "noexec", "size=5", "mode=700", "ro"]},
    ]  # fmt: skip


def oci(tmp_path, **fields):
    point = {
        "Type": "bind",
        "Source": str(tmp_path),
        "Destination": "/x",
        "Mode": "",
        "RW": True,
        "Propagation": "",
    }
    return points.oci([{**point, **fields}])[0]


def test_binds_as_the_launcher_mounts_them(tmp_path):
    assert oci(tmp_path) == {
        "destination": "/x", "type": "bind", "source": str(tmp_path), "options": ["rbind", "rprivate"],
    }  # fmt: skip
    assert oci(tmp_path, RW=False, Propagation="rshared")["options"] == ["rbind", "rshared", "rro"]
    assert oci(tmp_path, NonRecursive=True)["options"] == ["bind", "rprivate"]
    assert oci(tmp_path, NonRecursive=True, RW=False)["options"] == ["bind", "rprivate", "ro"]
    mapped = oci(tmp_path, IDMap="uids=0-5-9")
    assert mapped["options"] == ["rbind", "rprivate", "idmap"]
    assert mapped["uidMappings"] == mapped["gidMappings"] == [{"containerID": 0, "hostID": 5, "size": 9}]
    assert "uidMappings" not in oci(tmp_path, IDMap="")


def test_a_bind_that_is_not_to_hold_what_is_mounted_in_it(tmp_path):
    mount = {"Type": "bind", "Source": str(tmp_path), "Target": "/x", "BindOptions": {"NonRecursive": True}}
    (point,) = plan(Mounts=[mount])
    assert points.oci([point])[0]["options"] == ["bind", "rprivate"]


def test_a_source_that_has_gone(tmp_path):
    with pytest.raises(NotFound, match=f"mount source {tmp_path}/a is gone"):
        oci(tmp_path, Source=f"{tmp_path}/a")
    (tmp_path / "link").symlink_to("nowhere")
    assert oci(tmp_path, Source=f"{tmp_path}/link")["source"] == f"{tmp_path}/link"


def test_bind_options(tmp_path):
    bind = {"Type": "bind", "Source": str(tmp_path), "Target": "/x", "ReadOnly": True}
    for options, words in (
        ({}, ["rbind", "rprivate", "rro"]),
        ({"ReadOnlyNonRecursive": True}, ["rbind", "rprivate", "ro"]),
        ({"ReadOnlyForceRecursive": True}, ["rbind", "rprivate", "rro"]),
        ({"NonRecursive": True}, ["bind", "rprivate", "ro"]),
    ):
        assert points.oci(plan(Mounts=[{**bind, "BindOptions": options}]))[0]["options"] == words
    (one,) = points.oci(plan(Binds=[f"{tmp_path}:/x:bind,nosuid,noexec,unbindable"]))
    assert one["options"] == ["bind", "unbindable", "nosuid", "noexec"]


def test_what_is_mounted_before(tmp_path):
    """images, overlays and volumes with options: the launcher is handed an fd"""

    class Known:
        def image_id(self, reference):
            return f"id of {reference}"

    mounts = [
        {"Type": "image", "Source": "box", "Target": "/i", "ImageOptions": {"Subpath": "etc"}},
        {"Type": "volume", "Source": "ram", "Target": "/r"},
        {"Type": "volume", "Source": "data", "Target": "/s", "VolumeOptions": {"Subpath": "a/b"}},
    ]
    found = points.plan(
        {}, {"Mounts": mounts, "Binds": [f"{tmp_path}:/o:O"]}, Volumes("data", "ram"), known=Known()
    )
    places = {point["Destination"]: point for point in found}
    assert [place for place, point in places.items() if point.get("Detached")] == ["/o", "/i", "/r"]
    assert (places["/i"]["ImageId"], places["/i"]["RW"], places["/i"]["Subpath"]) == (
        "id of box",
        False,
        "etc",
    )
    assert not places["/s"]["New"]
    places["/s"]["Source"] = str(tmp_path)
    options = {one["destination"]: one["options"] for one in points.oci(found) if one["source"]}
    assert options["/s"][-1] == "X-estiva.subpath=a/b" and options["/i"] == options["/o"] == ["bind"]


def test_volumes_from(tmp_path):
    lent = [
        {
            "Type": "volume",
            "Name": "v",
            "Source": "/volumes/v/_data",
            "Destination": "/v",
            "Mode": "z",
            "RW": True,
            "Anonymous": True,
        },
        {"Type": "bind", "Source": str(tmp_path), "Destination": "/b", "Mode": "ro", "RW": False},
        {"Type": "tmpfs", "Source": "", "Destination": "/t", "Mode": "size=1m", "RW": True},
        {"Type": "devpts", "Source": "", "Destination": "/pts", "Mode": "", "RW": True},
    ]

    class Known:
        def mounts_of(self, container):
            assert container == "other"
            return lent

    def found(volumes, **host):
        made = points.plan({"Volumes": {"/v": {}, "/w": {}}}, host, volumes, "mine", Known())
        return {point["Destination"]: point for point in made}

    volumes = Volumes("v")
    places = found(volumes, VolumesFrom=["other"])
    assert places["/v"] == {**lent[0], "Mode": ""} and places["/b"] == {**lent[1], "Mode": ""}
    assert places["/w"]["Anonymous"]
    assert set(places) == {"/v", "/b", "/w"}  # what is each container's own is not lent
    assert volumes.users["v"] == "mine"
    assert not found(volumes, VolumesFrom=["other:ro,z"])["/v"]["RW"]
    assert not found(volumes, VolumesFrom=["other:rw"])["/b"]["RW"]
    assert found(volumes, VolumesFrom=["other"], Binds=[f"{tmp_path}:/v"])["/v"]["Type"] == "bind"


def test_a_mode_is_as_docker_says_it(tmp_path):
    made = plan(
        config={"Volumes": {"/image": {}}},
        Binds=["v1:/a", "v2:/b:nocopy,ro", "v3:/c:rw", f"{tmp_path}:/d", f"{tmp_path}:/e:ro"],
        Mounts=[
            {"Type": "volume", "Source": "v4", "Target": "/f", "ReadOnly": True},
            {"Type": "volume", "Target": "/g"},
            {"Type": "bind", "Source": str(tmp_path), "Target": "/h", "ReadOnly": True},
        ],
    )
    assert {point["Destination"]: point["Mode"] for point in made} == {
        "/a": "z", "/b": "nocopy,ro", "/c": "rw", "/d": "", "/e": "ro", "/f": "z", "/g": "z", "/h": "", "/image": "",
    }  # fmt: skip
