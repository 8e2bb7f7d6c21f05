"""Health checks on the real kernel: what they say, what they may not do, and who is killed meanwhile."""

import json
import os
import pathlib
import signal
import time

import pytest

from enginekit import IMAGE, can_hibernate, eventually, host
from estiva.engine.monitor.life.health import duration
from estiva.linux import procinfo
from killkit import assert_well, kill


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made
        assert_well(made)


@pytest.fixture(scope="module")
def limit(box):
    """A --health-timeout that no check fails for the time that it needs to begin, whatever the machine."""
    box.estiva("run", "-d", "--name", "measure", "--network", "none", IMAGE, "sleep", "1000")
    begun = time.monotonic()
    box.estiva("exec", "measure", "true")
    return duration(max(0.3, round((time.monotonic() - begun) * 5, 1)))


@pytest.fixture(autouse=True)
def clean(box):
    yield
    if names := box.out("ps", "-aq").split():
        box.estiva("rm", "-f", *names)


def run(box, test, *words, image=IMAGE, every="200ms"):
    box.estiva("run", "-d", "--name", "it", "--network", "none", "--health-cmd", test, "--health-interval", every,
               *words, image, "sleep", "1000")  # fmt: skip


def health(box, name="it"):
    return json.loads(box.out("inspect", "-f", "{{json .State.Health}}", name))


def becomes(box, status, name="it"):
    return eventually(lambda: (found := health(box, name))["Status"] == status and found)


def results(box, count=1):
    return eventually(lambda: len(found := health(box)["Log"]) >= count and found)


def live(box, name="it"):
    folder = pathlib.Path(box.folder, "run/containers", box.out("inspect", "-f", "{{.Id}}", name))
    return json.loads((folder / "state.json").read_text())


def processes(box):
    """The commands of the container's processes."""
    return [line.split()[-1] for line in box.out("top", "it", "-eo", "pid,args").splitlines()[1:]]


def test_it_becomes_healthy_and_unhealthy(box):
    run(box, "echo said; echo more >&2; test -e /well", "--health-retries", "2")
    found = becomes(box, "unhealthy")
    assert found["FailingStreak"] >= 2
    result = found["Log"][0]
    assert result["ExitCode"] == 1 and result["End"] > result["Start"] > "20"
    assert sorted(result["Output"].split()) == ["more", "said"]
    assert box.out("ps", "--format", "{{.Status}}").endswith(" (unhealthy)")
    box.estiva("exec", "it", "touch", "/well")
    found = becomes(box, "healthy")
    assert found["FailingStreak"] == 0
    assert box.out("ps", "--format", "{{.Status}}").endswith(" (healthy)")
    results(box, 5)
    assert len(health(box)["Log"]) == 5
    assert box.out("ps", "-q", "--filter", "health=healthy")
    assert not box.out("ps", "-q", "--filter", "health=unhealthy")
    box.estiva("stop", "-t", "0", "it")
    assert health(box) == {"Status": "unhealthy", "FailingStreak": 0, "Log": []}
    assert not box.db("SELECT 1 FROM containers WHERE record LIKE '%FailingStreak%'")


def test_its_execs_are_events_as_any(box):
    run(box, '["sh", "-c", "exit 3"]', every="100ms")
    results(box, 2)
    box.estiva("healthcheck", "run", "it", status=1)
    box.estiva("stop", "-t", "0", "it")
    events = [
        json.loads(line)
        for line in box.out("events", "--since", "1h", "--until", "0s", "--format", "json").splitlines()
    ]
    execs = [event for event in events if event["Type"] == "container" and "exec_" in event["Action"]]
    by_exec = {}
    for event in execs:
        by_exec.setdefault(event["Actor"]["Attributes"]["execID"], []).append(event["Action"])
    whole = ["exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die"]
    assert [actions for actions in by_exec.values() if actions == whole][2:], by_exec
    ours = [
        event["Actor"]["Attributes"]
        for event in execs
        if whole[0] in by_exec[event["Actor"]["Attributes"]["execID"]]
    ]
    assert {about["exitCode"] for about in ours if "exitCode" in about} <= {"3", "137"}
    assert {about["name"] for about in ours} == {"it"}


def test_failures_in_the_start_period_do_not_count(box):
    run(box, "test -e /well", "--health-retries", "1", "--health-start-period", "1h", "--health-start-interval", "100ms",
        every="1h")  # fmt: skip
    results(box, 3)
    assert health(box)["Status"] == "starting" and health(box)["FailingStreak"] == 0
    assert box.out("ps", "--format", "{{.Status}}").endswith(" (health: starting)")
    box.estiva("exec", "it", "touch", "/well")
    becomes(box, "healthy")


def test_one_that_never_ends_is_killed_with_all_its_children(box, limit):
    sleeps = "echo begun; sleep 777 & sleep 778 & sleep 779"
    run(box, sleeps, "--health-timeout", limit, "--health-retries", "1")
    result = becomes(box, "unhealthy")["Log"][0]
    assert result["ExitCode"] == -1
    assert result["Output"] == f"Health check exceeded timeout ({limit}): begun\n"
    box.estiva("update", "-m", "1g", "it")
    results(box, 3)
    eventually(lambda: processes(box).count("778") <= 1)


def test_one_that_leaves_a_flood_behind_ends_with_its_time(box, limit):
    """Its own process has ended, and what it has started writes on. (Where it gets no processor for 100 ms, it counts
    as quiet; and the end of a killed one may take longer than the interval.)"""
    run(box, "yes & yes >&2 & exit 0", "--health-timeout", limit, "--health-retries", "1")
    becomes(box, "unhealthy")
    late = [result for result in results(box, 4) if result["ExitCode"] != 0]
    assert late and {result["ExitCode"] for result in late} == {-1}
    assert any(each["Output"].startswith(f"Health check exceeded timeout ({limit}): y\n") for each in late)
    eventually(lambda: len(processes(box)) <= 4)


def test_a_check_during_which_it_was_paused_says_nothing_by_being_late(box, limit):
    run(
        box,
        "echo >>/begun; sleep 100",
        "--health-timeout",
        limit,
        "--health-on-failure",
        "kill",
        "--health-retries",
        "1",
    )
    box.estiva("exec", "it", "sh", "-c", "until test -e /begun; do usleep 10000; done")
    box.estiva("pause", "it")
    box.estiva("unpause", "it")
    box.estiva("wait", "it")
    assert box.out("cp", "it:/begun", "-").count("\n") == 2


def test_one_that_can_not_be_run_is_told(box):
    box.image("nosuch:1", ['HEALTHCHECK --interval=200ms --retries=1 CMD ["/nosuch"]'])
    box.estiva("run", "-d", "--name", "it", "nosuch:1", "sleep", "1000")
    result = becomes(box, "unhealthy")["Log"][0]
    assert result["ExitCode"] == -1 and "/nosuch" in result["Output"]


def test_output_is_bounded(box):
    run(box, "yes | head -c 10000000; printf '\\377'; exit 3")
    result = results(box)[0]
    assert result["ExitCode"] == 3 and result["Output"] == "y\n" * 2048 + "..."


def test_the_check_of_an_image_and_what_is_said_beside_it(box):
    box.image(
        "checked:1", ["HEALTHCHECK --interval=1h --retries=7 CMD echo $0 $WHO", "ENV WHO=me", "USER user"]
    )
    box.estiva("run", "-d", "--name", "it", "--health-interval", "200ms", "checked:1", "sleep", "1000")
    assert results(box)[0]["Output"] == "/bin/sh me\n"
    kept = json.loads(box.out("inspect", "-f", "{{json .Config.Healthcheck}}", "it"))
    assert kept == {"Test": ["CMD-SHELL", "echo $0 $WHO"], "Interval": 200_000_000, "Retries": 7}
    for words in (["--no-healthcheck"], ["--health-cmd", "none"]):
        box.estiva("run", "-d", "--name", "none", *words, "checked:1", "sleep", "1000")
        assert box.out("inspect", "-f", "{{json .State.Health}}", "none") in ("null", "<no value>")
        assert "(" not in box.out("ps", "--filter", "name=none", "--format", "{{.Status}}")
        assert box.out("ps", "-q", "--filter", "health=none")
        box.estiva("rm", "-f", "none")


def test_an_action_without_a_check_is_refused(box):
    words = ["--health-on-failure", "kill", IMAGE, "true"]
    told = box.estiva("create", *words, status=125).stderr
    assert "cannot set on-failure action to kill without a health check" in told
    box.image("checked:1", ['HEALTHCHECK CMD ["true"]'])
    box.estiva("create", "--health-on-failure", "kill", "checked:1", "true")
    box.estiva("create", "--health-on-failure", "none", IMAGE, "true")


def test_a_paused_container_is_not_checked(box, limit):
    run(box, "date +%s.%N; exit 1", "--health-timeout", limit)
    results(box)
    box.estiva("pause", "it")
    before = eventually(
        lambda: (
            (first := health(box)["Log"]) == (box.estiva("inspect", "it") and health(box)["Log"]) and first
        )
    )
    assert box.estiva("healthcheck", "run", "it", status=125).stderr
    assert health(box)["Log"] == before
    box.estiva("unpause", "it")
    eventually(lambda: health(box)["Log"] != before)
    assert not any("timeout" in result["Output"] for result in health(box)["Log"])


@pytest.mark.parametrize("action", ["kill", "restart", "stop"])
def test_on_failure(box, action):
    run(box, "test -e /well", "--health-retries", "2", "--health-on-failure", action, "--stop-timeout", "0",
        "--restart", "no" if action == "restart" else "always")  # fmt: skip
    if action == "stop":
        eventually(lambda: box.out("inspect", "-f", "{{.State.Status}}", "it") == "exited")
        assert box.out("inspect", "-f", "{{.RestartCount}}", "it") == "0"
    else:
        eventually(lambda: int(box.out("inspect", "-f", "{{.RestartCount}}", "it")) >= 1)
        eventually(lambda: box.estiva("exec", "it", "touch", "/well", status=None).returncode == 0)
        becomes(box, "healthy")


def test_a_monitor_that_hibernates_wakes_up_for_it_and_sleeps_again(box):
    if not can_hibernate():
        pytest.skip("monitors do not hibernate here")
    run(box, "true", every="4s")
    pid = live(box)["monitor"]

    def asleep():
        return os.readlink(f"/proc/{pid}/exe").endswith("/dash")

    eventually(asleep)
    assert health(box)["Log"] == []
    results(box, 1)
    eventually(asleep)
    assert len(results(box, 2)) == 2
    eventually(asleep)
    box.estiva("exec", "it", "sh", "-c", "echo out > /proc/1/fd/1")  # wakes it up for something else
    eventually(lambda: box.out("logs", "it") == "out")
    results(box, 3)
    box.estiva("stop", "-t", "0", "it")


def test_what_a_container_gets_when_its_monitor_had_slept(box):
    """No signal is ignored in it because the monitor ignored it."""
    run(box, '["grep", "SigIgn", "/proc/self/status"]', every="4s")
    assert results(box)[0]["Output"].split()[1] == "0" * 16


def test_run_by_hand(box):
    run(box, "echo here; test -e /well", "--health-retries", "2", every="1h")
    done = box.estiva("healthcheck", "run", "it", status=1)
    assert done.stdout == "starting\n" and health(box)["FailingStreak"] == 1
    assert box.estiva("healthcheck", "run", "it", status=1).stdout == "unhealthy\n"
    box.estiva("exec", "it", "touch", "/well")
    assert box.estiva("healthcheck", "run", "it").stdout == ""
    assert health(box)["Status"] == "healthy" and health(box)["Log"][-1]["Output"] == "here\n"
    box.estiva("stop", "-t", "0", "it")
    assert "is not running" in box.estiva("healthcheck", "run", "it", status=125).stderr
    box.estiva("create", "--name", "without", IMAGE, "true")
    assert "has no defined healthcheck" in box.estiva("healthcheck", "run", "without", status=125).stderr


def test_the_end_of_a_container_ends_its_check(box):
    run(box, "sleep 779", "--health-timeout", "1h")
    eventually(lambda: "779" in processes(box))
    box.estiva("rm", "-f", "it")
    assert not box.cgroups()
    run(box, "sleep 779", "--health-timeout", "1h")
    eventually(lambda: "779" in processes(box))
    box.estiva("system", "prune", "-f")
    assert box.out("ps", "-q")
    box.estiva("stop", "-t", "0", "it")
    eventually(lambda: not box.cgroups())


def test_the_monitor_is_killed_during_a_check(box):
    run(box, "sleep 779", "--health-timeout", "1h")
    eventually(lambda: "779" in processes(box))
    kill(live(box)["monitor"])
    eventually(lambda: box.out("inspect", "-f", "{{.State.Status}}", "it") == "exited")
    eventually(lambda: not box.cgroups())


def test_a_checker_that_is_killed_is_a_failure(box):
    run(box, "sleep 779", "--health-timeout", "1h")
    eventually(lambda: "779" in processes(box))
    monitor = live(box)["monitor"]
    children = pathlib.Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
    for pid in children:
        if int(pid) != live(box)["pid"]:
            os.kill(int(pid), signal.SIGKILL)
    assert results(box)[0]["ExitCode"] == -1


def test_wait_for_conditions(box):
    run(box, "test -e /well", "--health-retries", "1")
    assert box.out("wait", "--condition", "unhealthy", "it") == "-1"
    child = box.start("wait", "--condition", "healthy", "it")
    box.estiva("exec", "it", "touch", "/well")
    assert child.wait(60) == 0
    assert box.out("wait", "--condition", "running", "--interval", "5ms", "it") == "-1"
    child = box.start("wait", "--condition", "next-exit", "it")
    removed = box.start("wait", "--condition", "removed", "it")
    both = box.start("wait", "--condition", "paused", "--condition", "exited", "it")
    healthy = box.start("wait", "--condition", "unhealthy", "it")
    eventually(lambda: all(len(os.listdir(f"/proc/{c.pid}/fd")) for c in (child, removed, both, healthy)))
    import time

    time.sleep(1)
    box.estiva("stop", "-t", "0", "it")
    assert child.wait(60) == 0 and both.wait(60) == 0 and healthy.wait(60) == 1 and removed.poll() is None
    box.estiva("rm", "it")
    assert removed.wait(60) == 0
    assert "invalid condition: odd" in box.estiva("wait", "--condition", "odd", "it", status=1).stderr
    assert box.out("wait", "--ignore", "it") == "-1"
    box.estiva("run", "-d", "--name", "it", IMAGE, "true")
    assert "has no health check" in box.estiva("wait", "--condition", "healthy", "it", status=1).stderr


def test_a_check_that_its_containers_end_kills_says_nothing(box):
    """The kernel ends all else in its pid namespace before init's own end can be seen. Here it waits there for a
    process from outside, whose parent stands still."""
    run(box, "exec sleep 3000", "--health-timeout", "600s", "--health-retries", "1")
    child = box.start("exec", "it", "sleep", "2000")
    eventually(lambda: sorted(processes(box)) == ["1000", "2000", "3000"])
    found = live(box)
    pids = [int(line.split()[0]) for line in box.out("top", "it", "-eo", "pid,args").splitlines()[1:]]
    parents = {pid: procinfo.parent(pid) for pid in pids}
    commands = {pid: pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1] for pid in pids}
    [inside] = [pid for pid in pids if commands[pid] == "2000"]
    [checked] = [pid for pid in pids if commands[pid] == "3000"]
    os.kill(parents[inside], signal.SIGSTOP)
    try:
        os.kill(found["pid"], signal.SIGKILL)
        eventually(lambda: not os.path.exists(f"/proc/{parents[checked]}"))  # the monitor has heard of it
        assert procinfo.ending(found["pid"], found["start_time"]) and os.path.exists(f"/proc/{found['pid']}")
        assert health(box) == {"Status": "starting", "FailingStreak": 0, "Log": []}
    finally:
        os.kill(parents[inside], signal.SIGCONT)
    assert box.out("wait", "it") == "137" and child.wait(60) == 137
    assert health(box)["Log"] == []
    assert "unhealthy" not in box.out(
        "events", "--since", "10m", "--until", "0s", "--filter", f"container={found['id']}"
    )
