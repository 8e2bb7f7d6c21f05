"""What a prune takes: by time, by labels that are there, and by labels that are not."""

import pytest

from estiva.engine.state.prune_filters import Pruned
from estiva.errors import InvalidInput

LABELS = {"a": "1", "b": ""}


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({}, True),
        ({"until": ["100"]}, True),
        ({"until": ["99"]}, False),
        ({"label": ["a"]}, True),
        ({"label": ["a=1", "b="]}, True),
        ({"label": ["a", "c"]}, False),
        ({"label": ["a=2"]}, False),
        ({"label!": ["a"]}, False),
        ({"label!": ["a=2"]}, True),
        ({"label!": ["a", "c"]}, True),  # it has not both
        ({"label": ["a"], "label!": ["c"], "until": ["100"]}, True),
        ({"label": ["a"], "until": ["99"]}, False),
    ],
)
def test_what_is_taken(filters, taken):
    assert Pruned(filters).takes(100.0, LABELS) == taken


def test_what_has_no_labels():
    assert not Pruned({"label": ["a"]}).takes(1.0, None)
    assert Pruned({"label!": ["a"]}).takes(1.0, None)


@pytest.mark.parametrize(
    "filters", [{"x": ["1"]}, {"until": ["x"]}, {"until": ["1h", "2h"]}, {"dangling": ["true"]}]
)
def test_what_means_nothing_is_refused(filters):
    with pytest.raises(InvalidInput, match="filter '"):
        Pruned(filters)
    assert Pruned(None, ()).takes(0.0, {})
