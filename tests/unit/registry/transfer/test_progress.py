"""Progress is told when something changes, and of bytes now and then."""

from __future__ import annotations

import pytest

from estiva.registry.transfer import progress

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_change_is_told_at_once_and_bytes_ten_times_a_second(clock):
    events = []
    told = progress.Progress(events.append)
    told.say(DIGEST, "waiting")
    told.say(DIGEST, "downloading", 1, 9)
    told.say(DIGEST, "downloading", 2, 9)
    clock[0] += 2 * progress.INTERVAL
    told.say(DIGEST, "downloading", 3, 9)
    told.say(DIGEST, "downloading", 4, 9, "again")
    told.say(DIGEST, "done", 9, 9)
    assert [(event["status"], event["current"]) for event in events] == [
        ("waiting", 0), ("downloading", 1), ("downloading", 3), ("downloading", 4), ("done", 9)
    ]  # fmt: skip
    assert {event["id"] for event in events} == {"0123456789ab"}
    assert events[-2]["message"] == "again"


def test_each_blob_has_its_own_time(clock):
    events = []
    told = progress.Progress(events.append)
    for digest in (DIGEST, "sha256:" + "f" * 64):
        told.say(digest, "downloading", 1, 9)
    assert len(events) == 2


def test_nobody_need_listen(clock):
    told = progress.Progress(None)
    told.say(DIGEST, "done")
    assert told.last == {}
