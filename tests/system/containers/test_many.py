"""Verbs for many containers at once: none waits for the others, and what is printed keeps the order."""

import subprocess

import pytest

from enginekit import host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def run(box, name, script, *options):
    box.estiva("run", "-d", "--name", name, "--network", "none", *options, "box:1", "sh", "-c", script)


def states(box):
    return box.out("ps", "-a", "--format", "{{.Names}} {{.State}}").split("\n")


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_signals_reach_all_before_one_is_waited_for(box, verb):
    """The first ends only when the second has got its signal."""
    wait = "trap 'while ! test -e /v/told; do sleep 0.05; done; rm /v/told; exit 3' TERM; touch /v/up.$0; "
    tell = "trap 'touch /v/told; exit 4' TERM; touch /v/up.$0; "
    for name, trap in (("waits", wait), ("tells", tell)):
        run(box, name, trap + "while :; do sleep 0.05; done", "-v", "shared:/v")
        box.estiva("exec", name, "sh", "-c", "while ! test -e /v/up.sh; do sleep 0.05; done; rm /v/up.sh")
    done = box.estiva(verb, "-t", "100000", "waits", "tells", timeout=120)
    assert done.stdout.split() == ["waits", "tells"]
    if verb == "restart":
        assert sorted(states(box)) == ["tells running", "waits running"]
    else:
        codes = box.out("inspect", "--format", "{{.State.ExitCode}}", "waits", "tells").split()
        assert codes == ["3", "4"]
    box.estiva("rm", "-f", "waits", "tells")
    box.estiva("volume", "rm", "shared")


def test_kill_returns_when_it_is_done(box):
    for number in range(8):
        run(box, "victim", "trap '' TERM; while :; do sleep 1; done")
        box.estiva("kill", "victim")
        assert states(box) == ["victim exited"], number
        assert box.out("inspect", "--format", "{{.State.ExitCode}}", "victim") == "137"
        assert box.estiva("rm", "victim").stdout == "victim\n"


def test_kill_of_a_rm_container_returns_when_it_is_gone(box):
    run(box, "victim", "sleep 1000", "--rm")
    box.estiva("kill", "victim")
    assert states(box) == [""]


def test_another_signal_is_not_waited_for(box):
    run(box, "hears", "trap 'echo heard' HUP; while :; do sleep 0.05; done")
    box.estiva("kill", "-s", "HUP", "hears")
    assert states(box) == ["hears running"]
    box.estiva("rm", "-f", "hears")


def test_errors_and_order_of_many(box):
    for name in ("one", "two", "six"):
        run(box, name, "sleep 1000")
    done = box.estiva("kill", "two", "nosuch", "one", "two", status=1)
    assert done.stdout.split() == ["two", "one"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("estiva:")]
    assert [("nosuch" in line, "not running" in line) for line in errors] == [(True, False), (False, True)]
    done = box.estiva("rm", "six", "two", "nosuch", "one", status=1)
    assert done.stdout.split() == ["two", "one"]
    assert "six is running" in done.stderr and "nosuch" in done.stderr
    done = box.estiva("rm", "-f", "six", "nosuch", "six")
    assert done.stdout.split() == ["six"] and states(box) == [""]


def test_a_stop_goes_on_for_others_when_one_is_interrupted(box):
    """Ctrl-C while one resists: the others have had their signal."""
    run(box, "resists", "trap '' TERM; while :; do sleep 0.05; done")
    run(box, "ends", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
    child = box.start("stop", "-t", "100000", "resists", "ends", stdout=subprocess.PIPE)
    box.estiva("wait", "ends", timeout=120)
    child.send_signal(2)
    child.communicate(timeout=60)
    assert sorted(states(box)) == ["ends exited", "resists running"]
    box.estiva("rm", "-f", "resists", "ends")
