"""SIGKILL for the command line, the monitor or both, at many moments of `run` and `start`: the next command works."""

import json
import os
import random
import shutil
import signal
import subprocess

import pytest

from enginekit import IMAGE, eventually, host
from killkit import Shot, assert_nothing_left, assert_well, kill, monitors, moved_away, traces
from ocikit import gone

SPAN = 0.25  # seconds: longer than a run takes beside eleven others
RUNS = (
    ("run", "-d", "-p", "80", IMAGE, "sleep", "300"),
    ("run", "-d", "--rm", "--init", IMAGE, "sleep", "300"),
    ("run", "--rm", "-v", "/anonymous", IMAGE, "true"),
    ("run", "--rm", "--network", "none", IMAGE, "sleep", "0.05"),
)


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva("run", "--rm", IMAGE, "true")
        assert_nothing_left(made)  # its monitor tells how it ended, and then takes its run folder away
        yield made


def remove_all(box):
    if ids := box.out("ps", "-aq").split():
        box.estiva("rm", "-f", "-v", *ids)
    box.estiva("volume", "prune", "-f")


@pytest.mark.parametrize("victims", ["command", "monitor", "both"])
def test_killed_at_any_moment(box, victims):
    rng = random.Random(victims)
    for turn in range(2):
        shots = [Shot(box, RUNS[n % len(RUNS)], rng.random() * SPAN, victims) for n in range(12)]
        for shot in shots:
            shot.end()
        if turn % 2:
            box.estiva("ps", "-a")
        assert_well(box)
        remove_all(box)
        assert assert_well(box) == "all is well\n"
        assert_nothing_left(box)


@pytest.mark.parametrize("victims", ["command", "monitor", "both"])
def test_killed_while_it_starts_again(box, victims):
    names = [f"again-{n}" for n in range(6)]
    for name in names:
        box.estiva("create", "--name", name, IMAGE, "sleep", "300")
    rng = random.Random(victims)
    for turn in range(2):
        for shot in [Shot(box, ["start", name], rng.random() * SPAN, victims) for name in names]:
            shot.end()
        if turn:  # they have all run before
            assert box.out("ps", "-a", "--filter", "status=created", "-q") == ""
        box.estiva("start", *names)
        assert box.out("ps", "-q").count("\n") == len(names) - 1
        box.estiva("stop", "-t", "0", *names)
    assert_well(box)
    remove_all(box)
    assert_nothing_left(box)


def test_killed_while_it_removes(box):
    rng = random.Random(1)
    for _ in range(2):
        ids = [
            box.out("run", "-d", "-v", "/data", "--network", "none", IMAGE, "sleep", "300") for _ in range(4)
        ]
        ids += [box.out("create", "-v", "/data", IMAGE, "true") for _ in range(4)]
        for shot in [Shot(box, ["rm", "-f", "-v", name], rng.random() * SPAN) for name in ids]:
            shot.end()
        assert_well(box)
        for line in box.out("ps", "-a", "--no-trunc").splitlines()[1:]:
            assert os.path.isdir(f"{box.folder}/root/containers/{line.split()[0]}/upper")
        remove_all(box)
        assert_nothing_left(box)
        assert os.listdir(f"{box.folder}/root/volumes") == []


def orphan(box, *words):
    """A container whose monitor was killed: its own, as that of the container before may be on its way out."""
    container = box.out("run", "-d", *words, IMAGE, "sleep", "300")
    with open(f"{box.folder}/run/containers/{container}/state.json") as file:
        monitor = json.load(file)["monitor"]
    kill(monitor)
    eventually(lambda: gone(monitor))
    return container


def monitors_alive(box):
    return [pid for pid in monitors(box) if not gone(pid)]


def state(box, name):
    return box.out("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", name)


def test_the_verbs_on_a_container_whose_monitor_was_killed(box):
    orphan(box, "--name", "first", "-p", "127.0.0.1:8097:80")
    assert "Exited (137)" in box.out("ps", "-a")
    assert state(box, "first") == "exited 137 the container's monitor was killed"
    box.estiva("start", "first")
    assert box.out("exec", "first", "echo", "back") == "back"
    kill(*monitors(box))
    box.estiva("stop", "first")
    # the veth goes with its netns, in the kernel's own time
    eventually(lambda: not [t for t in traces(box) if "containers/" not in t and "names" not in t])
    box.estiva("rm", "first")

    for words in ("rm -f second", "wait second", "logs second", "start second", "rename second third"):
        orphan(box, "--name", "second")
        box.estiva(*words.split())
        box.estiva("rm", "-f", "second", "third", status=None)
    orphan(box, "--name", "second")
    box.estiva("kill", "second", status=1)
    box.estiva("exec", "second", "true", status=1)
    done = box.estiva("run", "--name", "second", IMAGE, "true", status=125)
    assert "in use" in done.stderr
    box.estiva("rm", "second")
    orphan(box, "--name", "second", "--rm")
    box.estiva("run", "--rm", "--name", "second", IMAGE, "true")
    orphan(box, "--rm")
    assert box.out("ps", "-aq") == ""
    assert_nothing_left(box)
    assert box.out("system", "check") == "all is well"


def test_a_paused_container_whose_monitor_was_killed(box):
    container = box.out("run", "-d", "--name", "still", "--network", "none", IMAGE, "sleep", "300")
    box.estiva("pause", container)
    kill(*monitors(box))
    box.estiva("rm", "-f", "still")
    assert_nothing_left(box)


def test_exec_killed_at_any_moment(box):
    """What was executed may live on, as with Docker, but no longer than the container."""
    box.estiva("run", "-d", "--name", "host", IMAGE, "sleep", "300")
    rng = random.Random(4)
    for victims in ("command", "both"):
        words = ["exec", "-i", "host", "sleep", "300"]
        for shot in [Shot(box, words, rng.random() * SPAN, victims, stdin=subprocess.PIPE) for _ in range(8)]:
            shot.end()
    assert box.out("exec", "host", "echo", "fine") == "fine"
    box.estiva("rm", "-f", "host")
    assert_well(box)
    assert_nothing_left(box)


SPAWNER = f"""
import os, signal, time, estiva
with estiva.container({IMAGE!r}, network="none") as box:
    for _ in range(2):
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{{name}}/stat") as file:
                    if int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                        os.kill(int(name), signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.1)
        assert box.exec(["echo", "hello"]).output == "hello\\n"
    assert estiva.run({IMAGE!r}, ["echo", "again"], network="none").output == "again\\n"
"""


def test_a_program_whose_spawner_is_killed(box):
    box.python(SPAWNER)
    assert_nothing_left(box)


def test_the_check_tells_what_is_wrong(box):
    container = box.out("create", IMAGE, "true")
    shutil.rmtree(f"{box.folder}/root/containers/{container}/upper")
    done = box.estiva("system", "check", status=1)
    assert done.stdout == f"problem: container {container[:12]} has no read-write layer\n1 problem\n"
    box.estiva("rm", container)
    assert box.out("system", "check") == "all is well"


def test_prune_tells_what_it_swept(box):
    orphan(box, "--name", "swept")
    assert "swept), whose monitor was killed: ended" in box.out("system", "prune", "-f")
    assert_nothing_left(box)


def test_who_waits_hears_of_a_killed_monitor(box):
    watcher = box.start("run", "--name", "seen", IMAGE, "sleep", "300", stderr=-1, text=True)
    eventually(lambda: monitors(box))  # its row is there before
    waiter = box.start("wait", "seen", stdout=-1, text=True)
    kill(*monitors(box))
    assert watcher.wait(120) == 125 and "monitor was killed" in watcher.stderr.read()
    watcher.stderr.close()
    assert waiter.communicate(timeout=120)[0] == "137\n"
    assert_well(box)
    box.estiva("rm", "seen")
    assert_nothing_left(box)


def test_after_a_power_cut(box):
    """The run root is gone, the rows say running; nothing of the bridge is there either."""
    box.estiva("run", "-d", "--name", "was-up", "-p", "8098:80", IMAGE, "sleep", "300")
    box.estiva("run", "-d", "--rm", "--name", "was-up-too", IMAGE, "sleep", "300")
    kill(*monitors(box))
    box.power_cut()
    assert box.out("ps", "-a", "--format", "{{.Names}} {{.State}}") == "was-up exited"
    assert state(box, "was-up") == "exited 137 the machine went down while the container ran"
    box.estiva("start", "was-up")
    assert box.out("exec", "was-up", "echo", "up") == "up"
    box.estiva("rm", "-f", "was-up")
    assert_well(box)
    assert_nothing_left(box)


def test_a_folder_without_a_row_goes_with_its_cgroup(box):
    """Of a monitor that was killed between the two, and had its lock while run folders were swept."""
    name = "ab" * 32
    os.mkdir(f"{box.folder}/root/containers/{name}")
    box.python(f"from estiva.runtime.cgroup import factory; factory.create('{box.cgroup}/{name}', {{}})")
    assert box.cgroups()
    assert f"folder of container {name[:12]}" in box.out("system", "check")
    assert not box.cgroups()


def test_processes_that_nobody_watches_are_ended(box):
    """Its folders have vanished, the row too; the cgroup shows who is ours."""
    container = orphan(box, "--name", "lost")
    os.mkdir(f"{box.folder}/aside")
    for root in ("root", "run"):
        os.rename(f"{box.folder}/{root}/containers/{container}", f"{box.folder}/aside/{root}")
    box.db("DELETE FROM containers")
    box.db("DELETE FROM leases")
    assert f"processes of container {container[:12]}, which nobody watched: killed" in assert_well(box)
    shutil.rmtree(f"{box.folder}/aside")
    assert_nothing_left(box)


@pytest.mark.parametrize(
    "words", ["rm -f moved", "system check --deep --repair", "system prune -f", "start moved", "ps"]
)
def test_processes_outside_their_cgroup_end_with_a_killed_monitor(box, words):
    container = box.out("run", "-d", "--name", "moved", "-p", "127.0.0.1:8096:80", IMAGE, "sleep", "300")
    pid = moved_away(box, container)
    kill(*monitors(box))
    eventually(lambda: not monitors_alive(box))
    try:
        assert not gone(pid)
        box.estiva(*words.split())
        assert gone(pid)
    finally:
        kill(*(() if gone(pid) else (pid,)))
    box.estiva("rm", "-f", "moved", status=None)
    assert_nothing_left(box)


def test_a_pid_of_another_process_is_left_alone(box):
    container = orphan(box, "--name", "recycled")
    path = f"{box.folder}/run/containers/{container}/state.json"
    with open(path) as file:
        live = json.load(file)
    with subprocess.Popen(["sleep", "300"]) as other:
        try:
            with open(path, "w") as file:
                json.dump({**live, "pid": other.pid}, file)
            box.estiva("rm", "-f", "recycled")
            assert other.poll() is None
        finally:
            other.kill()
    assert_nothing_left(box)


@pytest.fixture
def halted(box):
    """A container whose monitor is stopped (SIGSTOP), and that monitor's pid."""
    container = box.out("run", "-d", "--name", "halted", "--network", "none", IMAGE, "sleep", "300")
    (pid,) = monitors(box)
    os.kill(pid, signal.SIGSTOP)
    yield container, pid
    if not gone(pid):
        os.kill(pid, signal.SIGCONT)
    box.estiva("rm", "-f", "halted", status=None)
    assert_nothing_left(box)


@pytest.mark.parametrize("words", ["stop -t1 halted", "kill halted", "stop -t -1 -s KILL halted"])
def test_a_stopped_monitor_is_let_go_on_by_who_ends_the_container(box, halted, words):
    box.estiva(*words.split())
    assert state(box, "halted") == "exited 137 "


def end_init(box):
    """The init of `halted` ends, without its monitor."""
    pid = int(box.out("inspect", "-f", "{{.State.Pid}}", "halted"))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))


def alive(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(") ")[2][0] != "Z"


def test_a_run_that_has_ended_without_its_monitor_is_told_as_such(box, halted, tmp_path):
    box.estiva("network", "create", "n")
    end_init(box)
    stopped = f"its monitor, process {halted[1]}, is stopped"
    assert box.out("ps", "-q") == ""
    assert box.out("ps", "-a", "--format", "{{.Status}}") == f"Exited (137), {stopped}"
    assert state(box, "halted") == f"exited 137 {stopped}"
    assert box.out("wait", "halted") == "137"
    for words in (
        "pause halted",
        "unpause halted",
        "top halted",
        "update -m 64m halted",
        "kill -s HUP halted",
        "start halted",
        "cp halted:/etc/passwd -",
        "network connect n halted",
    ):
        if "connect" in words:
            box.estiva("network", "disconnect", "none", "halted")
        told = box.estiva(*words.split(), status=None)
        assert told.returncode and f"has ended, but {stopped}" in told.stderr, (words, told)
        assert f"`kill -CONT {halted[1]}` or `estiva stop halted`" in told.stderr
    box.estiva("network", "rm", "n")
    box.estiva("commit", "halted", "kept:1")
    box.estiva("rmi", "kept:1")


@pytest.mark.parametrize("words", ["stop halted", "kill halted", "rm halted", "container prune -f"])
def test_who_ends_what_has_ended_lets_its_monitor_go_on(box, halted, words):
    end_init(box)
    box.estiva(*words.split())
    assert gone(halted[1])
    if "halted" in words and "rm" not in words:
        assert state(box, "halted") == "exited 137 "
    else:
        assert box.out("ps", "-aq") == ""


@pytest.mark.parametrize("damage", ["none", "record"])
def test_rm_f_goes_on_without_a_stopped_monitor(box, halted, damage):
    if damage == "record":
        box.db("UPDATE containers SET record = '{'")
    assert box.out("rm", "-f", "halted") == "halted"
    eventually(lambda: gone(halted[1]))
    assert box.out("ps", "-aq") == ""


def test_what_only_has_the_pid_of_a_monitor_is_left_alone(box, halted):
    path = f"{box.folder}/run/containers/{halted[0]}/state.json"
    with open(path) as file:
        live = json.load(file)
    with subprocess.Popen(["sleep", "300"]) as other:
        try:
            other.send_signal(signal.SIGSTOP)
            with open(path, "w") as file:
                json.dump({**live, "monitor": other.pid}, file)
            removal = box.start("rm", "-f", "halted")
            eventually(lambda: gone(live["pid"]))
            with pytest.raises(subprocess.TimeoutExpired):
                removal.wait(3)
            os.kill(halted[1], signal.SIGCONT)
            assert removal.wait(60) == 0
            assert other.poll() is None
        finally:
            other.kill()


BEFORE = f"""
import os, signal
from estiva.engine import Engine
from estiva.engine.containers import create, folder
MODULE.NAME = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
volumes = {{"Volumes": {{"/x": {{}}}}}}
create.create(Engine(), {{"Image": {IMAGE!r}, "Cmd": ["true"], **volumes}}, {{"Binds": ["named:/n"]}})
"""


@pytest.mark.parametrize("step", ["folder make", "create insert", "folder fill"])
def test_anonymous_volumes_of_one_that_is_killed_while_it_makes_a_container(box, step):
    module, name = step.split()
    box.python(BEFORE.replace("MODULE", module).replace("NAME", name), status=-signal.SIGKILL)
    assert len(os.listdir(f"{box.folder}/root/volumes")) == 2
    assert_well(box)
    if step == "folder fill":  # its row is there
        box.estiva("rm", "-v", *box.out("ps", "-aq").split())
    assert os.listdir(f"{box.folder}/root/volumes") == ["named"]
    assert box.out("volume", "ls", "-q") == "named"
    assert box.db("SELECT count(*) FROM container_volumes") == [(0,)]
    box.estiva("volume", "rm", "named")
    assert_nothing_left(box)


@pytest.mark.parametrize("step", ["folder.make", "create.insert", "folder.fill"])
def test_a_container_that_can_not_be_made_leaves_no_anonymous_volume(box, step):
    module, name = step.split(".")
    code = BEFORE.replace("os.kill(os.getpid(), signal.SIGKILL)", "1 / 0")
    box.python(code.replace("MODULE", module).replace("NAME", name), status=1)
    assert os.listdir(f"{box.folder}/root/volumes") == ["named"]
    assert box.db("SELECT count(*) FROM container_volumes") == [(0,)]
    box.estiva("volume", "rm", "named")
    assert "swept" not in assert_well(box)
    assert_nothing_left(box)
