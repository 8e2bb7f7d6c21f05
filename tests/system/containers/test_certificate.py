"""How a run ended and why: State.Exit of `inspect`, {{.Exit}} of `ps`, the event `die`, of the real kernel."""

import contextlib
import json
import os
import pathlib
import signal
import time

import pytest

from enginekit import IMAGE, can_hibernate, eventually, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
MEMORY = pathlib.Path("/sys/fs/cgroup/memory")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@contextlib.contextmanager
def container(box, name, *words):
    box.estiva("run", "-d", "--name", name, "--network", "none", *words)
    try:
        yield
    finally:
        box.estiva("rm", "-f", name)


def ended(box, name):
    """State.Exit, when it has ended; what ps and the event say is alike."""
    eventually(lambda: not json.loads(box.estiva("inspect", name).stdout)[0]["State"]["Running"])
    state = json.loads(box.estiva("inspect", name).stdout)[0]["State"]
    end = state["Exit"]
    assert end["Status"] == state["ExitCode"] and end["Alive"] >= 0 and end["PeakMemory"] > 0
    listed = box.estiva("ps", "-a", "--filter", f"name=^{name}$", "--format", "{{.Exit}}").stdout
    event = box.estiva("events", "--since", "0", "--until", "0s", "--filter", "event=die", "--filter",
                       f"container={name}", "--format", "{{.Actor.Attributes.meaning}}").stdout  # fmt: skip
    assert listed.strip() == event.splitlines()[-1] == end["Meaning"]
    return end


def test_by_itself(box):
    with container(box, "own", IMAGE, "sh", "-c", "exit 3"):
        end = ended(box, "own")
    assert end["Meaning"] == "ended by itself with status 3" and not {"Signal", "Sender", "OOM"} & set(end)


@pytest.mark.parametrize("verb", ["stop", "kill", "restart"])
def test_by_a_verb_of_ours(box, verb):
    command = ("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
    with container(box, "asked", IMAGE, *command):
        words = {"stop": ("-t", "60"), "kill": ("-s", "KILL"), "restart": ("-t", "60")}[verb]
        eventually(lambda: "sleep" in box.estiva("top", "asked").stdout)  # the trap is set
        box.estiva(verb, *words, "asked")
        if verb == "restart":
            state = json.loads(box.estiva("inspect", "asked").stdout)[0]["State"]
            assert state["Running"] and state["Exit"]["Sender"] == {"By": "restart", "Signal": "SIGTERM"}
            return
        end = ended(box, "asked")
    if verb == "stop":
        assert end["Meaning"] == "ended with status 7 after SIGTERM from estiva stop"
    else:
        assert end["Signal"] == "SIGKILL" and end["Meaning"] == "SIGKILL from estiva kill"


def test_killed_after_the_timeout_of_stop_and_what_a_later_run_does_is_its_own(box):
    with container(box, "deaf", IMAGE, "sleep", "1000"):
        box.estiva("stop", "-t", "0", "deaf")
        assert ended(box, "deaf")["Sender"] == {"By": "stop", "Signal": "SIGKILL"}
        box.estiva("start", "deaf")
        os.kill(int(box.out("inspect", "-f", "{{.State.Pid}}", "deaf")), signal.SIGKILL)
        end = ended(box, "deaf")
        assert end["Meaning"] == "SIGKILL from another process on the host"


@pytest.mark.skipif(not can_hibernate(), reason="needs dash and Linux 6.15")
def test_a_monitor_that_sleeps_knows_too(box):
    with container(box, "asleep", IMAGE, "sleep", "1000"):
        monitor = json.loads(pathlib.Path(run(box, "asleep"), "state.json").read_text())["monitor"]
        eventually(lambda: "python" not in os.readlink(f"/proc/{monitor}/exe"))
        box.estiva("kill", "asleep")
        assert ended(box, "asleep")["Sender"]["By"] == "kill"


def run(box, name):
    return f"{box.folder}/run/containers/{box.out('inspect', '-f', '{{.Id}}', name)}"


def test_its_own_memory_limit(box):
    with container(box, "fat", "-m", "16m", IMAGE, "tail", "/dev/zero"):
        end, told = ended(box, "fat"), box.out("why", "fat")
    assert end["Meaning"] == "killed by its memory limit of 16 MiB" and end["OOM"]["Scope"] == "own"
    assert end["PeakMemory"] == end["OOM"]["Limit"] == 16 << 20
    if os.access("/dev/kmsg", os.R_OK):
        largest = end["OOM"]["Processes"][0]
        assert 8 << 20 < largest["Memory"] < 32 << 20 and largest["Name"]
        assert "the largest processes then: " in told


@pytest.mark.skipif(not (MEMORY / "memory.limit_in_bytes").exists(), reason="sets a limit of cgroup v1")
def test_the_limit_of_a_cgroup_above(box):
    parent = MEMORY / f"{box.cgroup[1:]}/above"
    with container(
        box, "fat", "--cgroup-parent", f"{box.cgroup}/above", IMAGE, "sh", "-c", "sleep 2; tail /dev/zero"
    ):
        (parent / "memory.limit_in_bytes").write_text(str(32 << 20))
        end = ended(box, "fat")
    for place in pathlib.Path("/sys/fs/cgroup").glob(f"*{box.cgroup}/above"):
        place.rmdir()  # the engine leaves those alone that others name
    assert end["Meaning"] == f"killed by the memory limit of 32 MiB of the cgroup {box.cgroup}/above"


def test_a_fault_of_its_own_and_a_system_call_that_is_not_allowed(box, tmp_path):
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS"}]}'
    )
    words = ("--cap-add", "SYS_ADMIN", "--security-opt", f"seccomp={profile}", IMAGE, "hostname", "x")
    with container(box, "refused", *words):
        end = ended(box, "refused")
    assert end["Seccomp"] and end["Signal"] == "SIGSYS" and end["Meaning"].startswith("killed by its seccomp")


def test_its_health_check(box):
    words = ("--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1")
    with container(box, "ill", *words, "--health-on-failure", "kill", IMAGE, "sleep", "1000"):
        assert ended(box, "ill")["Meaning"] == "SIGKILL from its health check"


def test_whoever_is_attached(box):
    with container(box, "seen", IMAGE, "sh", "-c", "trap 'exit 5' INT; echo up; while :; do sleep 0.1; done"):
        eventually(lambda: "up" in box.estiva("logs", "seen").stdout)

        def interrupted():
            attached = box.start("attach", "seen")
            time.sleep(0.5)  # too early, and it alone ends: then another tries
            attached.send_signal(signal.SIGINT)
            return attached.wait(60) == 5

        eventually(interrupted)
        assert ended(box, "seen")["Sender"] == {"By": "attached", "Signal": "SIGINT"}


def test_a_start_that_failed(box):
    box.estiva("create", "--name", "never", "--network", "none", IMAGE, "sl")
    box.estiva("start", "never", status=1)
    end = json.loads(box.estiva("inspect", "never").stdout)[0]["State"]["Exit"]
    assert end == {
        "Status": 127,
        "Meaning": "its command was not found",
        "Failed": True,
        "Hint": "did you mean ls?",
    }
    box.estiva("rm", "never")


def test_a_monitor_that_is_killed_leaves_no_certificate_of_an_earlier_run(box):
    with container(box, "left", IMAGE, "sleep", "1000"):
        box.estiva("kill", "left")
        assert ended(box, "left")["Sender"]["By"] == "kill"
        box.estiva("start", "left")
        os.kill(
            json.loads(pathlib.Path(run(box, "left"), "state.json").read_text())["monitor"], signal.SIGKILL
        )
        eventually(lambda: box.out("inspect", "-f", "{{.State.Running}}", "left") == "false")
        assert "Exit" not in json.loads(box.estiva("inspect", "left").stdout)[0]["State"]


def test_of_a_container_that_is_removed_the_event_tells_what_went_wrong(box):
    box.estiva("run", "--rm", "--name", "brief", "--network", "none", IMAGE, "sh", "-c", "exit 4", status=4)
    box.estiva("run", "--rm", "--name", "brief", "--network", "none", IMAGE, "true")
    told = box.estiva("events", "--since", "0", "--until", "0s", "--filter", "event=die", "--filter",
                      "container=brief", "--format", "{{json .Actor.Attributes}}").stdout  # fmt: skip
    first, second = map(json.loads, told.splitlines())
    assert first["meaning"] == "ended by itself with status 4" and "meaning" not in second


def test_why_and_the_last_lines(box):
    command = ("sh", "-c", "for i in $(seq 99); do echo line $i; done; printf 'e\\033[31mvil' >&2; exit 127")
    with container(box, "said", IMAGE, *command):
        assert ended(box, "said")["LastLog"] == [*(f"line {n}" for n in range(91, 100)), "e\\x1b[31mvil"]
        told = box.estiva("why", "said", "nosuch", status=1)
    lines = told.stdout.splitlines()
    assert lines[0].startswith("said ended ") and lines[0].endswith(" with status 127")
    assert lines[1].startswith("ended by itself with status 127: a command was not found")
    assert lines[-2:] == ["  line 99", "  e\\x1b[31mvil"] and "no such container: nosuch" in told.stderr


def test_why_of_one_that_has_no_log_that_can_be_read(box):
    with container(box, "mute", "--log-driver", "none", IMAGE, "false"):
        assert ended(box, "mute")["LastLog"] == []
        assert "the last lines" not in box.estiva("why", "mute").stdout


def test_a_program_is_told(box):
    code = f"""import estiva
done = estiva.run({IMAGE!r}, ["tail", "/dev/zero"], network="none", memory="16m")
print(done.status, done.oom, done.exit.meaning)
print(estiva.run({IMAGE!r}, ["true"], network="none").exit.meaning == "")
"""
    told = box.python(code).splitlines()
    assert told == ["137 True killed by its memory limit of 16 MiB", "True"]
