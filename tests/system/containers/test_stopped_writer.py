"""A process that is stopped (Ctrl-Z) while it has the database: others are told, and nothing gets lost."""

import os
import signal
import subprocess

import pytest

from enginekit import CHECKOUT, IMAGE, eventually, host
from statekit import one_line


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


HOLD = """
import os, signal
from estiva.engine import Engine
with Engine().db.write() as transaction:
    print("in", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_command_line_that_is_stopped_in_a_transaction(box):
    box.estiva("run", "-d", "--name", "ends", "--network", "none", IMAGE, "sh", "-c", "sleep 2; exit 7")
    with subprocess.Popen(
        [*box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", HOLD],
        env={**box.env, "PYTHONPATH": str(CHECKOUT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    ) as held:
        try:
            assert held.stdout.readline() == "in\n"
            pid = held.pid
            status = f"/proc/{pid}/stat"
            eventually(lambda: open(status).read().rpartition(")")[2].split()[0] == "T")
            waiting = [box.start("tag", IMAGE, f"x:{n}", stderr=subprocess.PIPE, text=True) for n in range(3)]
            for child in waiting:
                error = child.communicate(timeout=60)[1]
                assert child.returncode == 1
                assert f"estiva.db is locked by process {pid} (" in one_line(error)
                assert f"hint: it is stopped: `kill -CONT {pid}` lets it go on" in error
            assert box.out("ps", "-a", "--format", "{{.Names}}") == "ends"  # who only reads does not wait
            box.estiva("wait", "ends", status=None)  # its monitor waits in vain, too
        finally:
            os.kill(held.pid, signal.SIGCONT)
    state = box.out("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "ends")
    assert state == "exited 7"
    box.estiva("rm", "ends")
