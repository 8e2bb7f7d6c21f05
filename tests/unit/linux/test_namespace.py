"""clone3 without privileges."""

from __future__ import annotations

import os
import signal
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
