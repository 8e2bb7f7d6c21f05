"""A detached container's monitor hibernates as a shell and misses nothing (engine/monitor/hibernate.py)."""

import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from enginekit import IMAGE, can_hibernate, eventually, host
from ocikit import gone


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def monitor(box, name):
    container = box.out("inspect", "-f", "{{.Id}}", name)
    return json.loads(pathlib.Path(box.folder, "run/containers", container, "state.json").read_text())[
        "monitor"
    ]


@pytest.fixture(autouse=True)
def gate(box):
    """A folder that the container sees at /gate and waits on: however slow the machine, it ends after that."""
    folder = pathlib.Path(box.folder, "gate")
    folder.mkdir()
    yield folder
    box.estiva("rm", "-f", "sleeper", status=None)
    shutil.rmtree(folder)


def hibernates(pid):
    return os.readlink(f"/proc/{pid}/exe").endswith("/dash")


def start(box, *words):
    box.estiva("run", "-d", "--name", "sleeper", "-v", f"{box.folder}/gate:/gate", *words)
    pid = monitor(box, "sleeper")
    if can_hibernate():
        eventually(lambda: hibernates(pid))
    return pid


def after_hibernation(script):
    return "sh", "-c", f"until [ -e /gate/open ]; do sleep 0.05; done; {script}"


def open_gate(box):
    pathlib.Path(box.folder, "gate", "open").touch()


def test_the_end_wakes_it(box):
    start(box, "--network", "none", IMAGE, *after_hibernation("exit 7"))
    open_gate(box)
    assert box.out("wait", "sleeper") == "7"
    assert box.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "sleeper") == "exited 7"
    box.estiva("rm", "sleeper")


def test_output_wakes_it_and_none_is_lost(box):
    pid = start(box, "--network", "none", IMAGE, *after_hibernation("seq 50000; echo end >&2; sleep 100"))
    open_gate(box)
    eventually(lambda: not hibernates(pid))
    eventually(lambda: box.estiva("logs", "sleeper").stderr == "end\n")
    assert box.estiva("logs", "sleeper").stdout == "".join(f"{n}\n" for n in range(1, 50001))
    box.estiva("rm", "-f", "sleeper")


def test_it_takes_little_memory(box):
    if not can_hibernate():
        pytest.skip("needs dash and Linux 6.15")
    pid = start(box, "--network", "none", IMAGE, "sleep", "100")

    def pss():
        return int(
            next(line for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:")).split()[1]
        )

    eventually(lambda: pss() < 2500)  # it may have the interpreter's pages for a moment still
    assert "sleeper" in pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    box.estiva("stop", "-t", "0", "sleeper")
    assert box.out("inspect", "-f", "{{.State.ExitCode}}", "sleeper") == "137"
    box.estiva("rm", "sleeper")


@pytest.mark.parametrize("options", [["-t"], ["-i"], ["-it"], ["--init"]])
def test_with_terminal_input_and_init(box, options):
    start(box, *options, "--network", "none", IMAGE, *after_hibernation("echo out; exit 3"))
    open_gate(box)
    assert box.out("wait", "sleeper") == "3"
    assert box.estiva("logs", "sleeper").stdout.strip() == "out"
    box.estiva("rm", "sleeper")


def test_ports_stay_published(box):
    start(box, "-p", "127.0.0.1:8095:80", IMAGE, "sh", "-c", "while :; do echo served | nc -l -p 80; done")
    ask = [*box.prefix, "busybox", "nc", "-w", "2", "127.0.0.1", "8095"]
    answer = lambda: subprocess.run(ask, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout  # noqa: E731
    eventually(lambda: "served" in answer())
    again = box.estiva("run", "--rm", "-p", "127.0.0.1:8095:80", IMAGE, "true", status=125)
    assert "8095" in again.stderr
    box.estiva("rm", "-f", "sleeper")
    box.estiva("run", "--rm", "-p", "127.0.0.1:8095:80", IMAGE, "true")


def test_rm_of_an_auto_removed_one(box):
    start(box, "--rm", "--network", "none", IMAGE, "sleep", "100")
    box.estiva("kill", "sleeper")
    eventually(lambda: box.out("ps", "-aq") == "")


def test_killed_while_it_hibernates(box):
    pid = start(box, "--network", "none", IMAGE, "sleep", "100")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid))
    assert box.out("ps", "-q") == ""
    assert box.out("inspect", "-f", "{{.State.Status}}", "sleeper") == "exited"
    box.estiva("rm", "sleeper")
