"""`system resume`: after a power cut, what restart policies ask for runs again."""

import json
import pathlib
import shlex
import subprocess

import pytest

from enginekit import IMAGE, host
from killkit import assert_well, kill, monitors


@pytest.fixture
def box():
    with host() as made:
        yield made


def make(box, name, policy, *words, command=("sleep", "1000")):
    box.estiva("run", "-d", "--name", name, "--restart", policy, *words, IMAGE, *command)


def power_cut(box):
    """Those who would start them again go first."""
    kill(*monitors(box))
    for path in pathlib.Path(box.folder, "run/containers").glob("*/restarting.json"):
        kill(json.loads(path.read_text())["pid"])
    box.power_cut()


def running(box):
    return sorted(box.out("ps", "--format", "{{.Names}}").split())


def test_after_a_power_cut(box):
    make(box, "always", "always")
    make(box, "joined", "unless-stopped", "--network", "container:always")
    make(box, "deeper", "unless-stopped", "--pid", "container:joined", "--network", "none")
    make(box, "stopped", "unless-stopped")
    make(box, "stopped-always", "always")
    make(box, "killed", "unless-stopped")
    make(box, "failing", "on-failure")
    make(box, "none", "no")
    make(box, "waiting", "unless-stopped", command=("false",))
    box.estiva("create", "--name", "never", "--restart", "always", IMAGE, "sleep", "1000")
    box.estiva("stop", "-t", "0", "stopped", "stopped-always")
    box.estiva("kill", "killed")
    power_cut(box)
    resumed = box.out("system", "resume").split()
    assert sorted(resumed) == ["always", "deeper", "joined", "stopped-always", "waiting"]
    assert set(running(box)) >= {"always", "deeper", "joined", "stopped-always"}
    assert box.out("inspect", "-f", "{{.RestartCount}}", "always") == "0"
    assert box.out("system", "resume") == ""  # all is as it is asked for
    for name in box.out("ps", "-aq").split():
        box.estiva("rm", "-f", name)
    assert_well(box)


def test_one_that_can_not_be_started_is_told_and_the_others_run(box):
    make(box, "one", "always", "-v", f"{box.folder}/gone:/gone")
    make(box, "two", "always")
    make(box, "three", "always", "--network", "container:one")
    power_cut(box)
    subprocess.run(["rmdir", f"{box.folder}/gone"], check=True)
    subprocess.run(["ln", "-s", "/nosuch/at/all", f"{box.folder}/gone"], check=True)
    done = box.estiva("system", "resume", status=1)
    assert done.stdout.split() == ["two"]
    assert "one: " in done.stderr and "three: " in done.stderr and "Traceback" not in done.stderr
    assert running(box) == ["two"]


def test_a_stop_after_a_restart_counts_and_a_start_takes_it_back(box):
    make(box, "it", "unless-stopped")
    box.estiva("stop", "-t", "0", "it")
    power_cut(box)
    assert box.out("system", "resume") == ""
    box.estiva("start", "it")
    power_cut(box)
    assert box.out("system", "resume") == "it"
    record = json.loads(box.db("SELECT record FROM containers")[0][0])
    assert "Stopped" not in record["State"]
    assert "Stopped" not in box.out("inspect", "it") and "Began" not in box.out("inspect", "it")


def test_the_unit_calls_this_program_for_these_roots(box):
    text = box.out("system", "resume", "--unit")
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    done = subprocess.run(
        [*box.prefix, *shlex.split(line.removeprefix("ExecStart="))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{box.folder}/root" in line and f"{box.folder}/run" in line
    for wanted in ("Type=oneshot", "KillMode=process", "RemainAfterExit=yes", "WantedBy=multi-user.target"):
        assert wanted in text.splitlines()
