"""The sentences of `why`, for every state that a container may be in."""

import pytest

from estiva.engine.explain import why
from estiva.timestamps import ZERO


def record(status="exited", *, end=None, count=0, **more):
    state = {
        "Status": status, "Running": status == "running", "Paused": False, "Restarting": False, "Error": "", "ExitCode": 0,
        "StartedAt": ZERO, "FinishedAt": ZERO, **more,
    }  # fmt: skip
    if end is not None:
        state["Exit"] = end
    return {"Name": "/web", "State": state, "RestartCount": count}


def test_one_that_was_never_started():
    assert why.of(record("created")) == [
        "web has been created and was never started: `estiva start web` does that"
    ]


def test_one_whose_start_failed():
    end = {"Status": 127, "Meaning": "its command was not found", "Failed": True, "Hint": "did you mean ls?"}
    assert why.of(record("created", end=end, Error="exec: \x1b")) == [
        "web could not be started, and ended with status 127", "exec: \\x1b", "did you mean ls?",
    ]  # fmt: skip


def test_one_that_met_its_limit():
    end = {
        "Status": 137, "Meaning": "killed by its memory limit of 64 MiB", "Signal": "SIGKILL", "Alive": 3.04,
        "OOM": {"Count": 1, "Scope": "own", "Limit": 64 << 20}, "PeakMemory": 64 << 20,
    }  # fmt: skip
    assert why.of(record(end=end, ExitCode=137)) == [
        "web ended, after 3.0 seconds, with status 137",
        "killed by its memory limit of 64 MiB",
        "`estiva update -m SIZE web`, or run's --memory, gives it more memory",
        "at most it had 64 MiB of memory",
    ]


def test_one_whose_monitor_was_killed():
    said = why.of(record(Error="the container's monitor was killed", ExitCode=137))
    assert said == ["web ended with status 137", "the container's monitor was killed"]


@pytest.mark.parametrize(("alive", "count", "loop"), [(0.1, 5, True), (0.1, 1, False), (100.0, 5, False)])
def test_one_that_restarts(alive, count, loop):
    end = {"Status": 1, "Meaning": "ended by itself with status 1", "Alive": alive}
    said = why.of(record("restarting", end=end, count=count, Restarting=True))
    assert said[2].startswith("it waits to be started again by its restart policy, ")
    assert (said[-1] == "it ends soon after each start: that is a loop") == loop


def test_one_that_runs_and_is_ill():
    health = {"Status": "unhealthy", "FailingStreak": 3, "Log": [{"ExitCode": 1, "Output": "refused\x1b\n"}]}
    end = {"Status": 1, "Meaning": "ended by itself with status 1"}
    said = why.of(record("running", end=end, count=1, Health=health, Paused=True))
    assert said[1:] == [
        "it is paused: `estiva unpause web` lets it go on",
        "its health check has failed 3 times in a row",
        "the last check ended with status 1: refused\\x1b",
        "it was started again once by its restart policy",
        "the run before: ended by itself with status 1",
    ]


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (-1, "0.0 seconds"),
        (0.26, "0.3 seconds"),
        (61, "61 seconds"),
        (180, "3 minutes"),
        (1e4, "2 hours"),
        (1e6, "11 days"),
    ],
)
def test_lengths_of_time(length, said):
    assert why.span(length) == said
