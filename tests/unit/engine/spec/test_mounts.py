"""Binds, Mounts, Tmpfs and Volumes as one list of mounts, or what is wrong with them."""

import os

import pytest

from estiva.engine.spec import mounts
from estiva.errors import InvalidInput, Unsupported

MADE = {"CreateMountpoint": True}
BINDS = [
    ("/a:/b", {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": MADE}),
    ("/a/../c//d/:/b/./x/..", {"Type": "bind", "Source": "/c/d", "Target": "/b", "BindOptions": MADE}),
    (
        "/a:/b:ro,z",
        {
            "Type": "bind",
            "Source": "/a",
            "Target": "/b",
            "BindOptions": MADE,
            "ReadOnly": True,
            "Mode": "ro,z",
        },
    ),
    (
        "/a:/b:rw,rslave",
        {
            "Type": "bind",
            "Source": "/a",
            "Target": "/b",
            "BindOptions": {**MADE, "Propagation": "rslave"},
            "Mode": "rw,rslave",
        },
    ),
    ("data:/b", {"Mode": "z", "Type": "volume", "Source": "data", "Target": "/b"}),
    (
        "data:/b:nocopy",
        {
            "Type": "volume",
            "Source": "data",
            "Target": "/b",
            "VolumeOptions": {"NoCopy": True},
            "Mode": "nocopy",
        },
    ),
    ("data:/b:U", {"Type": "volume", "Source": "data", "Target": "/b", "Chown": True, "Mode": "U"}),
    (
        "/a:/b:idmap",
        {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": MADE, "IDMap": "", "Mode": "idmap"},
    ),
    (
        "data:/b:idmap=uids=0-1-2",
        {
            "Type": "volume",
            "Source": "data",
            "Target": "/b",
            "IDMap": "uids=0-1-2",
            "Mode": "idmap=uids=0-1-2",
        },
    ),
]


@pytest.mark.parametrize(("text", "expected"), BINDS, ids=[row[0] for row in BINDS])
def test_binds(text, expected):
    assert mounts.from_bind(text) == expected


def test_all_that_is_asked_for_by_place():
    config = {"Volumes": {"/v": {}, "/b": {}}}
    host = {
        "Binds": ["/a:/b"],
        "Mounts": [{"Type": "tmpfs", "Target": "/t/", "ReadOnly": None, "TmpfsOptions": {"SizeBytes": 5}}],
        "Tmpfs": {"/u": "size=1m"},
    }
    assert mounts.wanted(config, host) == [
        {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": MADE},
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 5}},
        {"Type": "tmpfs", "Source": "", "Target": "/u", "TmpfsFlags": "size=1m"},
        {"Type": "volume", "Source": "", "Target": "/v"},
    ]
    assert mounts.wanted({}, {"Binds": None, "Mounts": [], "Tmpfs": {}}) == []


def mount(kind="bind", target="/x", **fields):
    return {"Mounts": [{"Type": kind, "Target": target, **fields}]}


REFUSED = [
    ({"Tmpfs": {"/x": "foo"}}, 'invalid tmpfs option "foo" of /x'),
    ({"Tmpfs": {"/x": "ro,size"}}, 'invalid tmpfs option "size" of /x: it wants a value'),
    ({"Tmpfs": {"/x": "mode=9"}}, 'invalid tmpfs option "mode=9" of /x: an octal mode'),
    ({"Binds": ["/a:/b:O,U"]}, "the volume option O can't be used with U"),
    ({"Binds": ["/a:/b:O,upperdir=/u"]}, "upperdir and workdir go together"),
    ({"Binds": ["/a:/b:upperdir=/u"]}, "upperdir=/u of /a:/b:upperdir=/u"),
    (mount("image"), "an image mount has a source"),
    (mount("image", Source="a", ImageOptions={"Subpath": "../x"}), "image-subpath ../x must be a relative path"),
    (mount("volume", Source="vol", VolumeOptions={"Subpath": "/x"}), "volume-subpath /x must be a relative path"),
    (mount("volume", VolumeOptions={"Subpath": "x"}), "volume-subpath is for a volume with a name"),
    (mount("bind", Source="/a", BindOptions={"ReadOnlyNonRecursive": True}), "'bind-recursive=writable' requires 'readonly'"),
    (mount("bind", Source="/a", BindOptions={"ReadOnlyForceRecursive": True}), "'bind-recursive=readonly' requires 'readonly'"),
    (mount("bind", Source="/a", ReadOnly=True, BindOptions={"ReadOnlyForceRecursive": True, "Propagation": "rshared"}),
     "'bind-recursive=readonly' requires 'bind-propagation=rprivate'"),
    (mount("tmpfs", ImageOptions={"Subpath": "x"}), "cannot mix 'image-*' options with mount type 'tmpfs'"),
    (mount("devpts", Source="x"), "a devpts mount has no source"),
    (mount("volume", Source="vol", VolumeOptions={"DriverConfig": {"Options": {"foo": "x"}}}), 'volume vol: invalid option: "foo"'),
    ({"Binds": [":/x"]}, "invalid spec: :/x: empty section between colons"),
    ({"Binds": ["/a:"]}, "invalid spec: /a:: empty section between colons"),
    ({"Binds": ["/a:/b:"]}, "invalid spec: /a:/b:: empty section between colons"),
    ({"Binds": ["/a"]}, "invalid volume specification: '/a'"),
    ({"Binds": ["a:b:c:d"]}, "invalid volume specification: 'a:b:c:d'"),
    ({"Binds": ["/a:b"]}, "invalid volume specification: '/a:b': mount path 'b' must be absolute"),
    ({"Binds": ["/a:/"]}, "invalid volume specification: '/a:/': destination can't be '/'"),
    ({"Binds": ["/a://"]}, "destination can't be '/'"),
    ({"Binds": ["/a:/b/../.."]}, "destination can't be '/'"),
    ({"Binds": ["/a:/b:bad"]}, "invalid mode: bad in the volume /a:/b:bad"),
    ({"Binds": ["/a:/b:ro,"]}, "invalid mode: "),
    ({"Binds": ["x:/b"]}, "the volume name x is too short"),
    (mount("volume", Source="x"), "the volume name x is too short"),
    ({"Binds": ["data:/b:rw,ro"]}, "invalid mode: rw,ro in the volume data:/b:rw,ro"),
    ({"Binds": ["/a:/b:ro,z,rw"]}, "invalid mode: ro,z,rw"),
    ({"Binds": ["/a:/b:ro,ro"]}, "invalid mode: ro,ro"),
    ({"Binds": ["/a:/b:z,Z"]}, "invalid mode: z,Z"),
    ({"Binds": ["/a:/b:shared,rslave"]}, "invalid mode: shared,rslave"),
    ({"Binds": ["data:/b:nocopy,copy"]}, "invalid mode: nocopy,copy"),
    ({"Binds": ["/a:/b:exec,noexec"]}, "invalid mode: exec,noexec"),
    ({"Binds": ["/a:/b:nocopy"]}, "invalid mode: nocopy"),
    ({"Binds": ["data:/b:rshared"]}, "invalid mode: rshared"),
    ({"Binds": ["./rel:/b"]}, '"./rel" includes invalid characters for a local volume name'),
    ({"Binds": ["..:/b"]}, '".." includes invalid characters for a local volume name'),
    ({"Binds": ["a/b:/b"]}, '"a/b" includes invalid characters for a local volume name'),
    ({"Binds": ["a" * 256 + ":/b"]}, "invalid volume name"),
    ({"Binds": ["/a:/b:idmap=x"]}, "invalid idmap: x"),
    ({"Binds": ["/a:/b:U,idmap=uids=0-1-2"]}, "the volume option U of /b can't be used with id mappings of its own"),
    ({"Binds": ["/a:/x", "/b:/x/"]}, "duplicate mount point: /x"),
    ({"Binds": ["/a:/x"], "Tmpfs": {"/y/../x": ""}}, "duplicate mount point: /x"),
    ({"Tmpfs": {"rel": ""}}, "invalid tmpfs mount 'rel': mount path 'rel' must be absolute"),
    ({"Tmpfs": {"/": ""}}, "destination can't be '/'"),
    (mount("bad"), "mount type unknown: 'bad'"),
    (mount("bind", source="/a"), 'invalid mount config for type "bind": field Source must not be empty'),
    (mount("bind", Source="rel"), "invalid mount path: 'rel' mount path must be absolute"),
    (mount("bind", "rel", Source="/a"), "mount path 'rel' must be absolute"),
    (mount("bind", "", Source="/a"), "mount path '' must be absolute"),
    (mount("bind", Source="/a", BindOptions={"Propagation": "x"}), "invalid value for bind-propagation: x"),
    (mount("bind", Source="/a", TmpfsOptions={"SizeBytes": 1}), "cannot mix 'tmpfs-*' options with mount type 'bind'"),
    (mount("volume", BindOptions={"Propagation": "private"}), "cannot mix 'bind-*' options with mount type 'volume'"),
    (mount("tmpfs", VolumeOptions={"NoCopy": True}), "cannot mix 'volume-*' options with mount type 'tmpfs'"),
    (mount("volume", Source="../x"), '"../x" includes invalid characters for a local volume name'),
    (mount("tmpfs", Source="x"), "a tmpfs mount has no source"),
    (mount("tmpfs", IDMap=""), "a tmpfs mount can't be id-mapped"),
    (mount("tmpfs", Chown=True), "a tmpfs mount has no source to chown"),
    (mount("volume", IDMap="uids=0-1"), "invalid idmap: uids=0-1"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "message"), REFUSED, ids=[row[1][:70] for row in REFUSED])
def test_refused(host, message):
    with pytest.raises(InvalidInput) as caught:
        mounts.wanted({}, host)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (mount("npipe", Source="x"), "mount type npipe is not supported"),
        (mount("glob", Source="/a*"), "mount type glob is not supported"),
        (
            mount("volume", Source="vol", VolumeOptions={"DriverConfig": {"Name": "nfs"}}),
            "volume vol: the volume driver nfs is not known here",
        ),
        (
            mount("volume", Source="vol", VolumeOptions={"DriverConfig": {"Options": {"size": "1g"}}}),
            "volume vol: the option size needs a quota",
        ),
    ],
)
def test_what_is_not_there_yet(host, message):
    with pytest.raises(Unsupported) as caught:
        mounts.wanted({}, host)
    assert caught.value.message.startswith(message)


def test_what_is_said_and_asks_for_nothing():
    mounts.wanted(
        {}, mount("bind", Source="/a", VolumeOptions={"NoCopy": False}, TmpfsOptions={}, BindOptions=None)
    )
    mounts.wanted({}, mount("volume", VolumeOptions={"DriverConfig": {"Name": "local", "Options": {}}}))


def test_id_mappings():
    one = [{"containerID": 0, "hostID": 5, "size": 9}]
    assert mounts.id_mapping("") == {}
    assert mounts.id_mapping("uids=0-5-9") == {"uidMappings": one, "gidMappings": one}
    assert mounts.id_mapping("gids=0-5-9;uids=0-5-9#9-20-1") == {
        "gidMappings": one,
        "uidMappings": [*one, {"containerID": 9, "hostID": 20, "size": 1}],
    }
    for text in (
        "x",
        "uids",
        "uids=",
        "uids=0-5",
        "uids=0-5-x",
        "uids=0-5-٣",
        "uids=0-5-" + "9" * 5000,
        "uids=0-5-9;",
        ";",
    ):
        with pytest.raises(InvalidInput, match="invalid idmap: "):
            mounts.id_mapping(text)


def test_a_dot_is_the_caller_s_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mounts.absolute(".") == str(tmp_path)
    assert mounts.absolute("./a/../b") == f"{tmp_path}/b"
    assert mounts.absolute("..") == os.path.dirname(tmp_path)
    for name in ("data", "/a", ".hidden", "..x", "a/b", ""):
        assert mounts.absolute(name) == name


def test_volumes_from():
    assert mounts.volumes_from("a") == ("a", True) and mounts.volumes_from("a:ro,z") == ("a", False)
    for text in (":ro", "a:", "a:foo", "a:ro,rw", "a:rshared", "a:nocopy"):
        with pytest.raises(InvalidInput):
            mounts.volumes_from(text)


def test_volume_options():
    from estiva.engine.spec.storage import volume_options

    volume_options.check("v", "local", {})
    volume_options.check("v", "", {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"})
    volume_options.check("v", "local", {"device": "/srv", "o": "bind,ro"})
    for options, words in (
        ({"type": "nfs"}, 'missing required option: "device"'),
        ({"device": "/dev/x"}, 'missing required option: "type"'),
        ({"o": "bind"}, 'missing required option: "device"'),
        ({"o": "bind", "device": "srv"}, "must be an absolute path"),
        ({"foo": "bar"}, 'invalid option: "foo"'),
    ):
        with pytest.raises(InvalidInput, match=f"volume v: .*{words}"):
            volume_options.check("v", "local", options)
