"""Restart policies: whether a container is started again, and when."""

import json
import os

import pytest

from estiva.engine.state.life import restarts
from estiva.paths import Paths

ID = "a" * 64


def record(name="always", most=0, code=1, count=0, ran=0, **state):
    return {
        "Id": ID,
        "RestartCount": count,
        "HostConfig": {"RestartPolicy": {"Name": name, "MaximumRetryCount": most}},
        "State": {
            "ExitCode": code,
            "StartedAt": "2026-01-01T00:00:00.5Z",
            "FinishedAt": f"2026-01-01T00:00:{ran:02}.600000001Z",
            **state,
        },
    }


@pytest.fixture
def where(tmp_path):
    os.makedirs(tmp_path / "run/containers" / ID)
    return Paths(str(tmp_path / "root"), str(tmp_path / "run"))


WANTED = [
    (record("no"), False),
    (record(""), False),
    (record("always", code=0), True),
    (record("always", Stopped=True), False),
    (record("unless-stopped", code=0), True),
    (record("unless-stopped", Stopped=True), False),
    (record("on-failure", code=0), False),
    (record("on-failure", count=1000), True),
    (record("on-failure", most=3, count=2), True),
    (record("on-failure", most=3, count=3), False),
    (record("on-failure", Stopped=True), False),
]


@pytest.mark.parametrize(("made", "expected"), WANTED)
def test_wanted(made, expected, where):
    assert restarts.wanted(made) is expected
    assert (restarts.decide(where, made) is not None) is expected


def test_forced_whatever_the_policy_says_unless_somebody_has_stopped_it(where):
    assert restarts.decide(where, record("no"), forced=True) == 0.1
    assert restarts.decide(where, record("no", Stopped=True), forced=True) is None


def test_the_wait_doubles_up_to_a_minute_and_a_long_run_resets_it(where):
    made = record()
    assert [restarts.decide(where, made) for _ in range(12)] == [
        0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0,
    ]  # fmt: skip
    assert made["RestartCount"] == 12
    assert restarts.decide(where, record(ran=9)) == 60.0
    assert restarts.decide(where, record(ran=10)) == 0.1


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"delay": "x"}', '{"delay": -5, "pid": 1, "start_time": 0}', "1" * 9999]
)
def test_a_file_that_is_damaged_is_as_good_as_none(where, text):
    with open(f"{where.run_container(ID)}/restarting.json", "w") as file:
        file.write(text)
    restarts.end_waiter(where, ID)  # kills nobody
    assert restarts.decide(where, record()) == 0.1


def test_only_who_was_meant_is_killed(where):
    """A pid that is another process's by now."""
    with open(f"{where.run_container(ID)}/restarting.json", "w") as file:
        json.dump({"delay": 1.0, "pid": os.getpid(), "start_time": 1}, file)
    restarts.end_waiter(where, ID)


def test_a_stop_is_of_the_run_that_it_was_said_of(where):
    run = where.run_container(ID)
    live = {"pid": 5, "start_time": 6, "monitor": 7}
    assert not restarts.mark_stopped(where, ID, live)  # over
    with open(f"{run}/state.json", "w") as file:
        json.dump({**live, "start_time": 9}, file)
    assert not restarts.mark_stopped(where, ID, live)  # another
    assert not os.path.exists(f"{run}/stopped")
    assert restarts.mark_stopped(where, ID, {**live, "start_time": 9})
    assert os.path.exists(f"{run}/stopped")
    assert not restarts.mark_stopped(where, "b" * 64, None)
