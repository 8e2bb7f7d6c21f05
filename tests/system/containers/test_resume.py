"""`system resume`: after a power cut, what restart policies ask for runs again."""

import json
import os
import pathlib
import shlex
import subprocess

import pytest

from enginekit import IMAGE, eventually, host
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
    make(box, "failing-stopped", "on-failure")
    make(box, "done", "on-failure", command=("true",))
    make(box, "spent", "on-failure:1", command=("false",))
    make(box, "none", "no")
    make(box, "waiting", "unless-stopped", command=("false",))
    box.estiva("create", "--name", "never", "--restart", "always", IMAGE, "sleep", "1000")
    box.estiva("stop", "-t", "0", "stopped", "stopped-always", "failing-stopped")
    eventually(lambda: "restarting" not in box.out("inspect", "-f", "{{.State.Status}}", "spent"))
    box.estiva("kill", "killed")
    power_cut(box)
    resumed = box.out("system", "resume").split()
    assert sorted(resumed) == ["always", "deeper", "failing", "joined", "stopped-always", "waiting"]
    assert set(running(box)) >= {"always", "deeper", "failing", "joined", "stopped-always"}
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
    assert box.out("ps", "-a", "--filter", "status=created", "-q") == ""  # and the next resume tries again
    subprocess.run(["rm", f"{box.folder}/gone"], check=True)
    subprocess.run(["mkdir", f"{box.folder}/gone"], check=True)
    assert sorted(box.out("system", "resume").split()) == ["one", "three"]


@pytest.mark.parametrize("words", [("--restart", "always"), ("--restart", "unless-stopped"), ()])
def test_whose_start_was_killed_is_as_it_was_before(box, words):
    """Killed after its row said that it runs and before its command did."""
    container = box.out("run", "-d", "--name", "it", *words, IMAGE, "sleep", "1000")
    power_cut(box)
    wish = sorted(box.out("ps", "-a", "--format", "{{.Names}} {{.State}}").split())
    before = json.loads(box.out("inspect", "it"))[0]["State"]
    os.makedirs(f"{box.folder}/run/containers/{container}")
    box.db("UPDATE containers SET status = 'running'")
    assert (
        sorted(box.out("ps", "-a", "--format", "{{.Names}} {{.State}}").split()) == wish == ["exited", "it"]
    )
    after = json.loads(box.out("inspect", "it"))[0]["State"]
    assert after == {**before, "Error": "what started the container was killed"}
    assert box.out("system", "resume") == ("it" if words else "")


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
