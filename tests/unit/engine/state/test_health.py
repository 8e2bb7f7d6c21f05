"""A container's health after each check, by Docker's rules; its file is bounded and may be damaged."""

import pytest

from estiva.engine.monitor.life.health import duration
from estiva.engine.state.life import health


def after(codes, retries=3, lenient=False):
    state = health.new()
    for code in codes:
        result = {"Start": "", "End": "", "ExitCode": code, "Output": str(code)}
        health.add(state, result, retries=retries, lenient=lenient)
    return state["Status"], state["FailingStreak"], [result["ExitCode"] for result in state["Log"]]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], ("starting", 0, [])),
        ([1, 2], ("starting", 2, [1, 2])),
        ([1, 1, -1], ("unhealthy", 3, [1, 1, -1])),
        ([0, 1, 1], ("healthy", 2, [0, 1, 1])),
        ([0, 1, 1, 1, 0, 1], ("healthy", 1, [1, 1, 1, 0, 1])),
    ],
)
def test_results_in_a_row(codes, expected):
    assert after(codes) == expected


def test_the_start_period():
    assert after([1, 1, 1, 1], lenient=True) == ("starting", 0, [1, 1, 1, 1])
    assert after([0, 1, 1, 1], lenient=True) == ("unhealthy", 3, [0, 1, 1, 1])  # it was healthy before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"Status": 5}', '{"Status": "healthy", "FailingStreak": 0}', "x" * 2000000]
)
def test_a_damaged_file_is_as_at_the_start(tmp_path, text):
    (tmp_path / "health.json").write_text(text)
    assert health.read(str(tmp_path)) == health.new()


def test_whatever_a_check_says_can_be_kept(tmp_path):
    state = health.new()
    output = "\x00\x1f\udcff\ufffd" * 1024
    for _ in range(9):
        health.add(state, {"Start": "", "End": "", "ExitCode": 1, "Output": output}, retries=1, lenient=False)
    health.write(str(tmp_path), state)
    assert health.read(str(tmp_path)) == state and len(state["Log"]) == 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30.0, "30s"), (0.3, "300ms"), (90.5, "1m30.5s"), (3600.0, "1h0m0s"), (60.0, "1m0s")],
)
def test_durations_as_go_prints_them(seconds, text):
    assert duration(seconds) == text


def plan(test, **more):
    return health.plan({"Image": "x", "Healthcheck": {"Test": test, **more}})


def test_the_plan_of_a_check():
    assert plan([]) is plan(["NONE"]) is plan(["ODD", "x"]) is health.plan({"Image": "x"}) is None
    assert plan(["CMD", "a", "b"])["argv"] == ["a", "b"]
    found = plan(["CMD-SHELL", "a b"])
    assert found["argv"] == ["/bin/sh", "-c", "a b"]
    assert (found["interval"], found["timeout"], found["start_interval"], found["retries"]) == (30, 30, 5, 3)
    shell = health.plan({"Image": "x", "Shell": ["bash", "-ec"], "Healthcheck": {"Test": ["CMD-SHELL", "a"]}})
    assert shell["argv"] == ["bash", "-ec", "a"]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"Interval": 10**9}, 1),
        ({"Interval": 10**9, "StartInterval": 3 * 10**9}, 3),
        ({"Interval": 9 * 10**9}, 5),
    ],
)
def test_checks_of_the_start_period_are_no_rarer_than_later_ones_unless_asked_for(asked, wanted):
    """Docker 26 waits the interval where no start interval is given."""
    assert health.plan({"Healthcheck": {"Test": ["CMD", "x"], **asked}})["start_interval"] == wanted


def test_what_an_image_says_is_bounded():
    """Nobody judges it before: no interval of a nanosecond, or less."""
    found = plan(["CMD", "a"], Interval=1, Timeout=-5, StartPeriod=-1, StartInterval=1, Retries=-3)
    assert (found["interval"], found["timeout"], found["start_period"]) == (0.001, 30.0, 0.0)
    assert found["start_interval"] == 0.001 and found["retries"] == 3
