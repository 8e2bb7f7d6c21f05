"""Restart policies on the real kernel, and whoever is killed meanwhile."""

import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import tarfile
import time

import pytest

from enginekit import IMAGE, catches, eventually, host
from killkit import assert_well, kill

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made
        assert_well(made)


@pytest.fixture(autouse=True)
def clean(box):
    yield
    if names := box.out("ps", "-aq").split():
        box.estiva("rm", "-f", *names)


def state(box, name, what="State"):
    return json.loads(box.out("inspect", "-f", f"{{{{json .{what}}}}}", name))


def restarts(box, name):
    return int(state(box, name, "RestartCount"))


def run_folder(box, name):
    return pathlib.Path(box.folder, "run/containers", box.out("inspect", "-f", "{{.Id}}", name))


def waits(box, name):
    """restarting.json once the container waits to be started again."""
    run = run_folder(box, name)

    def look():
        if os.path.exists(run / "restarting.json") and not os.path.exists(run / "state.json"):
            return json.loads((run / "restarting.json").read_text())
        return None

    return eventually(look)


def waits_long(box, name):
    """The same once it waits for seconds."""
    return eventually(lambda: (found := waits(box, name))["delay"] > 1 and found)


def waits_a_minute(box, name):
    """The same once it waits for the longest time, so that whatever is done next is done meanwhile."""
    path = run_folder(box, name) / "restarting.json"

    def look():
        if (found := waits(box, name))["delay"] == 60:
            return found
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps({**found, "delay": 59}))
        aside.rename(path)
        return None

    return eventually(look)


def run(box, policy, script, *words):
    box.estiva(
        "run",
        "-d",
        "--name",
        "it",
        "--restart",
        policy,
        "--network",
        "none",
        *words,
        IMAGE,
        "sh",
        "-c",
        script,
    )


def test_always_runs_again_and_tells_how_it_ended(box):
    run(box, "always", "echo out; exit 3")
    waits_long(box, "it")
    found = eventually(lambda: (now := state(box, "it"))["Status"] == "restarting" and now)
    assert (found["Running"], found["Restarting"], found["Pid"]) == (True, True, 0)
    assert found["ExitCode"] == 3 and found["FinishedAt"] > found["StartedAt"] > "2"
    assert restarts(box, "it") >= 5
    assert box.out("ps", "--format", "{{.Status}} {{.State}}").startswith("Restarting (3) ")
    assert box.out("ps", "-q", "--filter", "status=restarting")
    assert len(box.out("logs", "it").split()) >= 5  # one log for all runs
    assert state(box, "it", "HostConfig.RestartPolicy") == {"Name": "always", "MaximumRetryCount": 0}


def test_on_failure_gives_up_after_so_many(box):
    run(box, "on-failure:2", "exit 4")
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert restarts(box, "it") == 2 and state(box, "it")["ExitCode"] == 4
    box.estiva("start", "it")  # somebody asks: it begins anew
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert restarts(box, "it") == 2


@pytest.mark.parametrize(("policy", "script"), [("on-failure", "exit 0"), ("no", "exit 1")])
def test_a_policy_that_asks_for_nothing(box, policy, script):
    run(box, policy, script)
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert restarts(box, "it") == 0


@pytest.mark.parametrize(
    ("policy", "verb"),
    [
        *(
            ("always", words.split())
            for words in ("stop", "stop -t 0", "kill", "kill -s TERM", "kill -s USR1")
        ),
        *(("unless-stopped", words.split()) for words in ("stop", "kill", "kill -s USR1")),
        *(("on-failure", words.split()) for words in ("stop", "kill", "kill -s USR1")),
    ],
)
def test_who_stops_it_means_it(box, policy, verb):
    run(box, policy, "trap 'exit 1' TERM USR1; touch /set; while :; do sleep 0.05; done")
    box.estiva("exec", "it", "sh", "-c", "until test -e /set; do usleep 10000; done")
    box.estiva(*verb, "it")
    if verb[-1] == "USR1":  # says nothing about the container's end
        eventually(lambda: restarts(box, "it") >= 1)
        return
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert restarts(box, "it") == 0
    box.estiva("start", "it")

    def asks_for_its_end():  # again, if it has not set its trap yet
        box.estiva("exec", "it", "kill", "-USR1", "1", status=None)
        return restarts(box, "it") >= 1

    eventually(asks_for_its_end)


@pytest.mark.parametrize("verb", [["stop"], ["kill"], ["kill", "-s", "TERM"], ["rm", "-f"]])
def test_what_waits_is_ended_at_once(box, verb):
    run(box, "always", "exit 5")
    waiter = waits_a_minute(box, "it")["pid"]
    box.estiva(*verb, "it")
    eventually(lambda: not os.path.exists(f"/proc/{waiter}"))
    if verb[0] == "rm":
        assert not box.out("ps", "-aq")
    else:
        found = state(box, "it")
        assert (found["Status"], found["ExitCode"], found["Error"]) == ("exited", 5, "")


def test_verbs_on_one_that_waits(box):
    run(box, "always", "exit 5")
    waits_a_minute(box, "it")
    for words in (
        ["pause", "it"],
        ["exec", "it", "true"],
        ["top", "it"],
        ["attach", "it"],
        ["kill", "-s", "HUP", "it"],
    ):
        told = box.estiva(*words, status=None)
        assert told.returncode and "is restarting, wait until the container is running" in told.stderr, words
    assert "is restarting" in box.estiva("rm", "it", status=1).stderr
    box.estiva("start", "it")  # it does run, as Docker has it
    box.estiva("rename", "it", "that")
    box.estiva("restart", "that")
    assert restarts(box, "that") <= 2
    box.estiva("rename", "that", "it")


def test_files_and_networks_of_one_that_waits(box, tmp_path):
    """As with Docker: it is as good as stopped."""
    (tmp_path / "new").write_text("new")
    box.estiva("network", "create", "n")
    box.estiva("run", "-d", "--name", "it", "--restart", "always", IMAGE, "sh", "-c", "ls /new; exit 5")
    waits_a_minute(box, "it")
    box.estiva("cp", f"{tmp_path}/new", "it:/new")
    assert box.out("cp", "-q", "it:/new", f"{tmp_path}/back") == ""
    assert (tmp_path / "back").read_text() == "new"
    box.estiva("commit", "it", "kept:1")
    assert box.out("run", "--rm", "--network", "none", "kept:1", "cat", "/new") == "new"
    box.estiva("rmi", "kept:1")
    assert box.out("diff", "it") == "A /new"  # and no mount points
    assert b"root/" in box.estiva("export", "it", text=False).stdout
    box.estiva("network", "connect", "n", "it")
    assert "already" in box.estiva("network", "connect", "n", "it", status=1).stderr
    assert set(state(box, "it", "NetworkSettings.Networks")) == {"bridge", "n"}
    box.estiva("network", "disconnect", "bridge", "it")
    assert set(state(box, "it", "NetworkSettings.Networks")) == {"n"}
    assert waits(box, "it")["delay"] >= 59
    box.estiva("network", "disconnect", "n", "it")
    box.estiva("network", "rm", "n")


def test_the_next_run_waits_for_who_reads_its_files(box):
    run(box, "always", "cat /new && sleep 300; exit 5")
    waits_long(box, "it")
    copy = box.start("cp", "-", "it:/", stdin=subprocess.PIPE)
    folder = box.folder + "/root/containers/" + box.out("inspect", "-f", "{{.Id}}", "it")
    eventually(lambda: any(os.path.samestat(os.stat(folder), there) for there in opened(copy.pid)))
    before = restarts(box, "it")
    time.sleep(2 * waits(box, "it")["delay"])
    assert restarts(box, "it") == before and state(box, "it")["Restarting"]
    with tarfile.open(fileobj=copy.stdin, mode="w|") as tar:
        member = tarfile.TarInfo("new")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"new\n"))
    copy.stdin.close()
    assert copy.wait(60) == 0
    eventually(lambda: state(box, "it")["Status"] == "running", 20)
    eventually(lambda: box.out("logs", "it") == "new")


def opened(pid):
    """What is open in a process."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(os.stat(f"/proc/{pid}/fd/{fd}"))
    return found


def test_wait_is_for_the_next_end(box):
    run(box, "always", "sleep 0.5; exit 6")
    assert box.out("wait", "it") == "6"
    assert state(box, "it")["Running"]


def test_the_caller_hears_of_the_first_end_only(box):
    done = box.estiva(
        "run", "--name", "it", "--restart", "always", IMAGE, "sh", "-c", "echo hi; exit 7", status=7
    )
    assert done.stdout == "hi\n"
    eventually(lambda: restarts(box, "it") >= 2)


def test_update_takes_effect_on_the_run_that_is_on(box):
    run(box, "no", "until rm /go 2>/dev/null; do usleep 10000; done; exit 1")
    box.estiva("update", "--restart", "on-failure:2", "it")
    box.estiva("exec", "it", "touch", "/go")
    eventually(lambda: restarts(box, "it") == 1)
    box.estiva("update", "--restart", "no", "it")
    eventually(lambda: box.estiva("exec", "it", "touch", "/go", status=None).returncode == 0)
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert restarts(box, "it") == 1
    box.estiva("run", "-d", "--rm", "--name", "gone", IMAGE, "sleep", "100")
    told = box.estiva("update", "--restart", "always", "gone", status=1)
    assert "restart policy cannot be updated because AutoRemove is enabled" in told.stderr


def test_update_of_one_that_waits_is_for_the_next_run(box):
    """As with Docker: it does not wait for that run, which comes though the policy asks for no other."""
    run(box, "always", f"cat /sys/fs/cgroup/{'pids.max' if V2 else 'pids/pids.max'}; exit 5")
    waiter = waits_a_minute(box, "it")["pid"]
    before = restarts(box, "it")
    box.estiva("update", "--pids-limit", "33", "it")
    box.estiva("update", "--restart", "no", "it")
    assert state(box, "it")["Restarting"] and restarts(box, "it") == before
    assert state(box, "it", "HostConfig.RestartPolicy")["Name"] == "no"
    eventually(lambda: catches(waiter, signal.SIGALRM))
    os.kill(waiter, signal.SIGALRM)  # its minute is over
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert box.out("logs", "it").splitlines()[-1] == "33"
    assert restarts(box, "it") == before


def test_ports_and_addresses_are_taken_anew(box):
    box.estiva("run", "-d", "--name", "it", "--restart", "always", "-p", "18080:80", IMAGE,
               "sh", "-c", "sleep 0.3; exit 1")  # fmt: skip
    eventually(lambda: restarts(box, "it") >= 2)
    eventually(lambda: box.out("port", "it") == "80/tcp -> 0.0.0.0:18080")
    waits_a_minute(box, "it")
    assert not box.db("SELECT 1 FROM leases") and not box.veths()
    assert os.listdir(f"{box.folder}/run/names") == []


def test_the_first_start_that_fails_is_the_last(box):
    box.estiva("run", "-d", "--name", "it", "--restart", "always", IMAGE, "/nosuch", status=127)
    found = state(box, "it")
    assert found["Status"] == "created" and "nosuch" in found["Error"] and not restarts(box, "it")


def test_a_later_start_that_fails_is_told(box):
    run(box, "always", "rm /bin/sh; exit 9")
    eventually(lambda: state(box, "it")["Status"] == "exited")
    found = state(box, "it")
    assert found["Error"] and found["ExitCode"] == 127 and restarts(box, "it") == 1


def test_one_that_can_not_be_made_ready_is_told(box):
    box.estiva("tag", IMAGE, "other:1")
    run(box, "always", "exit 9", "-v", f"{box.folder}/place:/place")
    waits_long(box, "it")
    os.rmdir(f"{box.folder}/place")
    pathlib.Path(box.folder, "place").symlink_to("/nosuch/place")
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert state(box, "it")["Error"] and not box.cgroups()
    os.unlink(f"{box.folder}/place")


def test_the_waiter_is_killed(box):
    run(box, "always", "exit 5")
    kill(waits_a_minute(box, "it")["pid"])
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert state(box, "it")["ExitCode"] == 5
    assert box.out("system", "resume") == "it"
    assert restarts(box, "it") <= 2


def test_the_monitor_is_killed(box):
    run(box, "always", "sleep 1000")
    kill(json.loads((run_folder(box, "it") / "state.json").read_text())["monitor"])
    eventually(lambda: state(box, "it")["Status"] == "exited")
    assert box.out("system", "resume") == "it" and state(box, "it")["Running"]


def test_kills_at_any_moment_of_a_restart(box):
    """Whoever has the container's lock is killed: the monitor, the shell, the program that starts it, the next."""
    for turn in range(15):
        run(box, "always", "exit 5")
        run_path = run_folder(box, "it")
        time.sleep(turn * 0.021)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                fds = os.listdir(f"/proc/{pid}/fd")
                if any(os.readlink(f"/proc/{pid}/fd/{fd}") == f"{run_path}/lock" for fd in fds):
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue
        found = state(box, "it")
        assert found["Status"] in ("exited", "restarting", "running", "created"), found
        if turn % 5 == 0:
            assert_well(box)
        box.estiva("rm", "-f", "it")
        assert not os.path.exists(run_path)


def test_a_crowd_that_ends_at_once_leaves_the_machine_to_others(box):
    names = [f"crowd{number}" for number in range(12)]
    for name in names:
        box.estiva("create", "--name", name, "--restart", "always", "--network", "none", IMAGE, "false")
    box.estiva("start", *names)
    count = ("inspect", "-f", "{{.RestartCount}}", *names)
    eventually(lambda: min(map(int, box.out(*count).split())) >= 3)
    assert box.out("run", "--rm", IMAGE, "echo", "hi") == "hi"
    box.estiva("stop", *names)
    assert not box.out("ps", "-q")
