"""The words of `events`."""

import pytest

from estiva.cmdline.parser import UsageError
from estiva.ocicli import events


@pytest.mark.parametrize(("text", "value"), [("5s", 5), ("500ms", 0.5), ("1.5m", 90), ("1h", 3600)])
def test_intervals(text, value):
    assert events.seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "s", "1x", "1s2"])
def test_bad_intervals(text):
    with pytest.raises(UsageError):
        events.seconds(text)
