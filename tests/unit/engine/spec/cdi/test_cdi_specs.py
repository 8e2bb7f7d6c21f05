"""CDI specs are read strictly: the path of a wrong field is told, and nothing is taken that was not understood."""

import json
import sys
from itertools import pairwise

import pytest
import yaml

from estiva.engine.spec.cdi import devices
from estiva.engine.spec.cdi import edits as cdi_edits
from estiva.engine.spec.cdi import yaml as cdi_yaml
from estiva.errors import EstivaError, InvalidInput, NotFound, Unsupported


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request, monkeypatch):
    """PyYAML with libyaml, and without it."""
    if request.param == "SafeLoader":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not yaml.__with_libyaml__:
        pytest.skip("this PyYAML is without libyaml")


NODE = {"path": "/dev/toy0", "hostPath": "/dev/null"}


def spec(**changes):
    document = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/toy",
        "devices": [{"name": "a", "containerEdits": {"deviceNodes": [NODE]}}],
        **changes,
    }
    return {key: value for key, value in document.items() if value is not None}


def device(**edits):
    return spec(devices=[{"name": "a", "containerEdits": edits}])


WRONG = [
    ([], "is not an object"),
    (spec(cdiVersion=None), "cdiVersion is missing"),
    (spec(cdiVersion="9.0.0"), "cdiVersion: 9.0.0 is not known here"),
    (spec(kind="vendor.com"), "kind: vendor.com is not vendor/class"),
    (spec(kind="../x/y"), "is not vendor/class"),
    (spec(devices=None), "devices is empty"),
    (spec(devices={}), "devices is not a list"),
    (spec(more=1), "more is not a field of CDI"),
    (spec(devices=[{"name": "a"}, {"name": "a"}]), "devices[1].name: a is there twice"),
    (spec(devices=[{"name": "a b"}]), "devices[0].name: a b is not the name of a device"),
    (spec(devices=[{"name": "a", "x": 1}]), "devices[0].x is not a field of CDI"),
    (device(env=["A"]), "containerEdits.env is not a list of KEY=VALUE"),
    (device(env="A=1"), "containerEdits.env is not a list"),
    (device(deviceNodes=[{"path": "dev/x"}]), "deviceNodes[0].path is not an absolute path"),
    (device(deviceNodes=[{"path": "/dev/../x"}]), "deviceNodes[0].path is not an absolute path"),
    (device(deviceNodes=[{"path": "/dev/x", "type": "q"}]), "deviceNodes[0].type is not b, c, u or p"),
    (device(deviceNodes=[{"path": "/dev/x", "major": True}]), "deviceNodes[0].major is not a whole number"),
    (device(deviceNodes=[{"path": "/dev/x", "permissions": "rx"}]), "permissions is not made of r, w and m"),
    (device(mounts=[{"hostPath": "x", "containerPath": "/x"}]), "mounts[0].hostPath is not an absolute path"),
    (device(mounts=[{"hostPath": "/x"}]), "mounts[0].containerPath is missing"),
    (device(hooks=[{"hookName": "later", "path": "/x"}]), "hooks[0].hookName is none of"),
    (device(hooks=[{"hookName": "prestart", "path": "x"}]), "hooks[0].path is not an absolute path"),
    (device(additionalGids=[-1]), "additionalGids is out of the range"),
    (device(additionalGids=["1"]), "additionalGids holds what it may not"),
    (device(what=1), "containerEdits.what is not a field of CDI"),
]


@pytest.mark.parametrize(("document", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_field_is_named(document, message):
    with pytest.raises(InvalidInput) as caught:
        devices.Spec("/etc/cdi/x.json", document)
    assert message in caught.value.message
    assert "/etc/cdi/x.json" in caught.value.message


@pytest.mark.parametrize("field", ["intelRdt", "netDevices"])
def test_what_can_t_be_applied_is_refused(field):
    with pytest.raises(Unsupported, match=field):
        devices.Spec("/x.json", device(**{field: {"closID": "x"}}))


def registry(tmp_path, **documents):
    for name, document in documents.items():
        folder, _, file = name.partition("_")
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{file}.json").write_text(json.dumps(document))
    return devices.Registry((str(tmp_path / "a"), str(tmp_path / "b")))


def test_the_later_directory_wins_and_two_files_of_one_conflict(tmp_path):
    first, second = device(env=["A=1"]), device(env=["A=2"])
    assert registry(tmp_path, a_x=first, b_x=second).edits(["vendor.com/toy=a"])["env"] == ["A=2"]
    with pytest.raises(InvalidInput, match="is described twice"):
        registry(tmp_path, b_y=second).edits(["vendor.com/toy=a"])


def test_the_edits_of_the_file_come_once_before_its_devices(tmp_path):
    document = spec(
        containerEdits={"env": ["ALL=1"]},
        devices=[{"name": name, "containerEdits": {"env": [f"{name}=1"]}} for name in ("x", "y")],
    )
    edits = registry(tmp_path, a_x=document).edits(["vendor.com/toy=y", "vendor.com/toy=x"])
    assert edits["env"] == ["ALL=1", "y=1", "x=1"]


def test_a_missing_device_tells_why_a_file_was_passed_over(tmp_path):
    with pytest.raises(NotFound, match="no such CDI device: vendor.com/toy=a$"):
        registry(tmp_path).edits(["vendor.com/toy=a"])
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.yaml").write_text("")
    with pytest.raises(NotFound, match=r"x\.yaml is not an object"):
        registry(tmp_path).edits(["vendor.com/toy=a"])
    (tmp_path / "a/x.yaml").unlink()
    (tmp_path / "a/x.json").write_text('{"kind": 1, "kind": 2}')
    with pytest.raises(NotFound, match="not valid json"):
        registry(tmp_path).edits(["vendor.com/toy=a"])
    (tmp_path / "a/x.json").write_text(json.dumps(spec()))
    (tmp_path / "a/x.json").chmod(0o666)
    with pytest.raises(NotFound, match="may be written by anyone"):
        registry(tmp_path).edits(["vendor.com/toy=a"])


@pytest.mark.parametrize("name", ["x.json", "x.yaml"])
def test_files_are_bounded(tmp_path, monkeypatch, name):
    monkeypatch.setattr(devices, "MAX_FILE", 100)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text(json.dumps(spec()))
    with pytest.raises(NotFound, match="is larger than 100 bytes"):
        registry(tmp_path).edits(["vendor.com/toy=a"])


# as nvidia-ctk 1.17 writes it
NVIDIA = """\
---
cdiVersion: 0.5.0
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  deviceNodes:
  - path: /dev/nvidiactl
    major: 195
    minor: 255
    fileMode: 0666
    permissions: rw
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    - --link
    - libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/bin/nvidia-smi
    hostPath: /usr/bin/nvidia-smi
    options:
    - ro
    - nosuid
    - nodev
    - bind
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: "0"
- containerEdits: {}
  name: all
kind: nvidia.com/gpu
"""
LINK = ["nvidia-cdi-hook", "create-symlinks", "--link", "libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so"]
NVIDIA_JSON = {
    "cdiVersion": "0.5.0",
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "deviceNodes": [
            {"path": "/dev/nvidiactl", "major": 195, "minor": 255, "fileMode": 0o666, "permissions": "rw"}
        ],
        "hooks": [{"args": LINK, "hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook"}],
        "mounts": [
            {
                "containerPath": "/usr/bin/nvidia-smi",
                "hostPath": "/usr/bin/nvidia-smi",
                "options": ["ro", "nosuid", "nodev", "bind"],
            }
        ],
    },
    "devices": [
        {"containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}]}, "name": "0"},
        {"containerEdits": {}, "name": "all"},
    ],
    "kind": "nvidia.com/gpu",
}


@pytest.mark.parametrize("name", ["n.yaml", "n.yml"])
def test_yaml_says_what_json_says(tmp_path, loader, name):
    assert cdi_yaml.loads(NVIDIA.encode(), what="n.yaml") == NVIDIA_JSON
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text(NVIDIA)
    found = registry(tmp_path)
    assert not found.problems and list(found.found["nvidia.com/gpu"]) == ["0", "all"]
    same = devices.Spec("n.json", NVIDIA_JSON)
    assert found.edits(["nvidia.com/gpu=0"]) == {
        key: value + same.devices["0"][key] for key, value in same.common.items()
    }


@pytest.mark.parametrize(("document", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_field_is_named_in_yaml_as_well(tmp_path, document, message):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInput) as from_yaml:
        devices.load(str(path))
    with pytest.raises(InvalidInput) as from_json:
        devices.Spec(str(tmp_path / "x.json"), document)
    assert from_yaml.value.message == from_json.value.message.replace("x.json", "x.yaml")
    assert message in from_yaml.value.message


def test_json_and_yaml_in_one_directory_conflict_and_the_later_directory_wins(tmp_path):
    assert registry(tmp_path, a_x=device(env=["A=1"]), b_other=gpus("0"))
    (tmp_path / "b/x.yaml").write_text(yaml.safe_dump(device(env=["A=2"])))
    assert registry(tmp_path).edits(["vendor.com/toy=a"])["env"] == ["A=2"]
    (tmp_path / "b/y.json").write_text(json.dumps(device(env=["A=3"])))
    with pytest.raises(InvalidInput, match=r"is described twice: in .*b/x\.yaml and .*b/y\.json"):
        registry(tmp_path).edits(["vendor.com/toy=a"])


def test_without_pyyaml_json_is_read_and_yaml_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "estiva.engine.spec.cdi.yaml")
    monkeypatch.delattr("estiva.engine.spec.cdi.yaml")
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = registry(tmp_path, a_x=spec())
    (tmp_path / "a/n.yaml").write_text(NVIDIA)
    assert registry(tmp_path).edits(["vendor.com/toy=a"]) == found.edits(["vendor.com/toy=a"])
    with pytest.raises(NotFound, match=r"a/n\.yaml can't be read: PyYAML is missing") as caught:
        registry(tmp_path).edits(["nvidia.com/gpu=0"])
    assert "pip install pyyaml" in caught.value.hint


# YAML: its value, by the rules of YAML 1.1
VALUES = [
    ("[0, -7, +3, 1_000, 0644, 0x1f, 0b11]", [0, -7, 3, 1000, 0o644, 31, 3]),
    ("[1.5, 1e3, yes, Off, ~, null, '5', \"\\u00e9\"]", [1.5, "1e3", True, False, None, None, "5", "é"]),
    ("a:\nb: ''\n", {"a": None, "b": ""}),
    ("a: |\n  x\n  y\nb: >\n  x\n  y\n", {"a": "x\ny\n", "b": "x y\n"}),
    ("# nothing", None),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values_of_yaml(loader, text, value):
    assert cdi_yaml.loads(text.encode(), what="x.yaml") == value


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopqrstuvwxyz")
)
MANY = 1_000_000
HOSTILE = [
    (BOMB, "x.yaml: line 1: anchors and aliases are not taken"),
    ("a: *b", "anchors and aliases"),
    ("a: !!python/object/apply:os.system [touch owned]", "the tag tag:yaml.org,2002:python/object/apply:os.system"),
    ("!!python/name:os.system", "is not taken"),
    ("a: !!set {x, y}", "the tag tag:yaml.org,2002:set is not taken"),
    ("a: !!binary aGk=", "the tag tag:yaml.org,2002:binary is not taken"),
    ("a: 1\nb: 2024-12-31\n", r"x.yaml: line 2: 2024-12-31 \(timestamp\) is nothing that json has"),
    ("a: 2024-99-99", "is nothing that json has"),
    ("a: .nan", r"\.nan \(float\) is nothing"),
    ("<<: {a: 1}", r"<< \(merge\) is nothing"),
    ("1: x", "line 1: a key is not a text"),
    ("? [a]\n: x", "a key is not a text"),
    ("a: 1\na: 2", "line 2: the key a is there twice"),
    ("a: [1,\nb: }", "x.yaml is not valid yaml: line 2: "),
    ("a:\n\t- b", "is not valid yaml: line 2: found character"),
    ("--- a\n--- b", "has more than one document"),
    ("a: \0", "is not valid yaml: .*not allowed"),
    (r'"\ud800"', "x.yaml"),
    (r'"\Uffffffff"', "is not valid yaml"),
    (b"\xff", "is not valid yaml: invalid start byte"),
    ("[" * MANY, "nest"),
    ("{a: " * MANY, "nested more than 64 deep"),
    ("- " * MANY, "nested more than 64 deep"),
    ("? " * MANY, "nested more than 64 deep"),
    ("1" + ":1" * MANY, r"\(int\) is nothing"),
    ("1" + ":1" * MANY + ".5", r"\(float\) is nothing"),
    ("9" * MANY, r"\(int\) is nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), HOSTILE, ids=[str(text)[:30] for text, _ in HOSTILE])
def test_hostile_yaml_is_refused_in_one_line(loader, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=message) as caught:
        cdi_yaml.loads(text if isinstance(text, bytes) else text.encode(), what="x.yaml")
    assert caught.value.message.startswith("x.yaml") and caught.value.message.isprintable()
    assert len(caught.value.message) < 300
    assert not list(tmp_path.iterdir())


def gpus(*names, kind="nvidia.com/gpu"):
    return spec(kind=kind, devices=[{"name": name, "containerEdits": {}} for name in names])


def request(count=0, ids=None, driver=""):
    return [{"Driver": driver, "Count": count, "DeviceIDs": ids, "Capabilities": [["gpu"]], "Options": {}}]


def test_gpus_are_found_by_count_name_and_all(tmp_path):
    found = registry(tmp_path, a_n=gpus("0", "1", "10", "2", "GPU-aa", "all"))
    assert devices.names(request(-1), found) == ["nvidia.com/gpu=all"]
    assert devices.names(request(3), found) == [f"nvidia.com/gpu={n}" for n in (0, 1, 2)]
    assert devices.names(request(ids=["GPU-aa"]), found) == ["nvidia.com/gpu=GPU-aa"]
    with pytest.raises(NotFound, match="5 gpus were asked for, and 4 are here"):
        devices.names(request(5), found)
    found = registry(tmp_path, a_m=gpus("x", kind="amd.com/gpu"))
    with pytest.raises(InvalidInput, match=r"several kinds are here: amd\.com/gpu, nvidia\.com/gpu"):
        devices.names(request(-1), found)
    assert devices.names(request(-1, driver="amd"), found) == ["amd.com/gpu=x"]


def test_a_device_of_another_driver_is_refused(tmp_path):
    with pytest.raises(EstivaError, match="could not select device driver"):
        devices.names([{"Driver": "x", "Capabilities": [["tpu"]]}], registry(tmp_path))


def test_edits_go_into_the_config():
    config = {
        "process": {"env": ["A=1", "B=1"], "user": {"username": "7:8", "additionalGroups": ["5"]}},
        "linux": {"resources": {"devices": []}, "devices": [{"path": "/dev/toy0"}]},
        "mounts": [{"destination": "/usr/lib/x"}],
    }
    edits = devices.Spec(
        "/x.json",
        device(
            env=["B=2"],
            deviceNodes=[{**NODE, "permissions": "r"}],
            mounts=[{"hostPath": "/lib", "containerPath": "/usr", "options": ["ro"]}],
            hooks=[{"hookName": "createContainer", "path": "/h", "args": ["h"], "timeout": 5}],
            additionalGids=[5, 6, 0],
        ),
    ).devices["a"]
    cdi_edits.apply(config, edits)
    assert config["process"]["env"] == ["A=1", "B=2"]
    node = {"path": "/dev/toy0", "type": "c", "major": 1, "minor": 3, "uid": 7, "gid": 8, "fileMode": 0o666}
    assert config["linux"]["devices"] == [node]
    assert config["linux"]["resources"]["devices"] == [
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}
    ]
    assert [mount["destination"] for mount in config["mounts"]] == ["/usr", "/usr/lib/x"]
    assert config["mounts"][0]["options"] == ["rbind", "ro"]
    assert config["hooks"] == {"createContainer": [{"path": "/h", "args": ["h"], "timeout": 5}]}
    assert config["process"]["user"]["additionalGroups"] == ["5", "6"]


@pytest.mark.parametrize(
    ("user", "ids"),
    [("7:8", (7, 8)), ("7", (7, 0)), ("me:us", (0, 0)), ("²:٣", (0, 0)), ("9" * 5000, (0, 0)), ("", (0, 0))],
)
def test_a_node_is_the_container_s_user_s_where_that_is_a_number(user, ids):
    config = {
        "process": {"env": [], "user": {"username": user}},
        "linux": {"resources": {"devices": []}},
        "mounts": [],
    }
    edits = devices.Spec("/x.json", device(deviceNodes=[NODE])).devices["a"]
    cdi_edits.apply(config, edits)
    (node,) = config["linux"]["devices"]
    assert (node["uid"], node["gid"]) == ids
