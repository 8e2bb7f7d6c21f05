"""The filters of `ps` about ports and about other containers."""

import pytest

from estiva.engine.containers import listing, ps_filters
from estiva.engine.state import lookup
from estiva.errors import InvalidInput, Unsupported

RECORD = {
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": None, "90/tcp": []}
    },
    "Config": {},
}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"publish": ["8080"]}, True),
        ({"publish": ["8000-8100/tcp"]}, True),
        ({"publish": ["8080/udp"]}, False),
        ({"publish": ["80"]}, False),
        ({"publish": ["1", "8080"]}, True),
        ({"expose": ["80"]}, True),
        ({"expose": ["53/udp"]}, True),
        ({"expose": ["53"]}, False),
        ({"expose": ["1-65535/udp"], "publish": ["9"]}, False),
        ({"expose": ["91-95"]}, False),
    ],
)
def test_ports(filters, expected):
    listing.check(filters)
    assert listing.matches(RECORD, filters) is expected


@pytest.mark.parametrize(
    "value", ["", "x", "0", "65536", "90-80", "80-", "-80", "80/tcpp", "80/", "1" * 99, "٣"]
)
def test_ports_that_are_none(value):
    if value == "80/":
        assert ps_filters.ports("publish", [value]) == {(80, "tcp")}
        return
    for key in ("publish", "expose"):
        with pytest.raises(InvalidInput, match=f"invalid filter '{key}="):
            listing.check({key: [value]})


def test_there_are_no_tasks_here():
    with pytest.raises(Unsupported, match="is-task"):
        listing.check({"is-task": ["true"]})


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"before": ["c"]}, {"b", "a"}),
        ({"since": ["c"]}, {"e", "d"}),
        ({"before": ["d"], "since": ["a"]}, {"c", "b"}),
        ({"before": ["a"]}, set()),
        ({"since": ["e"]}, set()),
        ({"before": ["d", "c"]}, {"b", "a"}),
    ],
)
def test_before_and_since(filters, expected, monkeypatch):
    monkeypatch.setattr(lookup, "resolve", lambda engine, ref: {"Id": ref})
    assert ps_filters.between(None, ["e", "d", "c", "b", "a"], filters) == expected
