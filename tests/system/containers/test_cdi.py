"""Devices by CDI name: what a spec file says comes into the container, hooks included."""

import json
import os

import pytest
import yaml

from enginekit import IMAGE, host
from statekit import one_line


@pytest.fixture(scope="module")
def box():
    with host() as made:
        folder = f"{made.folder}/cdi"
        os.mkdir(folder)
        made.env["ESTIVA_CDI_SPEC_DIRS"] = folder
        yield made


@pytest.fixture(scope="module", params=[json.dump, yaml.safe_dump], ids=["json", "yaml"])
def toy(box, request):
    hook = f"{box.folder}/hook"
    with open(hook, "w") as file:
        # As vendors' hooks do: the root filesystem is found by the bundle's config.json, and changed.
        file.write(
            '#!/bin/sh\nbundle=$(sed \'s/.*"bundle": *"\\([^"]*\\)".*/\\1/\')\n'
            'root=$(sed \'s/.*"root":{[^}]*"path":"\\([^"]*\\)".*/\\1/\' "$bundle/config.json")\n'
            'echo "$1 $MODE" > "$root/hooked"\n'
        )
    os.chmod(hook, 0o755)
    late = f"{box.folder}/late"
    with open(late, "w") as file:
        file.write(f"#!/bin/sh\ncat > {box.folder}/state.$1\n")
    os.chmod(late, 0o755)
    with open(f"{box.folder}/library", "w") as file:
        file.write("library\n")
    document = {
        "cdiVersion": "0.7.0",
        "kind": "vendor.com/toy",
        "containerEdits": {"env": ["TOY=common", "OTHER=1"]},
        "devices": [
            {
                "name": "one",
                "containerEdits": {
                    "env": ["TOY=one"],
                    "deviceNodes": [{"path": "/dev/toy", "hostPath": "/dev/full", "permissions": "r"}],
                    "mounts": [
                        {
                            "hostPath": f"{box.folder}/library",
                            "containerPath": "/usr/lib/toy",
                            "options": ["ro", "nosuid"],
                        }
                    ],
                    "hooks": [
                        {
                            "hookName": "createContainer",
                            "path": hook,
                            "args": ["hook", "made"],
                            "env": ["MODE=x", "PATH=/bin:/usr/bin"],
                        },
                        {
                            "hookName": "poststart",
                            "path": late,
                            "args": ["late", "poststart"],
                            "env": ["PATH=/bin:/usr/bin"],
                        },
                        {
                            "hookName": "poststop",
                            "path": late,
                            "args": ["late", "poststop"],
                            "env": ["PATH=/bin:/usr/bin"],
                        },
                    ],
                    "additionalGids": [4321],
                },
            }
        ],
    }
    gpus = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": n, "containerEdits": {"env": [f"GPU_{n}=yes"]}} for n in ("0", "1", "all")],
    }
    suffix = "json" if request.param is json.dump else "yaml"
    for name, content in (("toy", document), ("nvidia", gpus)):
        with open(f"{box.folder}/cdi/{name}.{suffix}", "w") as file:
            request.param(content, file)
    yield "vendor.com/toy=one"
    for name in ("toy", "nvidia"):
        os.unlink(f"{box.folder}/cdi/{name}.{suffix}")


def run(box, *words, **options):
    return box.estiva("run", "--rm", "--network", "none", *words, **options)


def test_all_that_the_spec_says_is_there(box, toy):
    script = (
        "echo $TOY $OTHER $MINE; stat -c %t:%T /dev/toy; cat /usr/lib/toy; id -G; cat /hooked;"
        " head -c3 /dev/toy | wc -c; echo x > /usr/lib/toy || echo ro"
    )
    out = run(
        box, "--device", toy, "-e", "MINE=2", "-e", "TOY=mine", IMAGE, "sh", "-c", script
    ).stdout.splitlines()
    assert out[:3] == ["one 1 2", "1:7", "library"]
    assert "4321" in out[3].split()
    assert out[4:] == ["made x", "3", "ro"]
    for kind, status in (("poststart", "running"), ("poststop", "stopped")):
        assert json.loads(open(f"{box.folder}/state.{kind}").read())["status"] == status


def test_exec_and_restart_have_it_too(box, toy):
    container = box.out("run", "-d", "--network", "none", "--device", toy, IMAGE, "sleep", "600")
    for _ in range(2):
        assert box.out("exec", container, "sh", "-c", "echo $TOY; cat /hooked") == "one\nmade x"
        box.estiva("restart", "-t", "0", container)
    requests = json.loads(box.out("inspect", "-f", "{{json .HostConfig.DeviceRequests}}", container))
    assert requests[0]["Driver"] == "cdi" and requests[0]["DeviceIDs"] == [toy]
    box.estiva("rm", "-f", container)


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [("all", "all"), ("1", "0"), ("2", "0 1"), ("device=1", "1"), ('"device=0,1"', "0 1")],
)
def test_gpus(box, toy, gpus, expected):
    env = run(box, "--gpus", gpus, IMAGE, "env").stdout
    assert [line[4:-4] for line in env.splitlines() if line.startswith("GPU_")] == expected.split()


def test_what_is_not_there_is_refused_before_anything_is_made(box, toy):
    assert (
        "no such CDI device: vendor.com/toy=two"
        in run(box, "--device", "vendor.com/toy=two", IMAGE, "true", status=125).stderr
    )
    assert (
        "5 gpus were asked for, and 2 are here" in run(box, "--gpus", "5", IMAGE, "true", status=125).stderr
    )
    assert box.out("ps", "-aq") == ""


def test_a_failing_hook_is_told_and_undone(box, toy):
    path = f"{box.folder}/cdi/bad.json"
    edits = {"hooks": [{"hookName": "createContainer", "path": "/bin/false"}]}
    with open(path, "w") as file:
        json.dump(
            {
                "cdiVersion": "0.3.0",
                "kind": "vendor.com/bad",
                "devices": [{"name": "x", "containerEdits": edits}],
            },
            file,
        )
    try:
        done = run(box, "--device", "vendor.com/bad=x", IMAGE, "true", status=125)
        assert "error running createContainer hook #0: /bin/false ended with status 1" in done.stderr
        assert box.out("ps", "-aq") == ""
    finally:
        os.unlink(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [x]\nb: [*a, *a]\n", "line 1: anchors and aliases are not taken"),
        ("!!python/object/apply:os.system [touch FOLDER/owned]", "line 1: the tag tag:yaml.org,2002:python/object/apply"),
        ("kind: [", "is not valid yaml: line "),
        ("[" * 1_000_000, "nest"),
    ],
    ids=["bomb", "tag", "syntax", "depth"],
)  # fmt: skip
def test_yaml_that_is_refused_is_told_in_one_line(box, text, why):
    path = f"{box.folder}/cdi/bad.yaml"
    with open(path, "w") as file:
        file.write(text.replace("FOLDER", box.folder))
    try:
        message = one_line(run(box, "--device", "vendor.com/bad=x", IMAGE, "true", status=125).stderr)
        assert message.startswith(f"no such CDI device: vendor.com/bad=x ({path}") and why in message
        assert not os.path.exists(f"{box.folder}/owned")
    finally:
        os.unlink(path)
