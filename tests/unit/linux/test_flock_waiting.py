"""Waiting for flock(2): as long as who has it works, and not for ever where that is stopped."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from estiva import files, waiting
from estiva.errors import StateError

HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    path = str(tmp_path / "lock")
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    yield path, child
    child.send_signal(signal.SIGCONT)
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


def test_a_stopped_holder_is_named(held, monkeypatch):
    path, child = held
    monkeypatch.setattr(waiting, "STOPPED", 0.2)
    child.send_signal(signal.SIGSTOP)
    before = os.listdir("/proc/self/fd")
    with (
        pytest.raises(StateError, match=f"{path} is locked by process {child.pid} ") as caught,
        files.Lock(path),
    ):
        pass
    assert f"kill -CONT {child.pid}" in caught.value.hint
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_one_that_works_is_waited_for(held, monkeypatch):
    path, child = held
    monkeypatch.setattr(waiting, "STOPPED", 0.1)
    monkeypatch.setattr(waiting, "LOOK", 0.05)
    threading.Timer(0.6, child.stdin.close).start()
    began = time.monotonic()
    with files.Lock(path):
        assert time.monotonic() - began > 0.5
        with pytest.raises(BlockingIOError), files.Lock(path, blocking=False):
            pass


def test_readers_share_it(tmp_path):
    path = str(tmp_path / "lock")
    with files.Lock(path, shared=True), files.Lock(path, shared=True):
        fd = os.open(path, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
