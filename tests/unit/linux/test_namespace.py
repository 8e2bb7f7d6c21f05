"""clone3 without privileges."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from estiva.linux import namespace, procinfo


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
        procinfo.pidfd_send_signal(pidfd, signal.SIGTERM)
    os.close(pidfd)
    os.close(out)


def test_clone3_raises_in_the_parent() -> None:
    with pytest.raises(OSError):
        namespace.clone3(1 << 60)


THREADED = """
import os, sys, threading
from estiva.linux import namespace
from estiva.runtime.rootfs import idmap
stop = False
def busy():
    while not stop:
        bytes(100_000)  # the GIL and malloc
for _ in range(4):
    threading.Thread(target=busy, daemon=True).start()
sys.setswitchinterval(1e-5)
made = idmap.user_namespace("0 5 1", "0 6 1")
for _ in range(100):
    assert idmap.root_of(made) == (5, 6)
try:
    namespace.fork(1 << 20)
except OSError:
    print("refused")
stop = True
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="writes maps")
def test_a_fork_beside_busy_threads() -> None:
    words = [sys.executable, "-W", "ignore", "-c", THREADED]
    path = os.path.dirname(os.path.dirname(os.path.dirname(namespace.__file__)))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, env=environment)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
