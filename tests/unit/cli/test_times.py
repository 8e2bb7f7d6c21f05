"""Times as words of an option: `logs --since` and `registry gc --grace`."""

import time

import pytest

from estiva.cli.container import logs
from estiva.cli.serve import registry
from estiva.errors import InvalidInput

ENDLESS = "9" * 5000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", 0.0),
        ("1732455480", 1732455480.0),
        ("1732455480.25", 1732455480.25),
        ("2024-11-24T13:38:00Z", 1732455480.0),
        ("2024-11-24T14:38:00.5+01:00", 1732455480.5),
    ],
)
def test_a_moment_of_logs(text, moment):
    assert logs.moment(text) == moment


def test_a_duration_is_before_now():
    assert logs.moment("") is None
    before = time.time()
    assert before - 5400 <= logs.moment("1h30m") <= time.time() - 5400
    assert before - 5400 <= logs.moment("+1h30m") <= time.time() - 5400
    assert before + 5400 <= logs.moment("-1h30m") <= time.time() + 5400


@pytest.mark.parametrize(
    "text", ["x", "-", "--5m", "-5", "1d", "٣", "1.2.3", "nan", "2024-13-01", "9999-99-99T00:00:00Z", ENDLESS, ENDLESS + "s"]
)  # fmt: skip
def test_what_is_no_time_of_logs(text):
    with pytest.raises(InvalidInput, match="invalid time '") as caught:
        logs.moment(text)
    assert len(str(caught.value)) < 200 and caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("1h30m", 5400)]
)  # fmt: skip
def test_a_grace_of_the_registry(text, seconds):
    assert registry.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1s", "1w", "٣", "1 s", ENDLESS, ENDLESS + "d"])
def test_what_is_no_grace(text):
    with pytest.raises(InvalidInput, match="is not a time") as caught:
        registry.seconds(text)
    assert len(str(caught.value)) < 200 and caught.value.hint
