"""The order in which containers are resumed, and the unit that does it."""

import pytest

from estiva.cli.resume import quoted
from estiva.engine import resume


def made(name, **host):
    return {"Id": name * 8, "Name": "/" + name, "HostConfig": host}


def needs(*records):
    return [{found[:2] for found in each} for each in resume.order(list(records))]


def test_who_lends_a_namespace_or_is_linked_to_runs_before():
    one, two = made("aa"), made("bb", NetworkMode="container:aa", PidMode="host")
    three = made("cc", IpcMode=f"container:{'bb' * 3}", Links=["/aa:db", "zz"])
    assert needs(one, two, three) == [set(), {"aa"}, {"aa", "bb"}]


def test_a_circle_waits_for_nobody():
    one, two = made("aa", PidMode="container:bb"), made("bb", NetworkMode="container:aa")
    after = made("cc", NetworkMode="container:bb")
    assert needs(one, two, after, made("dd", PidMode="container:dd")) == [set(), set(), {"bb"}, set()]


STATE = {"StartedAt": "2026-01-01T00:00:00Z", "ExitCode": 0}
FAILED = {**STATE, "ExitCode": 137}


@pytest.mark.parametrize(
    ("policy", "status", "state", "expected"),
    [
        ("always", "exited", STATE, True),
        ("always", "exited", {**STATE, "Stopped": True}, True),
        ("always", "running", STATE, False),
        ("always", "created", {}, False),
        ("unless-stopped", "exited", STATE, True),
        ("unless-stopped", "exited", {**STATE, "Stopped": True}, False),
        ("on-failure", "exited", STATE, False),
        ("on-failure", "exited", FAILED, True),
        ("on-failure", "exited", {"StartedAt": STATE["StartedAt"]}, False),  # damaged: nobody knows
        ("on-failure", "created", {"ExitCode": 127}, False),
        ("on-failure", "exited", {**FAILED, "Stopped": True}, False),
        ("no", "exited", STATE, False),
    ],
)
def test_who_asks_for_it(policy, status, state, expected):
    record = {"HostConfig": {"RestartPolicy": {"Name": policy}}, "State": state}
    assert resume.asks(record, status) is expected


@pytest.mark.parametrize(("most", "count", "expected"), [(2, 1, True), (2, 2, False), (0, 9, True)])
def test_who_has_no_tries_left_does_not_ask(most, count, expected):
    host = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": most}}
    record = {"HostConfig": host, "State": FAILED, "RestartCount": count}
    assert resume.asks(record, "exited") is expected


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("/usr/bin/x-1.0_a", "/usr/bin/x-1.0_a"),
        ("a b", '"a b"'),
        ('"$\\%', '"\\"$$\\\\%%"'),
        ("a%n", '"a%%n"'),
    ],
)
def test_words_of_a_unit(word, text):
    assert quoted(word) == text
