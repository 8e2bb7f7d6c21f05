"""estiva.linux.process, namespace and tty without privileges."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from estiva.linux import namespace, process, tty


def test_clone3_is_a_fork() -> None:
    out, into = os.pipe()
    pid, pidfd = namespace.clone3(0)
    if pid == 0:
        try:
            data = f"{os.getpid()} {threading.current_thread().ident == threading.main_thread().ident}"
            data += f" {threading.get_native_id() == os.getpid()}"
            os.write(into, data.encode())
            if os.fork() == 0:  # the C library's own fork still works in it
                os._exit(0)
            os.wait()
        finally:
            os._exit(3)
    os.close(into)
    assert os.read(out, 100).decode() == f"{pid} True True"
    assert not os.get_inheritable(pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    with pytest.raises(ProcessLookupError):
        process.pidfd_send_signal(pidfd, signal.SIGTERM)
    os.close(pidfd)
    os.close(out)


def test_clone3_raises_in_the_parent() -> None:
    with pytest.raises(OSError):
        namespace.clone3(1 << 60)


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


def test_window_size_and_raw_mode() -> None:
    master, slave = tty.open_pty()
    try:
        tty.set_window_size(master, 12, 34)
        assert tty.window_size(slave) == (12, 34)
        assert os.ttyname(slave) == f"/dev/pts/{tty.number(master)}"
        saved = tty.raw(slave)
        os.write(master, b"\x03\r")
        assert os.read(slave, 10) == b"\x03\r"
        tty.restore(slave, saved)
        os.write(master, b"x\r")
        assert os.read(slave, 10) == b"x\n"
    finally:
        os.close(master)
        os.close(slave)
