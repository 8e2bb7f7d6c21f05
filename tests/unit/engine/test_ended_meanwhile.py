"""A container that ends or is removed in the middle of a verb is told as such, not by the file or the pid that has gone."""

import os
import time
import types

import pytest

from estiva.engine.containers import changes
from estiva.engine.containers.cp import view
from estiva.engine.monitor import exec_session
from estiva.errors import Conflict, NotFound

RECORD = {
    "Id": "a" * 64,
    "Name": "/web",
    "Image": "b",
    "State": {"Running": True, "Paused": False, "Restarting": False},
}


@pytest.fixture
def engine(tmp_path):
    paths = types.SimpleNamespace(
        container=lambda id: str(tmp_path / "containers" / id),
        run_container=lambda id: str(tmp_path / "run" / id),
    )
    os.makedirs(paths.container(RECORD["Id"]))
    os.makedirs(paths.run_container(RECORD["Id"]))
    return types.SimpleNamespace(paths=paths)


@pytest.mark.parametrize("verb", ["diff", "export"])
def test_a_container_that_is_removed_while_it_is_read(verb, engine, monkeypatch):
    def snapshot(engine, record):
        os.rmdir(engine.paths.container(record["Id"]))
        raise FileNotFoundError(2, "No such file or directory", "upper")

    monkeypatch.setattr(changes.lookup, "resolve", lambda engine, ref: RECORD)
    monkeypatch.setattr(changes, "snapshot", snapshot)
    with pytest.raises(NotFound, match="^container web was removed meanwhile$"):
        getattr(changes, verb)(engine, "web", *([None] if verb == "export" else []))


def test_what_is_missing_in_one_that_is_there_is_told_as_it_is(engine):
    with pytest.raises(FileNotFoundError), changes.Whole(engine, RECORD):
        raise FileNotFoundError(2, "No such file or directory", "upper")


@pytest.mark.parametrize("when", ["freeze", "thaw"])
def test_a_container_that_ends_while_it_is_held_still(when, engine, monkeypatch):
    def gone():
        raise NotFound("cgroup /estiva/x is gone")

    group = types.SimpleNamespace(freeze=lambda: None, thaw=lambda: None)
    setattr(group, when, gone)
    monkeypatch.setattr(changes.lookup, "running_state", lambda engine, id: {"cgroup": "/estiva/x"})
    monkeypatch.setattr(changes.factory, "open", lambda path: group)
    for _ in range(2):  # the lock was let go of
        with changes.Paused(engine, RECORD, True):
            pass


class Looks:
    """A container that waits for its next run, which begins at the first look and is over at the third."""

    def __init__(self, monkeypatch):
        self.said = []
        record = {**RECORD, "State": {**RECORD["State"], "Restarting": True}}
        monkeypatch.setattr(changes.lookup, "resolve", lambda engine, ref: record)
        monkeypatch.setattr(changes.containers, "waits", self.waits)
        monkeypatch.setattr(time, "sleep", lambda seconds: self.said.append("sleep"))

    def waits(self, db, id):
        self.said.append("look")
        return self.said.count("look") == 3


def test_who_reads_its_files_does_not_spin_while_a_run_begins(engine, monkeypatch):
    engine.db = None
    record = {**RECORD, "State": {**RECORD["State"], "Restarting": True}}
    looks = Looks(monkeypatch)
    with changes.Paused(engine, record, True):
        assert looks.said == ["look", "sleep", "look", "sleep", "look"]
    looks = Looks(monkeypatch)
    monkeypatch.setattr(view.View, "_mounted", lambda self, record: setattr(self, "root", 0))
    monkeypatch.setattr(view.eventlog, "about", lambda record: {})
    with view.View(engine, "web"):
        assert looks.said == ["look", "sleep", "look", "sleep", "look"]


def test_an_exec_names_the_container_that_has_ended(monkeypatch, tmp_path):
    answers = iter([True, False, True, True])
    monkeypatch.setattr(exec_session.state, "alive", lambda pid, start: next(answers))
    monkeypatch.setattr(
        exec_session.factory, "open", lambda path: types.SimpleNamespace(frozen=lambda: False)
    )
    monkeypatch.setattr(exec_session, "seccomp_filter", lambda plan: None)

    def execute(*words, **more):
        raise Conflict("process 7 is gone: its container is not running")

    monkeypatch.setattr(exec_session.runtime_exec, "execute", execute)
    plan = {"pid": 7, "start_time": 1, "id": "c" * 64, "cgroup": "/x", "stdin": False, "root": None, "run": str(tmp_path),
            "config": {"process": {"terminal": True}}}  # fmt: skip
    with pytest.raises(Conflict, match=f"^container {'c' * 12} has ended$"):
        exec_session.Session(plan, (-1, -1, -1)).start()
    with pytest.raises(Conflict, match=f"^container {'c' * 12} has ended$"):
        exec_session.Session({**plan, "run": str(tmp_path / ("c" * 64))}, (-1, -1, -1)).start()
    with pytest.raises(Conflict, match="process 7 is gone"):
        exec_session.Session(plan, (-1, -1, -1)).start()
