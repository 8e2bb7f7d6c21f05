"""The flags of `exec` as an OCI process."""

import pytest

from estiva.cmdline.parser import UsageError, parse_verb
from estiva.ocicli import exec


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
