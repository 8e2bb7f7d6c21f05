import json

import pytest

from estiva import timestamps
from estiva.errors import IntegrityError, InvalidInput
from estiva.oci import config as configs
from estiva.oci import image

D1 = "sha256:" + "11" * 32


def config(**changes):
    rootfs = changes.pop("rootfs", {"type": "layers", "diff_ids": [D1]})
    return json.dumps({"architecture": "amd64", "os": "linux", "config": changes, "rootfs": rootfs}).encode()


def test_reads_a_config():
    document = image.parse_config(config(Env=["A=b"], Cmd=None, Volumes={"/x": {}}, Labels={"a": "b"}))
    assert document["rootfs"]["diff_ids"] == [D1]
    assert image.parse_config(config(rootfs={"type": "layers", "diff_ids": None}))["rootfs"]["diff_ids"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"Env": "A=b"},
        {"Env": [1]},
        {"Cmd": "sh"},
        {"Cmd": {"a": 1}},
        {"Entrypoint": [None]},
        {"User": 0.5},
        {"WorkingDir": ["/"]},
        {"Labels": {"a": 1}},
        {"Labels": ["a"]},
        {"Volumes": ["/x"]},
        {"Volumes": {"/x": "y"}},
        {"ExposedPorts": ["80"]},
        {"StopSignal": 9},
        {"StopTimeout": "9"},
        {"Healthcheck": []},
        {"Healthcheck": {"Test": "x"}},
        {"Healthcheck": {"Interval": "1s"}},
        {"rootfs": None},
        {"rootfs": {"type": "other", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": "x"}},
        {"rootfs": {"type": "layers", "diff_ids": ["../../etc"]}},
        {"rootfs": {"type": "layers", "diff_ids": [D1.upper()]}},
        {"rootfs": {"type": "layers", "diff_ids": [7]}},
    ],
)
def test_refuses_wrong_types(changes):
    with pytest.raises(InvalidInput):
        image.parse_config(config(**changes))


def test_layers_must_match_diff_ids():
    parsed = image.parse_config(config())
    with pytest.raises(IntegrityError):
        image.check_layers({"layers": []}, parsed)
    image.check_layers({"layers": [{}]}, parsed)


def test_derive_leaves_the_base_alone():
    base = configs.new("amd64")
    made = configs.derive(base, D1, created_by="RUN x", comment="c", author="me", created=0.0)
    assert base["rootfs"]["diff_ids"] == [] and base["history"] == []
    assert made["created"] == "1970-01-01T00:00:00Z"
    assert made["history"] == [
        {"created": "1970-01-01T00:00:00Z", "created_by": "RUN x", "comment": "c", "author": "me"}
    ]
    again = configs.derive(made, None, created_by="CMD y", created=0.0)
    assert again["rootfs"]["diff_ids"] == [D1] and again["history"][-1]["empty_layer"] is True


def test_times():
    assert timestamps.rfc3339(1234567890_500000000, short=True) == "2009-02-13T23:31:30.5Z"
    assert timestamps.rfc3339(1234567890_500000000) == "2009-02-13T23:31:30.500000000Z"
    assert timestamps.seconds("2009-02-13T23:31:30.5Z") == 1234567890.5
    assert timestamps.seconds("2024-05-01T10:00:00.123456789+02:00") == pytest.approx(1714550400.123456)
    assert timestamps.seconds(timestamps.ZERO) < 0
    for nonsense in ("yesterday", None, "9" * 100, 5):
        assert timestamps.seconds_of_document(nonsense) == 0.0
    with pytest.raises(ValueError):
        timestamps.seconds("yesterday")
