"""What a process may know and change of itself and others, without privileges."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from estiva.linux import process


def test_start_time_and_state() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        letter, started = process.stat(child.pid)
        assert letter in "RSD" and started > 0
        assert process.start_time(child.pid) == started
        assert process.start_time(os.getpid()) <= started
    finally:
        child.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        process.start_time(child.pid)


def test_a_name_with_brackets_does_not_confuse_start_time() -> None:
    pid = os.fork()
    if pid == 0:
        process.set_name("a) R 1 (b")
        signal.pause()
    try:
        while b"a) R 1 (b" not in open(f"/proc/{pid}/stat", "rb").read():
            pass
        assert process.start_time(pid) >= process.start_time(os.getpid())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_close_all_but() -> None:
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            low, high = os.dup(into), os.dup(into)
            far = os.dup2(into, max(low, high) + 20)
            process.close_all_but([high, far])
            left = {int(n) for n in os.listdir("/proc/self/fd")} - {0, 1, 2}
            # Beside the two there is the listing's own fd, whatever its number.
            os.write(far, str(left >= {high, far} and len(left) == 3).encode())
        finally:
            os._exit(0)
    os.close(into)
    assert os.read(out, 10) == b"True"
    os.waitpid(pid, 0)
    os.close(out)


def test_dumpable() -> None:
    assert process.dumpable() == 1
    process.set_dumpable(False)
    try:
        assert process.dumpable() == 0
    finally:
        process.set_dumpable(True)


def test_bounding_set_is_what_the_kernel_says() -> None:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("CapBnd"))
    assert process.bounding_set() == int(line.split()[1], 16)


def test_capset_round_trip() -> None:
    effective, permitted, inheritable = process.capget()
    process.capset(effective, permitted, inheritable)
    assert process.capget() == (effective, permitted, inheritable)
