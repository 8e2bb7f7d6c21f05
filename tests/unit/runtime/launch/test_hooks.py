"""Hooks: their config, and running them."""

import json

import pytest

from estiva import errors
from estiva.runtime.launch import hooks, run_hook


def shell(script, **more):
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]} | more


def test_a_hook_gets_the_state(tmp_path):
    made = hooks.Hooks({"poststart": [shell(f"cat > {tmp_path}/out")]}, {"id": "x", "bundle": str(tmp_path)})
    made.run("poststart", 7, "running")
    told = json.loads((tmp_path / "out").read_text())
    assert told == {"id": "x", "bundle": str(tmp_path), "status": "running", "pid": 7}


def test_a_failing_hook_names_itself(tmp_path):
    made = hooks.Hooks({"poststop": [shell("true"), shell("echo why; kill -9 $$")]}, {})
    with pytest.raises(
        errors.EngineError, match=r"error running poststop hook #1: /bin/sh ended with signal 9: why"
    ):
        made.run("poststop", 0, "stopped")
    assert len(made.run_all("poststop", 0, "stopped")) == 1


def test_hooks_leave_no_fd_behind(tmp_path):
    import os

    before = os.listdir("/proc/self/fd")
    run_hook.run(shell("cat >/dev/null"), b"{}", "hook")
    with pytest.raises(errors.EngineError):
        run_hook.run(shell("sleep 10", timeout=1), b"{}", "hook")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"path": "sh"}, "path"),
        ({}, "path"),
        ({"path": "/x\0"}, "path"),
        ({"path": "/x", "args": "sh"}, "args"),
        ({"path": "/x", "env": [1]}, "env"),
        ({"path": "/x", "timeout": -1}, "timeout"),
        ({"path": "/x", "timeout": True}, "timeout"),
        ("x", "is not an object"),
    ],
)
def test_wrong_hooks(entry, field):
    with pytest.raises(errors.InvalidInput, match=field):
        hooks.Hooks({"createRuntime": [entry]}, {})


def test_kinds_without_entries_are_none():
    assert not hooks.Hooks(None, {}) and not hooks.Hooks({"poststop": [], "prestart": None}, {})
    made = hooks.Hooks({"poststart": [{"path": "/x"}]}, {})
    assert made and made.has("poststart", "poststop") and not made.while_created
    assert hooks.Hooks({"createContainer": [{"path": "/x"}]}, {}).while_created
    for wrong in ([], "x", {"poststop": {"path": "/x"}}, {"poststop": "x"}):
        with pytest.raises(errors.InvalidInput):
            hooks.Hooks(wrong, {})


def test_a_hook_gets_the_environment_that_is_given_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIVA_TEST", "ours")
    script = f"env > {tmp_path}/out"

    def told(**more):
        run_hook.run(
            {"path": "/bin/sh", "args": ["sh", "-c", script], **more}, b"{}", "hook", "/", {b"THEIRS": b"1"}
        )
        return (tmp_path / "out").read_text().splitlines()

    assert "ESTIVA_TEST=ours" not in told(env=[]) and "THEIRS=1" not in told(env=[])
    assert "A=b=c" in told(env=["A=b=c", "broken", "=x"])
    assert "THEIRS=1" in told()  # without `env` that of whoever runs it


def test_a_hook_that_does_not_end_is_killed_and_says_so():
    with pytest.raises(errors.EngineError, match="did not end within 1 seconds"):
        run_hook.run(shell("exec sleep 100", timeout=1), b"{}", "hook")


def test_a_hook_need_not_read_its_state():
    run_hook.run(shell("exec true"), b"x" * (1 << 20), "hook")
