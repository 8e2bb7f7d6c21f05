"""`run --explain`: what is told is what happened, of starts that go well and of those that fail."""

import json
import os

import pytest

from enginekit import IMAGE, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def explained(box, *words, status=0):
    done = box.estiva("run", "--explain=json", *words, status=status)
    first = done.stderr.splitlines()[0]
    return json.loads(first), done


def steps(told, who):
    return [each["text"] for each in told["steps"] if each["kind"] == "step" and each["who"] == who]


def test_every_step_of_a_start(box):
    words = ("--rm", "-m", "64m", "--hostname", "there", "-v", "vol:/data", "--tmpfs", "/scratch")
    told, done = explained(box, *words, IMAGE, "sh", "-c", "echo hi; hostname")
    assert done.stdout == "hi\nthere\n"
    mine = steps(told, "command line")
    assert (
        mine.index("find the image")
        < mine.index("make the plan")
        < mine.index("hand the plan to the monitor")
    )
    monitor = steps(told, "monitor")
    assert monitor.index("make the cgroup with its limits") < monitor.index(
        "clone the first process, with its namespaces"
    )
    init = steps(told, "init")
    order = [
        "mount the root filesystem",
        "mount tmpfs at /scratch",
        "change the root",
        "find the command",
        "execute the command",
    ]
    assert [init.index(step) for step in order] == sorted(init.index(step) for step in order)
    calls = {(each["who"], each["text"]): each for each in told["steps"] if each["kind"] == "call"}
    cloned = calls["monitor", "clone3"]["object"].split()
    assert set(cloned) == {"mount", "pid", "network", "ipc", "uts"}
    assert calls["init", "sethostname"]["object"] == "there"
    assert calls["init", "execve"]["object"].startswith("sh -c")
    texts = [f"{each['text']} {each['object']}" for each in told["steps"]]
    assert any(text.startswith("write /sys/fs/cgroup") and text.endswith(f"<- {64 << 20}") for text in texts)
    assert any(text.startswith("fsconfig overlay upperdir") for text in texts)
    messages = [each["text"] for each in told["steps"] if each["kind"] == "message"]
    assert {"READY ->", "<- READY", "GO ->", "<- GO"} <= set(messages)
    assert [each["at"] for each in told["steps"]] == sorted(each["at"] for each in told["steps"])
    assert all(each["took"] >= 0 for each in told["steps"])


def test_words_for_people_and_a_record_that_stays(box):
    done = box.estiva("run", "--explain", "--name", "kept", "--network", "none", IMAGE, "echo", "hi")
    assert done.stdout == "hi\n"
    lines = done.stderr.splitlines()
    assert any(" init          change the root " in line for line in lines) and all(
        line.isprintable() for line in lines
    )
    container = box.out("inspect", "-f", "{{.Id}}", "kept")
    path = f"{box.folder}/root/containers/{container}/start.steps"
    assert os.stat(path).st_mode & 0o777 == 0o600 and b"pivot_root" in open(path, "rb").read()
    box.estiva("start", "kept")  # is not explained, and harms nothing
    box.estiva("wait", "kept")
    box.estiva("rm", "kept")


def test_starts_that_fail(box):
    told, done = explained(box, "--rm", "--network", "none", IMAGE, "nosuch", status=127)
    assert "executable file not found" in done.stderr.splitlines()[1]
    failed = next(
        each for each in told["steps"] if each["text"] == "find the command" and each["who"] == "init"
    )
    assert "executable file not found" in failed["result"]
    told, _ = explained(box, "--rm", "--network", "none", "-w", "/bin/sh", IMAGE, "true", status=None)
    assert next(
        each for each in told["steps"] if each["who"] == "init" and each["result"] and each["kind"] == "step"
    )
    assert box.estiva("run", "--explain=x", IMAGE, status=125).stderr.startswith("estiva: invalid --explain")
    done = box.estiva("run", "--explain", "--pull", "never", "none:1", status=125)
    assert "find the image" in done.stderr
    assert box.estiva("system", "check").stdout == "all is well\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--init",),
        ("--userns", "auto"),
        ("-p", "7099:80"),
        ("--user", "user", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        ("--security-opt", "seccomp=unconfined"),
        ("--read-only", "--pid", "host"),
    ],
)
def test_all_kinds_of_starts_work_as_they_do_without(box, words):
    told, done = explained(box, "--rm", *words, IMAGE, "echo", "hi")
    assert done.stdout == "hi\n" and "execute the command" in steps(told, "init")


def test_a_filter_that_forbids_to_write(box):
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    with open(f"{box.folder}/mute.json", "w") as file:
        json.dump(profile, file)
    told, _ = explained(box, "--rm", "--security-opt", f"seccomp={box.folder}/mute.json", IMAGE, "true")
    assert steps(told, "init")[-1] == "restore signals"  # after that nothing can be said any more
    assert any(each["text"] == "<- end of file: execve has closed the socket" for each in told["steps"])


def test_detached_and_secrets(box):
    told, done = explained(
        box, "-d", "--name", "back", "-e", "SECRET=hunter2", "--network", "none", IMAGE, "sleep", "1000"
    )
    assert "hunter2" not in done.stderr and told["container"] == box.out("inspect", "-f", "{{.Id}}", "back")
    box.estiva("rm", "-f", "back")
