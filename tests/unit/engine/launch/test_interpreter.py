"""Which program is run to be the spawner: never one that is not known to be Python."""

import os
import sys

import pytest

from estiva.engine.launch import interpreter
from estiva.errors import Unsupported


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def app(tmp_path, monkeypatch):
    """A frozen program that notes when it is run."""
    own = program(tmp_path / "app", f"echo run >> {tmp_path}/runs")
    monkeypatch.setattr(sys, "executable", own)
    monkeypatch.setattr(sys, "_base_executable", own)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    yield own
    assert not (tmp_path / "runs").exists()


def test_an_ordinary_interpreter_is_taken_as_it_is():
    assert interpreter.find() == sys.executable


def test_a_frozen_program_has_another_of_its_version(app):
    found = interpreter.find()
    assert found != app and os.path.basename(found).startswith("python")


@pytest.mark.parametrize("executable", ["app", "", None, "/no/such/python3", "python3"])
def test_what_is_no_interpreter_is_not_run(app, monkeypatch, executable):
    monkeypatch.delattr(sys, "frozen")
    monkeypatch.setattr(sys, "executable", app if executable == "app" else executable)
    assert os.path.isabs(interpreter.find())


def test_a_frozen_program_that_is_named_python_is_not_run(app, tmp_path, monkeypatch):
    own = program(tmp_path / "python-app", f"echo run >> {tmp_path}/runs")
    monkeypatch.setattr(sys, "executable", own)
    monkeypatch.setattr(sys, "_base_executable", own)
    assert interpreter.find() != own


def test_one_of_another_version_is_none(app, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    other = program(tmp_path / "bin/python9.9", "echo 9.8")
    monkeypatch.setattr(interpreter, "_number", lambda: "9.9")
    monkeypatch.setattr(sys, "base_exec_prefix", str(tmp_path))
    with pytest.raises(Unsupported) as caught:
        interpreter.find()
    assert app in str(caught.value) and "python9.9" in caught.value.hint
    program(tmp_path / "bin/python9.9", "echo 9.9")
    assert interpreter.find() == other


def test_a_second_level_starts_no_third(monkeypatch):
    monkeypatch.setenv(interpreter.SECOND, "1")
    with pytest.raises(Unsupported, match="is not a Python interpreter"):
        interpreter.find()
