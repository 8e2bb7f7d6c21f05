"""The verbs on containers that exist, through the command line."""

import io
import json
import os
import signal
import subprocess
import tarfile
import time

import pytest

from enginekit import ESTIVA, IMAGE, eventually, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture
def sleeper(box):
    name = f"sleeper-{time.monotonic_ns()}"
    box.estiva("run", "-d", "--name", name, "--network", "none", "-m", "64m", IMAGE, "sleep", "1000")
    yield name
    box.estiva("rm", "-f", name, status=None)


def test_create_start_wait_logs(box):
    container = box.out(
        "create", "--name", "later", "--network", "none", IMAGE, "sh", "-c", "echo a; echo b >&2; exit 4"
    )
    assert len(container) == 64
    assert box.out("ps", "-a", "--format", "{{.Names}} {{.Status}}") == "later Created"
    assert box.out("start", "later") == "later"
    assert box.out("wait", "later") == "4"
    done = box.estiva("logs", "later")
    assert (done.stdout, done.stderr) == ("a\n", "b\n")
    assert box.estiva("start", "-a", "later", status=4).stdout == "a\n"
    assert box.out("logs", "--tail", "1", "later", status=0) in ("a", "")
    assert len(box.estiva("logs", "later").stdout.splitlines()) == 2
    assert box.out("logs", "-t", "--tail", "2", "later").startswith("20")
    assert "Exited (4)" in box.out("ps", "-a", "--filter", "name=later", "--format", "{{.Status}}")
    box.estiva("rm", "later")
    assert box.estiva("rm", "later", status=1).stderr.startswith("estiva: no such container: later\n")


def test_logs_follow_until_the_end(box):
    box.estiva("run", "-d", "--name", "ticker", "--network", "none", IMAGE, "sh", "-c",
               "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done")  # fmt: skip
    assert box.out("logs", "-f", "ticker").split() == ["1", "2", "3", "4", "5"]
    box.estiva("rm", "ticker")


def test_exec(box, sleeper):
    assert box.out("exec", sleeper, "id", "-u") == "0"
    done = box.estiva("exec", sleeper, "sh", "-c", "echo out; echo err >&2; exit 6", status=6)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert box.out(
        "exec", "-u", "user", "-w", "/tmp", "-e", "A=1", sleeper, "sh", "-c", "id -un; pwd; echo $A $HOME"
    ) == ("user\n/tmp\n1 /home")
    assert box.out("exec", "-i", sleeper, "cat", input="through") == "through"
    assert "executable file not found" in box.estiva("exec", sleeper, "nosuch", status=126).stderr
    box.estiva("exec", sleeper, "/etc/passwd", status=126)
    box.estiva("exec", "-d", sleeper, "touch", "/made")
    eventually(lambda: box.estiva("exec", sleeper, "ls", "/made", status=None).returncode == 0)
    assert "not running" in box.estiva("exec", box.out("create", IMAGE, "true"), "id", status=None).stderr
    memory = box.out(
        "exec",
        sleeper,
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null",
        status=None,
    )
    assert str(64 << 20) in memory
    status = box.out("exec", sleeper, "cat", "/proc/self/status")
    assert "CapEff:\t00000000a80425fb" in status and "Seccomp:\t2" in status
    fds = box.out("exec", sleeper, "ls", "/proc/self/fd").split()
    assert set(fds) <= {"0", "1", "2", "3"}
    box.estiva("rm", *box.out("ps", "-aq", "--filter", "status=created").split())


def test_inspect(box, sleeper):
    assert (
        box.out("inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.Config.Image}}", sleeper)
        == f"running true {IMAGE}"
    )
    whole = json.loads(box.out("inspect", sleeper))
    assert whole[0]["Name"] == "/" + sleeper and whole[0]["HostConfig"]["Memory"] == 64 << 20
    assert json.loads(box.out("inspect", "--format", "{{json .State}}", sleeper))["Pid"] > 1
    assert box.out("inspect", "--format", "{{.Id}}", whole[0]["Id"][:10]) == whole[0]["Id"]
    assert box.estiva("inspect", "nosuch", status=1).stderr.count("\n") <= 2
    assert "Nope" in box.estiva("inspect", "-f", "{{.State.Nope}}", sleeper, status=1).stderr


def test_kill_and_signals(box, sleeper):
    box.estiva("kill", sleeper)
    assert box.out("wait", sleeper) == "137"
    assert "not running" in box.estiva("kill", sleeper, status=1).stderr
    assert "invalid signal" in box.estiva("kill", "-s", "NOPE", sleeper, status=1).stderr


def test_pause(box, sleeper):
    box.estiva("pause", sleeper)
    assert "(Paused)" in box.out("ps", "--filter", f"name={sleeper}", "--format", "{{.Status}}")
    box.estiva("exec", sleeper, "true", status=None)
    box.estiva("unpause", sleeper)
    box.estiva("exec", sleeper, "true")
    box.estiva("pause", sleeper)
    box.estiva("rm", "-f", sleeper)


def test_rename_restart_top(box, sleeper):
    box.estiva("rename", sleeper, "renamed")
    assert box.out("exec", "renamed", "echo", "yes") == "yes"
    box.estiva("restart", "-t", "0", "renamed")
    eventually(lambda: "sleep" in box.out("top", "renamed"))  # its arguments show a moment after its exec
    box.estiva("rename", "renamed", sleeper)


def test_top_is_as_wide_as_what_it_shows(box, sleeper):
    """Whatever the width of the terminal that it is typed on, as docker's."""
    box.estiva("exec", "-d", sleeper, "sh", "-c", f"sleep 777; : {'x' * 100}")
    narrow = {"COLUMNS": "40", "PS_FORMAT": "comm"}
    eventually(lambda: "x" * 100 in box.estiva("top", sleeper, env=narrow).stdout)


OVERTAKEN = """
import subprocess
from estiva.engine import Engine
from estiva.engine.containers import control
from estiva.engine.state import locks, runstate
verb, name, estiva = {verb!r}, {name!r}, {estiva!r}
engine = Engine()
where, inner = {{"stop": (runstate, "send"), "remove": (runstate, "send"), "unpause": (control, "mark")}}[verb]
original = getattr(where, inner)

def overtaken(*words):  # the container is killed and started again before we get to it
    setattr(where, inner, original)
    live = next(word for word in words if isinstance(word, dict))
    subprocess.run([estiva, "kill", name], check=True)
    locks.await_end(engine.paths, live["id"])
    subprocess.run([estiva, "start", name], check=True)
    return original(*words)

setattr(where, inner, overtaken)
{call}
"""


@pytest.mark.parametrize(
    ("verb", "call", "stays"),
    [
        ("stop", "control.stop(engine, name, timeout=0)", True),
        ("remove", "control.remove(engine, name, force=True)", False),
        ("unpause", "control.unpause(engine, name)", True),
    ],
)
def test_what_is_meant_for_one_run_leaves_the_next_alone(box, sleeper, verb, call, stays):
    """Somebody else restarts the container in the middle of it: no wait for a run that was not asked to end,
    and no state of the old run over that of the new one."""
    if verb == "unpause":
        box.estiva("pause", sleeper)
    box.python(OVERTAKEN.format(verb=verb, name=sleeper, estiva=ESTIVA, call=call), timeout=60)
    assert bool(box.out("ps", "-q", "--filter", f"name={sleeper}")) == stays
    if stays:
        assert box.out("exec", sleeper, "echo", "alive") == "alive"
        box.estiva("stop", "-t", "0", sleeper, timeout=60)


@pytest.mark.parametrize("verb", [("stop", "-t", "0"), ("rm", "-f")])
def test_a_container_renamed_while_it_runs_leaves_no_link(box, sleeper, verb):
    box.estiva("rename", sleeper, "other")
    box.estiva(*verb, "other")
    assert "other" not in os.listdir(f"{box.folder}/run/names")
    box.estiva("rm", "-f", "other", status=None)


def test_remove_refuses_a_running_one(box, sleeper):
    assert "running" in box.estiva("rm", sleeper, status=1).stderr
    assert box.out("ps", "-q", "--filter", f"name={sleeper}")


def test_diff_commit_export(box):
    box.estiva("run", "--name", "worker", "--network", "none", IMAGE, "sh", "-c",
               "mkdir /srv; echo 1 > /srv/f; rm /etc/group; echo x >> /etc/passwd; ln -s f /srv/l; chmod 4755 /srv/f")  # fmt: skip
    changes = box.out("diff", "worker").splitlines()
    assert changes == ["C /etc", "D /etc/group", "C /etc/passwd", "A /srv", "A /srv/f", "A /srv/l"]
    made = box.out(
        "commit", "-m", "message", "-a", "somebody", "--change", 'CMD ["cat", "/srv/f"]', "worker", "made:1"
    )
    assert made.startswith("sha256:")
    assert box.out("run", "--rm", "--network", "none", "made:1") == "1"
    listed = box.out(
        "run",
        "--rm",
        "--network",
        "none",
        "made:1",
        "sh",
        "-c",
        "ls /etc/group; stat -c %a /srv/f; readlink /srv/l",
        status=0,
    )
    assert listed.splitlines()[-2:] == ["4755", "f"]
    assert box.out("history", "--format", "{{.Comment}}", "made:1").splitlines()[0] == "message"
    # the base has not changed, and its layers are stored once
    assert (
        box.out("run", "--rm", "--network", "none", IMAGE, "ls", "/etc")
        == "group\nhostname\nhosts\nmtab\npasswd\nresolv.conf"
    )
    archive = box.estiva("export", "worker", text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = set(tar.getnames())
        assert {"srv/f", "bin/busybox", "etc/passwd"} <= names and "etc/group" not in names
        assert tar.getmember("srv/f").mode == 0o4755
    box.estiva("import", "-", "imported:1", input=archive, text=False)
    assert box.out("run", "--rm", "--network", "none", "imported:1", "cat", "/srv/f") == "1"
    box.estiva("rm", "worker")
    box.estiva("rmi", "made:1", "imported:1")


PLACES = {
    **dict.fromkeys(("dev", "dev/pts", "dev/shm", "etc", "proc", "sys"), tarfile.DIRTYPE),
    **dict.fromkeys(("dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf"), tarfile.REGTYPE),
    "etc/mtab": tarfile.SYMTYPE,
}


@pytest.mark.parametrize("ran", [False, True])
def test_what_every_container_has_is_exported_as_by_docker(box, ran):
    """Of docker's own these are an init layer: empty files, which a mount covers while it runs."""
    os.makedirs(f"{box.folder}/scratch", exist_ok=True)
    with open(f"{box.folder}/scratch/Dockerfile", "w") as file:
        file.write(f"FROM {IMAGE} AS one\nFROM scratch\nCOPY --from=one /bin/busybox /busybox\n")
    box.estiva("build", "-q", "-t", "bare:1", "scratch")
    box.estiva("create", "--name", "bare", "--network", "none", "bare:1", "/busybox", "true")
    if ran:
        box.estiva("start", "-a", "bare")
    for words in (("export", "bare"), ("cp", "bare:/.", "-")):
        archive = box.estiva(*words, text=False).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            found = {member.name.removeprefix("./"): member.type for member in tar if member.name != "."}
        assert found == {**PLACES, "busybox": tarfile.REGTYPE}, words
    assert box.out("diff", "bare") == ""
    box.estiva("rm", "bare")
    box.estiva("rmi", "bare:1")


def test_an_init_layer_of_an_earlier_release_is_completed(box):
    box.estiva("run", "--rm", "--network", "none", IMAGE, "true")
    for name in ("mtab", "resolv.conf"):
        os.unlink(f"{box.folder}/root/initlayer/etc/{name}")
    assert "mtab" in box.out("run", "--rm", "--network", "none", IMAGE, "ls", "/etc").split()
    assert os.path.isfile(f"{box.folder}/root/initlayer/etc/resolv.conf")


def test_an_image_in_use_stays(box, sleeper):
    done = box.estiva("rmi", IMAGE, status=1)
    assert sleeper in done.stderr or "container" in done.stderr
    assert box.out("exec", sleeper, "echo", "alive") == "alive"


REMOVED = """
from estiva.engine import Engine
from estiva.engine.containers import create
from estiva.engine.images import lookup
engine = Engine()
prepare = engine.store.snapshots.prepare

def late(*words):
    lookup.remove(engine, "brief:1", force=True)
    return prepare(*words)

engine.store.snapshots.prepare = late
try:
    create.create(engine, {"Image": "brief:1", "Cmd": ["true"]}, {})
except Exception as error:
    print(type(error).__name__, error)
"""


def test_an_image_that_goes_while_a_container_is_made_of_it(box):
    """The error is about the image, not about what is missing of it."""
    box.estiva("run", "--name", "maker", "--network", "none", IMAGE, "touch", "/its-own-layer")
    box.estiva("commit", "maker", "brief:1")
    box.estiva("rm", "maker")
    assert box.python(REMOVED) == "NotFound image brief:1 was removed just now\n"
    assert box.out("system", "check") == "all is well"


def test_volumes(box):
    box.estiva("volume", "create", "data")
    assert json.loads(box.out("volume", "inspect", "data"))[0]["Name"] == "data"
    box.estiva("run", "-d", "--name", "user", "-v", "data:/d", "--network", "none", IMAGE, "sleep", "100")
    assert "in use" in box.estiva("volume", "rm", "data", status=1).stderr
    box.estiva("rm", "-f", "user")
    box.estiva("volume", "rm", "data")
    assert "no such volume" in box.estiva("volume", "rm", "data", status=1).stderr
    box.estiva("run", "--name", "anon", "-v", "/d", "--network", "none", IMAGE, "true")
    assert len(box.out("volume", "ls", "-q").split()) == 1
    box.estiva("rm", "-v", "anon")
    assert box.out("volume", "ls", "-q") == ""


def test_system_verbs(box):
    assert "Images" in box.out("system", "df")
    assert "0." in box.out("version")
    assert "cgroup" in box.out("info").lower()
    box.estiva("run", "--network", "none", IMAGE, "true")
    assert box.out("ps", "-aq")
    box.estiva("system", "prune", "-f")
    assert box.out("ps", "-aq") == ""


def test_detached_output_does_not_hold_the_callers_pipe(box):
    done = subprocess.run([*box.prefix, "sh", "-c", f"{__import__('enginekit').ESTIVA} run -d --name bg --network none {IMAGE} sleep 86400 | cat"],
                          capture_output=True, text=True, env=box.env, timeout=300)  # fmt: skip
    assert len(done.stdout.strip()) == 64
    box.estiva("rm", "-f", "bg")


def test_a_commit_that_is_killed_leaves_the_container_frozen_only_until_a_sweep(box):
    script = "i=0; while [ $i -lt 3000 ]; do echo $i > /f$i; i=$((i+1)); done; echo made; sleep 100"
    box.estiva("run", "-d", "--name", "held", "--network", "none", IMAGE, "sh", "-c", script)
    eventually(lambda: box.out("logs", "held") == "made")
    pid = int(box.out("inspect", "-f", "{{.State.Pid}}", "held"))

    def frozen():
        return "frozen" in open(f"/proc/{pid}/status").read() or any(
            open(f"{path}/{name}").read().strip() in ("FROZEN", "FREEZING", "1")
            for path in box.cgroups()
            for name in ("freezer.state", "cgroup.freeze")
            if os.path.exists(f"{path}/{name}")
        )

    def kill_a_commit(number=signal.SIGKILL):
        """Kill one at its work; some end before they are caught."""
        for _ in range(100):
            child = box.start("commit", "held", stdout=subprocess.DEVNULL)
            while child.poll() is None and not frozen():
                pass
            child.send_signal(number)
            if child.wait() == (128 + number if number == signal.SIGTERM else -number) and (
                frozen() or number == signal.SIGTERM
            ):
                return
        raise AssertionError("no commit was caught at work")

    kill_a_commit(signal.SIGTERM)
    assert not frozen()
    kill_a_commit()
    assert box.out("exec", "held", "echo", "alive") == "alive"
    assert not frozen()

    kill_a_commit()
    assert "frozen by a commit" in box.out("system", "check")
    assert not frozen()
    assert box.out("exec", "held", "echo", "alive") == "alive"
    kill_a_commit()
    box.estiva("rm", "-f", "held")
