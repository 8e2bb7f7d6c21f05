"""Execs that are kept in a run folder."""

import os
from pathlib import Path
from typing import Any

import pytest

from estiva.engine.state import execs
from estiva.errors import Conflict
from estiva.linux import procinfo
from estiva.paths import Paths

ASKED: Any = {"argv": ["true"], "env": ["A=\udce9"], "tty": False}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    os.makedirs(made.run_container("c"))
    return made


def test_from_made_to_ended(paths: Paths) -> None:
    execs.keep(paths, "c", "e", ASKED)
    where = execs.folder(paths, "c", "e")
    assert execs.asked(where) == ASKED
    assert execs.standing(where) == {"begun": False, "running": False, "status": None, "pid": 0}
    execs.begin(where)
    assert execs.standing(where)["running"]
    with pytest.raises(Conflict, match="already running"):
        execs.begin(where)
    execs.running(where, os.getpid(), procinfo.start_time(os.getpid()))
    assert execs.standing(where) == {"begun": True, "running": True, "status": None, "pid": os.getpid()}
    execs.end(where, 7)
    assert execs.standing(where)["status"] == 7
    with pytest.raises(Conflict, match="already run"):
        execs.begin(where)


def test_one_whose_parent_was_killed_has_ended(paths: Paths) -> None:
    execs.keep(paths, "c", "e", ASKED)
    where = execs.folder(paths, "c", "e")
    execs.begin(where)
    os.utime(where + "/begun", (0, 0))
    assert execs.standing(where)["status"] == execs.NEVER_RAN
    execs.running(where, os.getpid(), 1)  # the pid is another's by now
    assert execs.standing(where) == {"begun": True, "running": False, "status": 137, "pid": os.getpid()}


def test_there_are_so_many_and_who_runs_is_kept(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execs, "KEPT", 3)
    for number in range(8):
        execs.keep(paths, "c", str(number), ASKED)
        if number:
            execs.end(execs.folder(paths, "c", str(number)), 0)
            os.utime(execs.folder(paths, "c", str(number)) + "/ended", (number, number))
    assert sorted(execs.names(paths, "c")) == ["0", "5", "6", "7"]


def test_a_container_that_has_gone(paths: Paths) -> None:
    assert execs.names(paths, "gone") == []
    with pytest.raises(OSError):  # noqa: PT011
        execs.keep(paths, "gone", "e", ASKED)
    execs.end(execs.folder(paths, "gone", "e"), 1)  # nobody minds
