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


def stopped_starter(box, name):
    """The command line of a `run` that stops itself once it has the row that says running, before its monitor
    hears what of; its pid."""
    code = (
        "import os, signal, sys\n"
        "from estiva.engine.launch import launch\n"
        "def stop(*args):\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    return first(*args)\n"
        "first, launch.launch = launch.launch, stop\n"
        "sys.argv[1:] = ['run', '-d', '--name', %r, '--network', 'none', %r, 'sleep', '1000']\n"
        "from estiva.cli.main import main\n"
        "main() # estiva/boot/\n"
    )
    starter = subprocess.Popen(
        [*box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", code % (name, IMAGE)],
        env={**box.env, "PYTHONPATH": str(CHECKOUT / "src")},
    )
    box.children.append(starter)
    eventually(lambda: open(f"/proc/{starter.pid}/stat").read().rpartition(")")[2].split()[0] == "T")
    return starter


def test_a_starter_that_is_stopped(box):
    starter = stopped_starter(box, "half")
    try:
        told = f"is being started by process {starter.pid}, which is stopped"
        for words in (("stop", "half"), ("kill", "half"), ("pause", "half")):
            failed = box.estiva(*words, status=None, timeout=60)
            assert failed.returncode and told in one_line(failed.stderr)
            assert f"`kill -CONT {starter.pid}` lets it go on, `estiva rm -f " in failed.stderr
        assert "half" in box.out("ps", "--format", "{{.Names}}")
        assert told in box.estiva("system", "check", status=1).stdout
        box.estiva("rm", "-f", "half", timeout=60)
        assert starter.wait() == -signal.SIGKILL
    finally:
        starter.kill()
    assert box.out("ps", "-aq") == ""
    assert "all is well" in box.out("system", "check")


def test_a_starter_that_is_stopped_and_goes_on(box):
    starter = stopped_starter(box, "late")
    failed = box.estiva("stop", "late", status=1)
    os.kill(starter.pid, signal.SIGCONT)
    assert starter.wait() == 0 and "is stopped" in failed.stderr
    assert box.out("exec", "late", "echo", "well") == "well"
    box.estiva("rm", "-f", "late")
