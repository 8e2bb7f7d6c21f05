"""`inspect` has every key that Docker 26 has, with the same nesting, types and emptiness.

docker26-shapes.json is what Docker 26.1 showed of containers, an image, a volume and networks made with the words
below, each value replaced by its type; "" stands for an empty text.
"""

import json
import pathlib

import pytest

from enginekit import IMAGE, host

SHAPES = json.loads((pathlib.Path(__file__).parent / "docker26-shapes.json").read_text())

# What is otherwise, and why
OTHERWISE = {
    ".HostConfig.OomKillDisable",  # null with cgroup v2, in Docker too
    ".GraphDriver.Data.MergedDir",  # only while it runs: a container leaves no mount on the host
    ".NetworkSettings.SandboxID",  # the same of its network namespace
    ".NetworkSettings.SandboxKey",
    ".NetworkSettings.Networks",  # by name: see the tests of networks
    ".DockerVersion",  # nothing of Docker made the image
    ".GraphDriver.Data.UpperDir",  # an image has none, no more than the folders beside it
    ".GraphDriver.Data.WorkDir",
    ".RepoDigests",
    ".Comment",
    ".Config.Labels",  # the test's image has some
    ".Config.Env",
    ".Config.Cmd",
    ".NetworkSettings.EndpointID",
}


def shape(value):
    if isinstance(value, bool) or value is None:
        return "bool" if value is not None else "null"
    if isinstance(value, str):
        return "text" if value else ""
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else ["..."] * bool(value)
    return {key: shape(inner) for key, inner in value.items()}


def differences(wanted, found, path=""):
    if path in OTHERWISE:
        return
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys()):
            where = f"{path}.{key}"
            if key not in found:
                if where not in OTHERWISE:
                    yield f"{where} is missing"
            elif key in wanted:
                yield from differences(wanted[key], found[key], where)
    elif isinstance(wanted, list) and isinstance(found, list) and wanted and found:
        yield from differences(wanted[0], found[0], f"{path}[0]")
    elif wanted != found:
        yield f"{path} is {found}, not {wanted}"


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.out("run", "-d", "--name", "running", IMAGE, "sleep", "1000")
        made.out("create", "--name", "created", IMAGE, "true")
        made.estiva("run", "--name", "ended", "--network", "none", IMAGE, "false", status=1)
        made.out("volume", "create", "volume")
        yield made
        made.estiva("rm", "-f", "running", "created", "ended")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("running", ("inspect", "running")),
        ("created", ("inspect", "created")),
        ("ended", ("inspect", "ended")),
        ("volume", ("volume", "inspect", "volume")),
        ("image", ("image", "inspect", IMAGE)),
    ],
)
def test_keys_types_and_emptiness_are_docker_s(box, what, words):
    found = shape(json.loads(box.out(*words))[0])
    assert list(differences(SHAPES[what], found)) == []
