"""How long a writer waits for the process that has the database: by a clock of the test's own."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from estiva.errors import StateError
from estiva.store import lock_holder

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("in", flush=True)
time.sleep(600)
"""


class Clock:
    """Goes on by 10 ms at every look, and never sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now

    def sleep(self, seconds: float) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(lock_holder, "time", made)
    monkeypatch.setattr(lock_holder, "_vain", (-1, 0.0))
    return made


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    database = str(tmp_path / "estiva.db")
    Path(database + ".queue").touch()
    words = [sys.executable, "-c", HOLD, database + ".queue"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "in\n"
        try:
            yield database, child
        finally:
            child.kill()


def waited(clock: Clock, database: str) -> float:
    began = clock.now
    fd = os.open(database + ".queue", os.O_RDWR)
    try:
        with pytest.raises(StateError, match="is locked by process"):
            lock_holder.wait(fd, database, 10.0)
    finally:
        os.close(fd)
    return clock.now - began


def test_a_process_is_waited_for_once(clock: Clock, holder: tuple[str, subprocess.Popen[str]]) -> None:
    database, _ = holder
    assert 10 < waited(clock, database) < 11
    assert sum(waited(clock, database) for _ in range(5)) < 1
    clock.now += 120  # it may well be another time that it has it
    assert 10 < waited(clock, database) < 11


def test_one_that_is_stopped_is_waited_for_a_shorter_time(
    clock: Clock, holder: tuple[str, subprocess.Popen[str]]
) -> None:
    database, child = holder
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert 3 < waited(clock, database) < 4
    assert waited(clock, database) < 1


def test_one_that_lets_go_is_waited_for(clock: Clock, holder: tuple[str, subprocess.Popen[str]]) -> None:
    database, child = holder
    waited(clock, database)
    child.kill()
    child.wait()
    fd = os.open(database + ".queue", os.O_RDWR)
    lock_holder.wait(fd, database, 10.0)
    assert fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB) is None
    os.close(fd)
