"""What a process may know and change of itself and others, without privileges."""

from __future__ import annotations

import os

from estiva.linux import process


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


def test_the_kernel_s_last_capability_is_found() -> None:
    with open("/proc/sys/kernel/cap_last_cap") as file:
        assert process.known_capabilities() == int(file.read()) + 1
    assert process.bounding_read(process.known_capabilities()) == -1


def test_capset_round_trip() -> None:
    effective, permitted, inheritable = process.capget()
    process.capset(effective, permitted, inheritable)
    assert process.capget() == (effective, permitted, inheritable)
