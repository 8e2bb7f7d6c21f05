import json
import os
import subprocess
import types

import pytest

from estiva.engine.state import known
from estiva.linux import procinfo

ID = "a" * 64


@pytest.fixture
def engine(tmp_path):
    """One whose run folders are in a temporary one."""
    return types.SimpleNamespace(paths=types.SimpleNamespace(run_container=lambda each: str(tmp_path / each)))


@pytest.fixture
def init():
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def write(engine, pid, age=1.0, name="state.json", **more):
    """A file of the run folder, replaced as the engine does, `age` seconds ago."""
    run = engine.paths.run_container(ID)
    os.makedirs(run, exist_ok=True)
    text = json.dumps({"pid": pid, "start_time": procinfo.stat(pid)[1], "monitor": 1, **more})
    with open(f"{run}/new", "w") as file:
        file.write(text)
    found = os.stat(f"{run}/new")
    os.utime(f"{run}/new", ns=(found.st_mtime_ns, found.st_mtime_ns - int(age * 1e9)))
    os.rename(f"{run}/new", f"{run}/{name}")


def learn(engine, row):
    made = known.Known()
    look = made.begin()
    assert look.find(engine, *row) is None
    entry = look.watch(engine, *row)
    look.keep(entry, {"Id": ID})
    made.end(look)
    return made


def test_what_runs_is_known_until_its_state_is_written_anew(engine, init):
    write(engine, init.pid)
    row = (ID, "running", "text", None)
    made = learn(engine, row)
    assert made.begin().find(engine, *row) == {"Id": ID}
    for other in (
        (ID, "exited", "text", None),
        (ID, "running", "else", None),
        (ID, "running", "text", {"n": {}}),
    ):
        assert made.begin().find(engine, *other) is None
    write(engine, init.pid, 2.0, paused=True)
    assert made.begin().find(engine, *row) is None


def test_its_health_belongs_to_it(engine, init):
    write(engine, init.pid)
    row = (ID, "running", '{"Config": {"Healthcheck": {}}}', None)
    made = learn(engine, row)
    write(engine, init.pid, name="health.json")
    assert made.begin().find(engine, *row) is None


def test_an_init_that_has_ended_is_not_known(engine, init):
    write(engine, init.pid)
    row = (ID, "running", "text", None)
    made = learn(engine, row)
    init.kill()
    os.waitid(os.P_PID, init.pid, os.WEXITED | os.WNOWAIT)  # and is not reaped
    assert made.begin().find(engine, *row) is None


def test_a_file_that_is_just_written_is_not_relied_upon(engine, init):
    write(engine, init.pid, 0)
    row = (ID, "running", "text", None)
    assert learn(engine, row).begin().find(engine, *row) is None


@pytest.mark.parametrize("status", ["running", "dead"])
def test_what_is_between_two_states_is_not_remembered(engine, status):
    row = (ID, status, "text", None)
    assert learn(engine, row).begin().find(engine, *row) is None


def test_of_what_has_ended_the_row_tells_all(engine):
    row = (ID, "exited", "text", {"n": {}})
    made = learn(engine, row)
    assert made.begin().find(engine, *row) == {"Id": ID}
    made.end(made.begin())  # it was not there
    assert made.begin().find(engine, *row) is None


def test_pidfds_go_with_what_is_forgotten(engine, init):
    write(engine, init.pid)
    before = set(os.listdir("/proc/self/fd"))
    made = learn(engine, (ID, "running", "text", None))
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1
    look = made.begin()
    made.end(made.begin())
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1  # another look goes on
    del look
    assert set(os.listdir("/proc/self/fd")) == before
