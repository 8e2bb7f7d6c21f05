"""The six kinds of hooks: where, when, with what, and what becomes of their failures."""

import json
import os
import pathlib

import pytest

import ocikit
from bundle import box, requires_kernel  # noqa: F401  (a fixture)

pytestmark = requires_kernel


@pytest.fixture
def ours(box):  # noqa: F811
    with ocikit.runtime(box) as made:
        yield made


def hook(script, **more):
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]} | more


def test_order_and_state(ours):
    log = f"{ours.folder}/log"
    told = f"{ours.folder}/told"
    os.mkdir(told)
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    hooks = {
        kind: [hook(f"echo {kind} >> {log}; cat > {told}/{kind}"), hook(f"echo {kind} >> {log}")]
        for kind in kinds
    }
    root = ours.own_root()
    hooks["startContainer"] = [hook("echo ran > /hooked; cat > /told")]
    folder = ours.bundle(
        "sh", "-c", "cat /hooked; sleep 100", hooks=hooks, rootfs=root, annotations={"k": "v"}
    )
    ours("create", "-b", folder, "c")
    assert pathlib.Path(log).read_text().split() == [kind for kind in kinds[:3] for _ in range(2)]
    assert not os.path.exists(f"{root}/hooked")
    ours("start", "c")
    pid = ours.state("c")["pid"]
    assert pathlib.Path(root, "hooked").read_text() == "ran\n"
    ours("delete", "-f", "c")
    assert pathlib.Path(log).read_text().split() == [kind for kind in kinds for _ in range(2)]
    states = {kind: json.loads(pathlib.Path(told, kind).read_text()) for kind in kinds}
    states["startContainer"] = json.loads(pathlib.Path(root, "told").read_text())
    for state in states.values():
        assert (state["ociVersion"], state["id"], state["bundle"]) == ("1.2.0", "c", folder)
        assert state["annotations"] == {"k": "v"}
    assert [states[kind]["pid"] for kind in ("prestart", "createRuntime", "poststart")] == [pid] * 3
    assert "pid" not in states["poststop"]
    assert states["startContainer"]["pid"] == 1
    assert [states[kind]["status"] for kind in kinds] == ["created"] * 3 + ["running", "stopped"]


def test_namespaces(ours):
    """createRuntime in the caller's, createContainer in the container's with the caller's files."""
    out = f"{ours.folder}/out"
    look = f"readlink /proc/self/ns/mnt /proc/self/ns/uts >> {out}"
    marked = f"{ours.folder}/marked"
    pathlib.Path(marked).write_text("seen")
    root = ours.own_root()
    pathlib.Path(root, "mark").touch()
    # what such a hook mounts below the bundle's root is in the container
    mount = f"mount --bind {marked} {root}/mark"
    hooks = {"createRuntime": [hook(look)], "createContainer": [hook(look), hook(mount)]}
    assert ours("run", "-b", ours.bundle("cat", "/mark", hooks=hooks, rootfs=root), "c") == "seen"
    lines = pathlib.Path(out).read_text().split()
    host = [os.readlink("/proc/self/ns/mnt"), os.readlink("/proc/self/ns/uts")]
    assert lines[:2] == host
    assert not set(lines[2:]) & set(host)


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_failing_hook_of_create_undoes_it(ours, kind):
    after = f"{ours.folder}/after"
    hooks = {
        kind: [hook("echo sorry >&2; exit 7"), hook(f"touch {after}")],
        "poststop": [hook(f"touch {after}.stop")],
    }
    err = ours.fails("create", "-b", ours.bundle("sleep", "100", hooks=hooks), "c")
    assert f"error running {kind} hook #0" in err
    assert "status 7: sorry" in err
    assert ours("list", "-q") == ""
    assert not os.path.exists(after)
    assert os.path.exists(after + ".stop")


def test_a_failing_start_container_hook(ours):
    root = ours.own_root()
    hooks = {"startContainer": [hook("exit 3")]}
    ours("create", "-b", ours.bundle("touch", "/ran", hooks=hooks, rootfs=root), "c")
    assert "error running startContainer hook #0" in ours.fails("start", "c")
    ours.wait("c")
    assert not os.path.exists(f"{root}/ran")


def test_a_failing_poststart_hook_ends_the_container(ours):
    after = f"{ours.folder}/after"
    last = f"{ours.folder}/last"
    hooks = {"poststart": [hook("exit 3"), hook(f"touch {after}")], "poststop": [hook(f"touch {last}")]}
    folder = ours.bundle("sleep", "100", hooks=hooks)
    ours("create", "-b", folder, "c")
    assert "error running poststart hook #0" in ours.fails("start", "c")
    assert ours("list", "-q") == ""
    assert os.path.exists(last)
    assert "error running poststart hook #0" in ours.fails("run", "-b", folder, "c")
    assert ours("list", "-q") == ""
    assert not os.path.exists(after)


def test_a_hook_without_an_environment_has_the_runtime_s(ours):
    out = f"{ours.folder}/out"
    entries = [
        {"path": "/bin/sh", "args": ["sh", "-c", f"echo $MARK >> {out}"]},
        {"path": "/bin/sh", "args": ["sh", "-c", f"echo none $MARK >> {out}"], "env": []},
    ]
    ours("run", "-b", ours.bundle("true", hooks={"createRuntime": entries}), "c", env={"MARK": "seen"})
    assert pathlib.Path(out).read_text().splitlines() == ["seen", "none"]


def test_a_failing_hook_afterwards_is_a_warning(ours):
    after = f"{ours.folder}/after"
    folder = ours.bundle("true", hooks={"poststop": [hook("exit 3"), hook(f"touch {after}")]})
    log = f"{ours.folder}/log"
    assert ours.run("--log", log, "--log-format", "json", "run", "-b", folder, "c")[0] == 0
    line = json.loads(pathlib.Path(log).read_text())
    assert line["level"] == "warning"
    assert "error running poststop hook #0" in line["msg"]
    assert os.path.exists(after)


def test_timeout(ours):
    hooks = {"createRuntime": [hook("sleep 60", timeout=1)]}
    assert "did not end within 1 seconds" in ours.fails("create", "-b", ours.bundle("true", hooks=hooks), "c")


def test_the_environment_is_exactly_that_of_the_config(ours):
    out = f"{ours.folder}/out"
    entry = {"path": "/usr/bin/env", "args": ["env"], "env": ["ONLY=this"]}
    shell = hook(f"env > {out}; ls /proc/self/fd | wc -l >> {out}", env=["PATH=/usr/bin:/bin", "A=b"])
    ours("run", "-b", ours.bundle("true", hooks={"createRuntime": [entry, shell]}), "c", env={"SECRET": "x"})
    text = pathlib.Path(out).read_text()
    assert "SECRET" not in text
    assert "A=b" in text
    assert text.split()[-1] == "4"  # 0, 1, 2 and ls's own


def test_a_hook_that_reads_nothing_and_one_that_says_much(ours):
    big = {"a": "x" * 200_000}
    hooks = {"createRuntime": [hook("true"), hook("head -c 300000 /dev/zero"), hook("sleep 30 & exit 0")]}
    assert ours.run("run", "-b", ours.bundle("true", hooks=hooks, annotations=big), "c")[0] == 0


def test_a_hook_that_is_not_there(ours):
    hooks = {"prestart": [{"path": "/nonexist"}]}
    err = ours.fails("create", "-b", ours.bundle("true", hooks=hooks), "c")
    assert "/nonexist" in err
    assert "no such file or directory" in err
