"""What /proc and pidfds tell of processes and mounts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from estiva.linux import process, procinfo


def test_start_time_and_state() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        letter, started = procinfo.stat(child.pid)
        assert letter in "RSD" and started > 0
        assert procinfo.start_time(child.pid) == started
        assert procinfo.start_time(os.getpid()) <= started
    finally:
        child.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        procinfo.start_time(child.pid)


def test_a_name_with_brackets_does_not_confuse_start_time() -> None:
    pid = os.fork()
    if pid == 0:
        process.set_name("a) R 1 (b")
        signal.pause()
    try:
        while b"a) R 1 (b" not in open(f"/proc/{pid}/stat", "rb").read():
            pass
        assert procinfo.start_time(pid) >= procinfo.start_time(os.getpid())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_signal_goes_to_the_process_and_not_to_its_number() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    pidfd = procinfo.pidfd_open(pid)
    assert not os.get_inheritable(pidfd)
    procinfo.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        procinfo.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)


def test_no_c_library_is_loaded() -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; from estiva.linux import procinfo, signals\n"
    code += "print('_ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("told", "name"),
    [("/a", "/a"), (r"/a\040b\011\012c", "/a b\t\nc"), (r"/\134040", r"/\040"), (r"/\x", r"/\x")],
)
def test_names_are_octal_where_they_must(told: str, name: str) -> None:
    assert procinfo.unescape(told) == name


def test_a_mount_s_id_is_one_of_mountinfo() -> None:
    fd = os.open("/proc/self", os.O_PATH)
    try:
        number = str(procinfo.mount_id(fd))
    finally:
        os.close(fd)
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file if line.split()[0] == number]
    assert points == ["/proc"]
