"""Verbs for many containers at once: none waits for the others, and what is printed keeps the order."""

import contextlib
import os
import subprocess
import time

import pytest

from enginekit import eventually, host


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
    run(box, "hears", "trap 'echo heard' HUP; echo up; while :; do sleep 0.05; done")
    box.until_up("hears")
    box.estiva("kill", "-s", "HUP", "hears")
    assert states(box) == ["hears running"]
    eventually(lambda: box.out("logs", "hears") == "up\nheard")
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
    run(box, "resists", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    run(box, "ends", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
    box.until_up("resists", "ends")
    child = box.start("stop", "-t", "100000", "resists", "ends", stdout=subprocess.PIPE)
    box.estiva("wait", "ends", timeout=120)
    child.send_signal(2)
    child.communicate(timeout=60)
    assert sorted(states(box)) == ["ends exited", "resists running"]
    box.estiva("rm", "-f", "resists", "ends")


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_starts_go_side_by_side(box, verb):
    names = [f"many{number}" for number in range(12)]
    for name in names:
        box.estiva("create", "--name", name, "--network", "none", "box:1", "sleep", "1000")
    box.estiva("create", "--name", "broken", "--network", "none", "box:1", "/nosuch")
    done = box.estiva(
        verb,
        "-t0" if verb == "restart" else "--detach-keys=x",
        *names[:6],
        "broken",
        "nosuch",
        *names[6:],
        status=1,
    )
    assert done.stdout.split() == names
    errors = [line for line in done.stderr.splitlines() if line.startswith("estiva:")]
    assert ["/nosuch" in errors[0], "no such container: nosuch" in errors[1]] == [True, True]
    assert box.out("ps", "-q").count("\n") == 11
    box.estiva("pause", *names)
    assert box.estiva("unpause", *names).stdout.split() == names
    box.estiva("rm", "-f", "broken", *names)


def test_the_same_container_twice(box):
    box.estiva("create", "--name", "one", "--network", "none", "box:1", "sleep", "1000")
    assert box.estiva("start", "one", "one").stdout.split() == ["one", "one"]
    done = box.estiva("pause", "one", "nosuch", "one", status=1)
    assert done.stdout.split() == ["one"]
    assert "nosuch" in done.stderr and "already paused" in done.stderr
    box.estiva("rm", "-f", "one")


def test_wait_misses_none_that_ends_before_the_one_that_is_named_first(box):
    run(box, "first", "while ! test -e /v/go; do sleep 0.05; done; exit 3", "-v", "shared:/v")
    run(box, "second", "while ! test -e /v/early; do sleep 0.05; done; exit 4", "--rm", "-v", "shared:/v")
    child = box.start(
        "wait", "first", "nosuch", "second", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: watched(box, child.pid) == 2)
    box.estiva("exec", "first", "touch", "/v/early")
    eventually(lambda: states(box) == ["first running"])
    box.estiva("exec", "first", "touch", "/v/go")
    out, err = child.communicate(timeout=120)
    assert out.split() == ["3", "4"] and "no such container: nosuch" in err and child.returncode == 1
    box.estiva("rm", "-f", "first")
    box.estiva("volume", "rm", "shared")


def watched(box, pid):
    """How many locks of containers a process has open."""
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(f"/proc/{pid}/fd/{fd}").endswith("/lock")
    return found


def test_what_pause_stops_has_begun_and_what_has_not_is_refused(box):
    """None is caught on its way in: what stands still is the command, and not we who make it."""
    run(box, "still", "sleep 1000")
    caught = refused = 0
    begun = time.monotonic()
    box.estiva("exec", "still", "true")
    step = (time.monotonic() - begun) / 10  # so that the moments are all over an exec, whatever the machine
    for number in range(25):
        execs = [
            box.start(
                "exec", "still", "sleep", "0.05", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        time.sleep(step * number)
        box.estiva("pause", "still")
        programs = [os.readlink(f"/proc/{pid}/exe") for pid in inside(box)]
        # the command, or the file in memory that executes it by its name: never what is half made
        assert all(program.endswith(("/busybox", "/memfd:command (deleted)")) for program in programs), (
            programs
        )
        caught += len(programs) > 1
        assert "is paused" in box.estiva("exec", "still", "true", status=1).stderr
        box.estiva("unpause", "still")
        for child in execs:
            _, err = child.communicate(timeout=120)
            assert (child.returncode, err) == (0, "") or child.returncode in (1, 126) and "is paused" in err
            refused += child.returncode != 0
    assert caught or refused
    box.estiva("rm", "-f", "still")


def inside(box):
    """The processes in the host's only container."""
    found = set()
    for directory in box.cgroups():
        with contextlib.suppress(FileNotFoundError), open(f"{directory}/cgroup.procs") as file:
            found |= set(file.read().split())
    return found
