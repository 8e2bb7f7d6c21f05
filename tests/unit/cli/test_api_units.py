"""The systemd units that `api units` prints."""

import configparser
import grp
import os
import pathlib
import shlex

from estiva.cli import main
from estiva.cli.serve import api


def read(path):
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(path.read_text())
    return unit


def test_units_name_this_program_and_its_roots(tmp_path, capsys):
    roots = ["--root", f"{tmp_path}/root", "--run-root", f"{tmp_path}/run"]
    assert main.run([*roots, "api", "units", "--to", str(tmp_path)]) == 0
    names = ("estiva-api.socket", "estiva-api.service")
    assert capsys.readouterr().out == "".join(f"{tmp_path}/{name}\n" for name in names)
    socket, service = (read(tmp_path / name) for name in names)
    assert socket["Socket"]["ListenStream"] == f"{tmp_path}/run/docker.sock"
    named = "docker" in {entry.gr_name for entry in grp.getgrall()}
    assert (socket["Socket"]["SocketMode"], socket["Socket"]["SocketGroup"]) == (
        ("0660", "docker") if named else ("0600", "root")
    )
    words = shlex.split(service["Service"]["ExecStart"])
    assert [*roots, "api", "serve", "--listen", "fd://"] == words[words.index("--root") : -2]
    assert os.path.isabs(words[0]) or words[0] == "estiva"
    assert service["Service"]["KillMode"] == "process"  # containers outlive it


def test_units_are_shipped_for_an_estiva_of_the_system():
    folder = pathlib.Path(api.__file__).with_name("units")
    socket, service = (read(folder / name) for name in api.UNITS)
    assert socket["Socket"]["ListenStream"] == "/run/estiva/docker.sock"
    assert service["Service"]["ExecStart"] == "estiva api serve --listen fd:// --idle-timeout 5m"


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert main.run(["api", "units", "--to", f"{tmp_path}/none"]) == 1
    assert f"{tmp_path}/none is no folder" in capsys.readouterr().err
