"""After a power cut a row may stay without its folder; on a disk that became read-only nothing can be noted down."""

import os
import shutil
import subprocess

import pytest

from enginekit import IMAGE, Host, host
from killkit import kill, monitors


@pytest.fixture
def box():
    with host() as made:
        yield made


def cut(box, *folders):
    """The power goes, and takes folders that were not synced."""
    kill(*monitors(box))
    box.power_cut()
    for folder in folders:
        shutil.rmtree(f"{box.folder}/root/{folder}")


def state(box, name, what="{{.State.Status}} {{.State.ExitCode}}"):
    return box.out("inspect", "--format", what, name)


def test_a_folder_is_on_the_disk_before_its_row(box):
    """Only that of a container that waits: a start can't wait for a disk (see containers/folder.py)."""
    out = box.python("""
import os
from estiva import files
from estiva.engine import Engine
from estiva.engine.containers import create
from estiva.store import containers
events, real, add = [], files.sync_directory, containers.add
files.sync_directory = lambda path: (events.append(os.path.basename(path)[:12]), real(path))
containers.add = lambda *given: (events.append("row"), add(*given))
engine = Engine()
made = create.create(engine, {"Image": "box:1", "Cmd": ["true"]}, {"NetworkMode": "none"})
print(*[event.replace(made["Id"][:12], "ID") for event in events])
events.clear()
engine.store.volumes.create("named")
print(*events)
""")
    assert out.splitlines() == ["upper ID containers row", "named volumes"]


def test_a_row_whose_folder_was_lost(box):
    box.image("vol:1", ["VOLUME /data"])
    box.estiva(
        "run", "-d", "--name", "ran", "--network", "none", "-v", "named:/etc", "vol:1", "sleep", "1000"
    )
    box.estiva("create", "--name", "made", "--network", "none", IMAGE, "cat", "/etc/passwd")
    ids = box.out("ps", "-aq", "--no-trunc").split()
    cut(
        box,
        *[f"containers/{one}" for one in ids],
        *[f"volumes/{v}" for v in os.listdir(f"{box.folder}/root/volumes")],
    )
    assert state(box, "ran") == "exited 137" and state(box, "made") == "created 0"
    assert box.out("diff", "made") == "" and box.out("logs", "ran") == ""
    box.estiva("start", "ran")
    # the volume has what the image has there, as at first
    assert "nobody" in box.out("exec", "ran", "cat", "/etc/passwd")
    assert box.out("exec", "ran", "ls", "/data") == ""
    assert "nobody" in box.out("start", "-a", "made")
    box.estiva("rm", "-f", "ran", "made")
    box.estiva("volume", "prune", "-af")


def test_a_sweep_tells_of_a_lost_folder(box):
    box.estiva("create", "--name", "made", "--network", "none", IMAGE, "true")
    container = box.out("ps", "-aq", "--no-trunc")
    cut(box, f"containers/{container}")
    check = box.estiva("system", "check")
    assert f"container {container[:12]} had lost its folder: it has a new one" in check.stdout
    assert "problem" not in check.stdout
    assert box.estiva("start", "-a", "made").returncode == 0
    box.estiva("rm", "made")


def test_a_lost_container_is_not_made_again_when_it_is_removed(box):
    box.estiva("create", "--name", "made", "--network", "none", IMAGE, "true")
    container = box.out("ps", "-aq", "--no-trunc")
    cut(box, f"containers/{container}")
    box.estiva("rm", "made")
    assert os.listdir(f"{box.folder}/root/containers") == []


def test_when_it_was_started_outlives_a_power_cut(box):
    """The second start, too; and one that failed is none."""
    box.estiva("run", "-d", "--name", "up", "--network", "none", IMAGE, "sleep", "1000")
    box.estiva("create", "--name", "broken", "--network", "none", IMAGE, "nosuch")
    box.estiva("start", "broken", status=None)
    last = ""
    for _ in range(2):
        before = state(box, "up", "{{.State.StartedAt}}")
        cut(box)
        status, began, ended = state(
            box, "up", "{{.State.Status}} {{.State.StartedAt}} {{.State.FinishedAt}}"
        ).split()
        # as the row has it: when the start was asked for, a moment before the command ran
        assert status == "exited" and last < began <= before < ended
        last = before
        assert "Began" not in box.out("inspect", "up")
        box.estiva("start", "up")
        assert state(box, "up", "{{.State.StartedAt}}") > ended
    assert state(box, "broken", "{{.State.Status}} {{.State.StartedAt}}") == "created 0001-01-01T00:00:00Z"
    assert "Began" not in "".join(
        text for (text,) in box.db("SELECT record FROM containers WHERE name = 'broken'")
    )
    box.estiva("rm", "-f", "up", "broken")


class LockedHost(Host):
    """A host whose state root is a mount of its own, which can be made read-only for all of its processes."""

    def __init__(self):
        super().__init__()
        root = f"{self.folder}/root"
        os.mkdir(root, 0o700)
        self.mount = subprocess.Popen(
            [
                *self.prefix,
                "unshare",
                "-m",
                "sh",
                "-c",
                f"mount --bind {root} {root} && echo ready && exec sleep 3600",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.mount.stdout.readline() == "ready\n"
        self.prefix = ["nsenter", "-t", str(self.mount.pid), "-n", "-m"]

    def become(self, how):
        command = ["mount", "-o", f"remount,bind,{how}", f"{self.folder}/root"]
        subprocess.run([*self.prefix, *command], check=True)

    def tear_down(self):
        self.mount.kill()
        self.mount.wait()
        self.mount.stdout.close()
        super().tear_down()


@pytest.fixture
def locked():
    made = LockedHost()
    try:
        made.import_busybox()
        yield made
    except BaseException:
        made.tear_down()
        raise
    made.close()


def test_a_read_only_root(locked):
    """Containers can be stopped and killed, and how they ended is told."""
    script = "trap 'exit 5' TERM; echo >/up; while :; do sleep 0.05; done"
    for name in ("one", "two"):
        locked.estiva("run", "-d", "--name", name, "--network", "none", IMAGE, "sh", "-c", script)
    for name in (
        "one",
        "two",
    ):  # not by what it logs: a log that is open for writing keeps the root from that
        locked.estiva("exec", name, "sh", "-c", "until test -e /up; do sleep 0.05; done")
    locked.become("ro")
    try:
        assert "Up" in locked.out("ps")
        follower = locked.start("logs", "-f", "one")
        assert locked.out("stop", "one", timeout=60) == "one"
        assert locked.out("kill", "two") == "two"
        assert locked.out("ps", "-q") == ""
        words = locked.out("ps", "-a", "--format", "{{.Names}} {{.Status}}")
        assert sorted(" ".join(line.split()[:3]) for line in words.splitlines()) == [
            "one Exited (5)", "two Exited (137)",
        ]  # fmt: skip
        assert state(locked, "one") == "exited 5" and state(locked, "two") == "exited 137"
        assert locked.out("wait", "one") == "5" and follower.wait(60) == 0
        done = locked.estiva("rm", "one", status=1)
        assert "can't be written" in done.stderr or "read-only" in done.stderr
        assert not locked.cgroups()
    finally:
        locked.become("rw")
    assert state(locked, "one") == "exited 5" and state(locked, "two") == "exited 137"
    locked.estiva("rm", "one", "two")
