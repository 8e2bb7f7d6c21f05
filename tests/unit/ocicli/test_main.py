"""The words of estiva-oci's command line, without a container."""

import json
import subprocess
import sys

import pytest

from estiva.cmdline.parser import HelpWanted, parse_verb
from estiva.ocicli import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIVA_OCI_ROOT", str(tmp_path / "run/oci"))


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


def test_a_log_that_can_t_be_written_is_an_error(tmp_path, capsys):
    assert main.run(["--log", str(tmp_path / "no/log"), "--root", str(tmp_path), "list"]) == 1
    assert "can't be opened: no such file or directory" in capsys.readouterr().err
    main.run(["--log", str(tmp_path / "log"), "--root", str(tmp_path), "list"])
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize("verb", ["start", "delete", "kill", "state", "list", "pause", "resume"])
def test_verbs_that_make_nothing_load_little(verb):
    """podman and containerd call three or four of them for each container: no ctypes, nothing of a start's."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; from estiva.ocicli import main; main.load({verb!r}); "
    code += "main.default_root(); main._rootless(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "_ctypes" not in loaded
    assert not [
        name for name in loaded if name.startswith(("estiva.runtime.rootfs", "estiva.runtime.bundle"))
    ]
    assert not [name for name in loaded if name.startswith("estiva.runtime.cgroup")]
    assert "_socket" not in loaded


def test_the_engine_s_variables_do_not_move_it(monkeypatch):
    """An engine's monitor has them and the engine's later calls have not: what was made would not be found."""
    monkeypatch.delenv("ESTIVA_OCI_ROOT")
    monkeypatch.setenv("ESTIVA_RUN_ROOT", "/elsewhere")
    assert "elsewhere" not in main.default_root()
