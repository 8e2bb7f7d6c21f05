import json

import pytest

from estiva import timestamps
from estiva.builder.frontend import changes as config_changes
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


def test_changes():
    base = {"config": {"Env": ["A=1", "B=2"], "WorkingDir": "/srv", "Labels": {"x": "1"}}}
    made = config_changes.apply_changes(
        base,
        [
            'CMD ["a", "b c"]',
            "entrypoint run it",
            "ENV A=3 C='4 5'",
            "ENV D the rest",
            'LABEL y="2 3"',
            "EXPOSE 80 53/udp 9000-9001",
            'VOLUME ["/a", "/b c"]',
            "WORKDIR app/../lib",
            "USER 5:6",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f localhost",
        ],
    )["config"]
    assert base["config"]["Env"] == ["A=1", "B=2"]
    assert made["Cmd"] == ["a", "b c"]
    assert made["Entrypoint"] == ["/bin/sh", "-c", "run it"]
    assert made["Env"] == ["A=3", "B=2", "C=4 5", "D=the rest"]
    assert made["Labels"] == {"x": "1", "y": "2 3"}
    assert set(made["ExposedPorts"]) == {"80/tcp", "53/udp", "9000/tcp", "9001/tcp"}
    assert set(made["Volumes"]) == {"/a", "/b c"}
    assert made["WorkingDir"] == "/srv/lib"
    assert (made["User"], made["StopSignal"], made["OnBuild"]) == ("5:6", "SIGINT", ["RUN x"])
    assert made["Healthcheck"] == {
        "Interval": 90 * 10**9,
        "Retries": 2,
        "Test": ["CMD-SHELL", "curl -f localhost"],
    }
    made = config_changes.apply_changes({}, ["HEALTHCHECK NONE"])["config"]
    assert made["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    "change",
    [
        "RUN x",
        "FROM a",
        "",
        "CMD",
        "ENV A",
        "ENV A=b c",
        "ENV A='b",
        "EXPOSE x",
        "EXPOSE 80/icmp",
        "EXPOSE 70000",
        "EXPOSE 90-80",
        "HEALTHCHECK curl",
        "HEALTHCHECK --every=1s CMD x",
        "HEALTHCHECK --interval=soon CMD x",
        "ONBUILD FROM x",
    ],
)
def test_refuses_changes(change):
    with pytest.raises(InvalidInput):
        config_changes.apply_changes({}, [change])
