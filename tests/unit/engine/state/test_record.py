"""A record: the user's Config completed from the image's, and what inspect shows of it."""

import pytest

from estiva.engine.state import record
from estiva.errors import InvalidInput


def merged(config, **image):
    return record.merge({"Image": "box", **config}, {"config": {"Cmd": ["image"], **image}})


@pytest.mark.parametrize(
    ("config", "image", "expected"),
    [
        ({}, {}, (None, ["image"])),
        ({"Cmd": ["mine"]}, {}, (None, ["mine"])),
        ({"Cmd": []}, {"Entrypoint": ["e"]}, (["e"], ["image"])),
        ({"Cmd": ["mine"]}, {"Entrypoint": ["e"]}, (["e"], ["mine"])),
        ({"Entrypoint": ["mine"]}, {"Entrypoint": ["e"]}, (["mine"], None)),  # drops the image's command
        ({"Entrypoint": ["mine"], "Cmd": ["x"]}, {}, (["mine"], ["x"])),
        ({"Entrypoint": [""], "Cmd": ["x"]}, {"Entrypoint": ["e"]}, (None, ["x"])),
        ({"Entrypoint": [], "Cmd": ["x"]}, {"Entrypoint": ["e"]}, (None, ["x"])),
    ],
)
def test_entrypoint_and_command(config, image, expected):
    found = merged(config, **image)
    assert (found["Entrypoint"], found.get("Cmd")) == expected


def test_without_a_command_there_is_nothing_to_run():
    for config in ({"Entrypoint": [""]}, {"Entrypoint": []}):
        with pytest.raises(InvalidInput, match="no command specified"):
            merged(config)
    with pytest.raises(InvalidInput, match="no command specified"):
        record.merge({"Image": "x"}, {"config": None})


def test_what_the_user_leaves_open_is_the_image_s():
    image = {"WorkingDir": "/i", "User": "5", "StopSignal": "INT", "Labels": {"a": "1", "b": "1"},
             "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "Env": ["A=1", "B=1", "C=1"]}  # fmt: skip
    found = merged(
        {"User": "7", "Labels": {"b": "2"}, "ExposedPorts": {"81/tcp": {}}, "Env": ["B=2", "C", "D=2"]},
        **image,
    )
    assert (found["WorkingDir"], found["User"], found["StopSignal"]) == ("/i", "7", "INT")
    assert found["Labels"] == {"a": "1", "b": "2"} and found["Volumes"] == {"/v": {}}
    assert list(found["ExposedPorts"]) == ["80/tcp", "81/tcp"]
    assert found["Env"] == ["A=1", "B=2", "D=2", "C"]
    bare = record.merge({"Image": "x", "Cmd": ["x"], "Labels": None}, {})
    assert (bare["WorkingDir"], bare["Labels"], bare["Env"]) == ("", {}, [])


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (["A=1", "B=2"], ["A=3"], ["A=3", "B=2"]),
        (["A=1"], ["A"], []),
        (["A=1"], ["A", "A=2"], ["A=2"]),
        ([], ["A=b=c", "B="], ["A=b=c", "B="]),
        (["A=1", "A=2"], [], ["A=2"]),
    ],
)
def test_variables(first, then, expected):
    assert record.merge_env(first, then) == expected


def new(config=None, **host):
    return record.new("f" * 64, "web", None, {"Cmd": ["a", "b"], **(config or {})}, host, [])


def test_a_new_record():
    made = new({"Entrypoint": ["e"]})
    assert (made["Path"], made["Args"], made["Name"]) == ("e", ["a", "b"], "/web")
    assert made["Config"]["Hostname"] == "f" * 12
    assert new({"Hostname": "mine"})["Config"]["Hostname"] == "mine"
    assert new(NetworkMode="container:x")["Config"]["Hostname"] == ""


def test_inspect_shows_what_was_not_asked_for():
    made = new(Memory=5, Dns=["1.2.3.4"])
    record.complete(made)
    host = made["HostConfig"]
    assert (host["MemorySwap"], host["Dns"], host["CpuShares"], host["PidsLimit"]) == (
        10,
        ["1.2.3.4"],
        0,
        None,
    )
    assert "/proc/kcore" in host["MaskedPaths"] and "/proc/sys" in host["ReadonlyPaths"]
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert made["Config"]["Labels"] == {} and made["Config"]["AttachStdout"] is True


def test_what_was_asked_for_stays():
    made = new({"AttachStdout": False}, Memory=5, MemorySwap=-1, Privileged=True, ReadonlyPaths=["/x"])
    record.complete(made)
    host = made["HostConfig"]
    assert (host["MemorySwap"], host["MaskedPaths"], host["ReadonlyPaths"]) == (-1, None, ["/x"])
    assert made["Config"]["AttachStdout"] is False


def test_two_records_share_nothing():
    """A default that is filled in twice must not be one list: who changes one record would change the other."""
    one, other = new(), new()
    for made in (one, other):
        record.complete(made)
    for part in ("HostConfig", "Config"):
        for key, value in one[part].items():
            assert not isinstance(value, (list, dict)) or value is not other[part][key], key


def test_inspect_shows_docker_s_network_fields_in_every_mode():
    made = new(NetworkMode="none")
    record.complete(made)
    settings = made["NetworkSettings"]
    assert (
        settings["SandboxKey"]
        == settings["GlobalIPv6Address"]
        == settings["Networks"]["none"]["NetworkID"]
        == ""
    )
    assert settings["Networks"]["none"]["Aliases"] is None and settings["Ports"] == {}
    made = new(NetworkMode="container:x")
    record.complete(made)
    assert made["NetworkSettings"]["Networks"] == {}
    made = new(NetworkMode="bridge")
    made["NetworkSettings"] = {"IPAddress": "10.0.0.2", "Networks": {"bridge": {"IPAddress": "10.0.0.2"}}}
    record.complete(made)
    assert made["NetworkSettings"]["IPAddress"] == "10.0.0.2"
    assert made["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == "10.0.0.2"
    assert made["NetworkSettings"]["Networks"]["bridge"]["IPPrefixLen"] == 0
