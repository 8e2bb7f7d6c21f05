"""Bake files and what they come to: `expected.json` of each folder is what `docker buildx bake --print` (0.13.1) has printed for
them, with the arguments and the environment of `words.json`."""

import json
import pathlib

import pytest

from estiva.cli.main import run

GOLDEN = pathlib.Path(__file__).parent / "golden"
KNOWN = (
    "TAG",
    "B",
    "N",
    "L",
    "X",
    "Y",
    "T",
    "C",
    "P",
)  # variables of the cases, which the caller's must not reach


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_a_bake_file_as_buildx_has_it(name, tmp_path, monkeypatch, capsys):
    words = json.loads((GOLDEN / name / "words.json").read_text())
    for path in (GOLDEN / name).iterdir():
        if path.name not in ("words.json", "expected.json"):
            (tmp_path / path.name.replace("dot.env", ".env")).write_bytes(path.read_bytes())
    for variable in KNOWN:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {"EV": "1", **words["env"]}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    status = run(["bake", "--print", *words["args"]])
    assert not status
    assert capsys.readouterr().out == (GOLDEN / name / "expected.json").read_text()
