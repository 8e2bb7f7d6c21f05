"""The words of estiva-oci's command line, without a container."""

import json
import stat

import pytest

from estiva import errors
from estiva.cmdline.parser import HelpWanted, UsageError, parse_verb
from estiva.ocicli import control, events, exec, main, output, spec, update
from estiva.runtime import sync
from estiva.runtime.bundle import bundle
from estiva.runtime.launch import hooks, start_socket
from estiva.runtime.lifecycle import containers


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIVA_RUN_ROOT", str(tmp_path / "run"))


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_every_verb_has_help(verb, capsys):
    assert main.run([verb, "--help"]) == 0
    assert f"usage: estiva-oci {verb}" in capsys.readouterr().out
    with pytest.raises(HelpWanted):
        parse_verb(main.load(verb), ["--help"], verb)


def test_version_has_runc_s_lines(capsys):
    assert main.run(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("estiva-oci version ")
    assert lines[1] == "spec: 1.3.0"


@pytest.mark.parametrize(
    "words",
    [
        ["--root", "DIR", "--log", "/dev/null", "--log-format", "json", "--systemd-cgroup", "list", "-q"],
        ["-root", "DIR", "-log=/dev/null", "-systemd-cgroup", "list", "-q"],
        ["--root=DIR", "--rootless=auto", "--debug", "list", "--quiet"],
        ["--root", "DIR", "--rootless", "true", "list", "-q"],
    ],
)
def test_globals_as_callers_write_them(words, capsys, tmp_path):
    assert main.run([word.replace("DIR", str(tmp_path)) for word in words]) == 0
    assert capsys.readouterr().out == ""


def test_a_root_that_is_given_must_be_there_to_be_listed(capsys, tmp_path):
    assert main.run(["--root", str(tmp_path / "none"), "list"]) == 1
    assert "no such file or directory" in capsys.readouterr().err


def test_debug_says_what_is_done(tmp_path):
    log = tmp_path / "log"
    main.run(["--debug", "--log", str(log), "--root", str(tmp_path), "list", "-q"])
    assert "level=debug" in log.read_text() and "list -q" in log.read_text()


@pytest.mark.parametrize(
    "words", [["nope"], ["--nope"], ["--log-format=xml", "list"], ["--rootless=maybe", "list"]]
)
def test_wrong_words(words, capsys):
    assert main.run(words) == 1
    assert capsys.readouterr().err.startswith("estiva-oci: ")


def test_log_text_and_json(tmp_path, capsys):
    log = tmp_path / "log"
    assert main.run(["--log", str(log), "state", "nope"]) == 1
    assert 'level=error msg="container \\"nope\\" does not exist"' in log.read_text()
    main.run(["--log", str(log), "--log-format", "json", "state", "nope"])
    assert json.loads(log.read_text().splitlines()[1])["level"] == "error"
    assert "does not exist" in capsys.readouterr().err


def test_pretty():
    value = {"a": [1, {"b": "é"}], "c": {}, "d": [], "e": None}
    assert json.loads(output.pretty(value)) == value
    assert output.pretty(value) == json.dumps(value, indent=2, ensure_ascii=False)


def test_timestamp():
    assert output.timestamp(0.5) == "1970-01-01T00:00:00.500000Z"


@pytest.mark.parametrize(("text", "value"), [("5s", 5), ("500ms", 0.5), ("1.5m", 90), ("1h", 3600)])
def test_intervals(text, value):
    assert events.seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "s", "1x", "1s2"])
def test_bad_intervals(text):
    with pytest.raises(UsageError):
        events.seconds(text)


def resources(*words):
    return update._from_flags(parse_verb(update.UPDATE, [*words, "id"], "update"))


def test_update_flags():
    assert resources(
        "--memory", "512m", "--memory-swap", "-1", "--cpu-share", "2", "--cpuset-cpus", "0-1"
    ) == {
        "memory": {"limit": 512 << 20, "swap": -1},
        "cpu": {"shares": 2, "cpus": "0-1"},
    }
    with pytest.raises(UsageError):
        resources("--pids-limit", "5k")


def test_update_leaves_devices_alone(tmp_path):
    file = tmp_path / "r"
    file.write_text(json.dumps({"devices": [{}], "memory": {"limit": 1}, "cpu": None}))
    assert update._from_file(str(file)) == {"memory": {"limit": 1}}


def process(*words, base=None):
    return exec._process(parse_verb(exec.EXEC, list(words), "exec"), base or {"cwd": "/", "args": ["init"]})


def test_exec_process():
    base = {"args": ["init"], "cwd": "/w", "env": ["A=1"], "terminal": True, "user": {"uid": 5, "gid": 6}}
    made = process("-e", "B=2", "-u", "1:2", "-g", "3,4", "id", "ls", "-l", base=base)
    assert made["args"] == ["ls", "-l"]
    assert made["env"] == ["A=1", "B=2"]
    assert made["user"] == {"uid": 1, "gid": 2, "additionalGids": [3, 4]}
    assert made["terminal"] is False
    assert made["cwd"] == "/w"
    assert base["args"] == ["init"]


def test_exec_capabilities():
    base = {"args": ["x"], "cwd": "/", "capabilities": {"bounding": ["CAP_A"], "inheritable": ["CAP_B"]}}
    made = process("-c", "CAP_B", "id", "ls", base=base)["capabilities"]
    assert made["bounding"] == ["CAP_A", "CAP_B"]
    assert made["effective"] == made["permitted"] == made["ambient"] == ["CAP_B"]
    assert "ambient" not in process("-c", "CAP_C", "id", "ls")["capabilities"]


@pytest.mark.parametrize(
    "words", [["-u", "root", "id", "ls"], ["-g", "x", "id", "ls"], ["-u", "-1", "id", "ls"], ["id"]]
)
def test_bad_exec(words):
    with pytest.raises(UsageError):
        process(*words)


def test_kill_and_delete_words():
    assert parse_verb(control.KILL, ["-a", "id", "KILL"], "kill").arguments == ["id", "KILL"]
    assert parse_verb(control.DELETE, ["--force", "id"], "delete").flag("force")


@pytest.mark.parametrize("id", ["a", "A-b_c.d+e", "0" * 255])
def test_ids(id):
    assert containers.check_id(id) == id


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a\n", "é", "0" * 256])
def test_no_ids(id):
    with pytest.raises(errors.InvalidInput):
        containers.check_id(id)


@pytest.mark.parametrize("rootless", [False, True])
def test_the_example_is_a_valid_config(rootless):
    bundle.check(spec.example(rootless))


def test_default_devices_stay_allowed(tmp_path):
    (tmp_path / "rootfs").mkdir()
    config = spec.example(False)
    config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    (tmp_path / "config.json").write_text(json.dumps(config))
    rules = bundle.load(str(tmp_path)).resources()["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in rules


# --- hooks ------------------------------------------------------------------------------------------------


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
    hooks.run(shell("cat >/dev/null"), b"{}", "hook")
    with pytest.raises(errors.EngineError):
        hooks.run(shell("sleep 10", timeout=1), b"{}", "hook")
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


# --- the listener -----------------------------------------------------------------------------------------


def test_listening_where_the_path_is_long(tmp_path):
    """sun_path holds 108 bytes; state directories are longer under docker."""
    import os

    folder = tmp_path / ("x" * 120)
    folder.mkdir(mode=0o700)
    fd = start_socket.listen(str(folder), 10)
    try:
        assert fd >= 10
        assert start_socket.waiting(str(folder))
        assert stat.S_ISSOCK((folder / start_socket.NAME).stat().st_mode)
        channel = start_socket.connect(str(folder))
        channel.send(sync.GO)
        channel.close()
        assert not start_socket.waiting(str(folder))
        with pytest.raises(errors.Conflict):
            start_socket.connect(str(folder))
    finally:
        os.close(fd)


def test_init_waits_through_callers_that_say_nothing(tmp_path):
    import os
    import threading

    fd = start_socket.listen(str(tmp_path), 3)
    parent, child = sync.pair(3)
    thread = threading.Thread(target=start_socket.await_start, args=(child, fd))
    thread.start()
    parent.send(sync.LEAVE)
    parent.close()
    os.link(tmp_path / start_socket.NAME, tmp_path / "again")
    start_socket.connect(str(tmp_path)).close()
    os.rename(tmp_path / "again", tmp_path / start_socket.NAME)
    channel = start_socket.connect(str(tmp_path))
    channel.send(sync.GO)
    thread.join(timeout=120)
    assert not thread.is_alive()
    assert not os.get_inheritable(child.fd)
    channel.close()
    child.close()


def test_a_log_that_can_t_be_written_is_an_error(tmp_path, capsys):
    assert main.run(["--log", str(tmp_path / "no/log"), "--root", str(tmp_path), "list"]) == 1
    assert "can't be opened: no such file or directory" in capsys.readouterr().err
    main.run(["--log", str(tmp_path / "log"), "--root", str(tmp_path), "list"])
    assert (tmp_path / "log").read_text() == ""
