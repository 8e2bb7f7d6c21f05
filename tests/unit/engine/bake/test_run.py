"""Targets beside each other: who waits for whom, and what a failure does."""

import threading

import pytest

from estiva.engine.bake.run import Run
from estiva.errors import Stopped


def test_a_target_comes_after_what_it_needs_and_beside_the_rest():
    meet = threading.Barrier(2, timeout=60)

    def build(name, images, look):
        if name in ("b", "c"):
            assert images["a"] == "image a"
            meet.wait()  # both are here at once
        return f"image {name}"

    assert Run({"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}, build).run() == {
        name: f"image {name}" for name in "abcd"
    }


def test_the_first_failure_stops_the_others():
    begun = []

    def build(name, images, look):
        begun.append(name)
        if name == "bad":
            running.wait(60)
            raise ValueError("this one")
        running.set()
        while True:
            look()

    running = threading.Event()
    with pytest.raises(ValueError, match="this one"):
        Run({"slow": [], "bad": [], "after": ["bad"]}, build).run()
    assert sorted(begun) == ["bad", "slow"]


def test_steps_are_numbered_through_and_named_by_their_target():
    told = []
    run = Run({}, lambda name, images, look: "")
    for name in ("web", "db", "web"):
        run.told(name, told.append)({"step": "1/2", "stage": "s", "place": "1/2", "status": "running"})
    assert [event["step"] for event in told] == ["1/2", "2/4", "1/4"]
    assert [event["platform"] for event in told] == ["web", "db", "web"]
    run.failure = ValueError()
    with pytest.raises(Stopped):
        run.told("web", told.append)({"status": "warning"})
    run.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run.look()
