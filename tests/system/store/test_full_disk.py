"""A full disk: what does not fit is told in one line, leaves nothing behind, and works once there is space.

The state root and the run root are small tmpfs in a mount namespace of their own.
"""

import contextlib
import io
import os
import random
import re
import subprocess
import sys
import tarfile

import pytest

from enginekit import CHECKOUT, IMAGE, Host, eventually
from statekit import one_line

BIG = 3 << 20  # bytes that nothing compresses
ROOM = 5 << 20  # what they need while they are stored, and more


class SmallHost(Host):
    """A host whose disks are of 14 MB (state) and 1 MB (run state)."""

    def __init__(self):
        super().__init__()
        mounts = ""
        for name, size in (("root", "14m"), ("run", "1m")):
            os.mkdir(f"{self.folder}/{name}", 0o700)
            mounts += f"mount -t tmpfs -o size={size},mode=700 small {self.folder}/{name} && "
        self.disks = subprocess.Popen(
            [*self.prefix, "unshare", "-m", "sh", "-c", f"{mounts} echo ready && exec sleep 3600"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.disks.stdout.readline() == "ready\n"
        self.prefix = ["nsenter", "-t", str(self.disks.pid), "-n", "-m"]
        self.inside = f"/proc/{self.disks.pid}/root{self.folder}"

    def free(self, disk="root"):
        status = os.statvfs(f"{self.inside}/{disk}")
        return status.f_bavail * status.f_frsize

    def fill(self, leave, disk="root"):
        """Have a file take all but `leave` bytes."""
        with open(f"{self.inside}/{disk}/ballast", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free(disk) - leave)

    def make_space(self, disk="root"):
        os.unlink(f"{self.inside}/{disk}/ballast")

    def tear_down(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.disks.kill()
        self.disks.wait()
        self.disks.stdout.close()
        super().tear_down()


@pytest.fixture(scope="module")
def box():
    made = SmallHost()
    try:
        made.import_busybox()
        prepare(made)
        yield made
    except BaseException:
        made.tear_down()
        raise
    made.close()


@pytest.fixture(autouse=True)
def _space_again(box):
    """One that fails does not leave a full disk to the others."""
    yield
    for disk in ("root", "run"):
        with contextlib.suppress(FileNotFoundError):
            box.make_space(disk)
            box.estiva("rm", "-f", *box.out("ps", "-aq").split(), status=None)


def prepare(box):
    """Something of BIG bytes for every way in: tar, archive, registry, context, container."""
    data = random.Random(1).randbytes(BIG)
    folder = box.folder
    with tarfile.open(f"{folder}/big.tar", "w") as tar:
        member = tarfile.TarInfo("big")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    elsewhere = {"ESTIVA_ROOT": f"{folder}/large"}
    box.estiva("import", f"{folder}/big.tar", "127.0.0.1:5001/big:1", env=elsewhere)
    box.estiva("save", "-o", f"{folder}/image.tar", "127.0.0.1:5001/big:1", env=elsewhere)
    serve = ("registry", "serve", "--listen", "127.0.0.1:5001", "--root", f"{folder}/registry")
    served = box.start("--root", f"{folder}/large", *serve, stdout=subprocess.PIPE, text=True)
    assert "127.0.0.1:5001" in served.stdout.readline()
    served.stdout.close()
    box.estiva("push", "-q", "127.0.0.1:5001/big:1", env=elsewhere)
    for name, dockerfile in (
        ("copying", "FROM box:1\nCOPY big /big\n"),
        ("running", "FROM box:1\nRUN dd if=/dev/urandom of=/big bs=1M count=3 2>/dev/null\n"),
    ):
        os.mkdir(f"{folder}/{name}")
        with open(f"{folder}/{name}/Dockerfile", "w") as file:
            file.write(dockerfile)
    with open(f"{folder}/copying/big", "wb") as file:
        file.write(data)


def container(box):
    """One with BIG bytes written."""
    write = ("sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=3 2>/dev/null")
    box.estiva("run", "--name", "big", "--network", "none", IMAGE, *write)


def content(box):
    images = box.out("images", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}} {{.Tag}}")
    files = [sorted(os.listdir(f"{box.inside}/root/{name}")) for name in ("blobs/sha256", "layers", "ingest")]
    return images, files, box.out("ps", "-aq"), box.out("volume", "ls", "-q")


def well(box):
    assert box.out("system", "check").splitlines()[-1] == "all is well"


@pytest.mark.parametrize(
    "words",
    [
        ("pull", "-q", "127.0.0.1:5001/big:1"),
        ("load", "-q", "-i", "@/image.tar"),
        ("import", "@/big.tar", "big:1"),
        ("build", "-q", "-t", "big:1", "@/copying"),
        ("build", "-q", "-t", "big:1", "@/running"),
        ("commit", "big", "big:1"),
    ],
    ids=lambda words: f"{words[0]} {words[-1]}",
)
@pytest.mark.parametrize("leave", [2 << 20, 40 << 10])
def test_what_does_not_fit_leaves_nothing_and_fits_later(box, words, leave):
    words = [word.replace("@", box.folder) for word in words]
    if words[0] == "commit":
        container(box)
    before = content(box)
    box.fill(leave)
    failed = box.estiva(*words, status=1)
    assert re.search("no space left|RUN dd .*: exit status 1", one_line(failed.stderr))
    assert "RUN dd" in failed.stderr or "\nhint: free some disk space" in failed.stderr
    assert box.free() >= leave - (32 << 10)  # the database's log may have grown
    box.make_space()
    well(box)
    assert content(box) == before
    assert box.free() > ROOM
    box.estiva(*words)
    name = "127.0.0.1:5001/big:1" if words[0] in ("pull", "load") else "big:1"
    box.estiva("rmi", name)
    if words[0] == "commit":
        box.estiva("rm", "big")
    box.estiva("builder", "prune", "-f")
    well(box)
    assert box.out("images", "--format", "{{.Repository}}") == "box"


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--rm", "--network", "none", IMAGE, "true"),
        ("run", "--name", "new", IMAGE, "true"),
        ("create", "--name", "new", IMAGE, "true"),
        ("volume", "create", "new"),
        ("tag", IMAGE, "new:1"),
    ],
    ids=" ".join,
)
def test_with_no_byte_left(box, words):
    before = content(box)
    box.fill(0)
    failed = box.estiva(*words, status=125 if words[0] == "run" else 1)
    assert "no space left" in one_line(failed.stderr)
    assert box.out("images", "-q") and box.estiva("ps", "-a").stdout  # reading goes on
    box.make_space()
    assert content(box) == before
    well(box)
    box.estiva(*words)
    box.estiva("rm", "new", status=None)
    box.estiva("volume", "rm", "-f", "new")
    box.estiva("rmi", "new:1", status=None)


def test_with_no_byte_left_things_can_still_be_removed(box):
    container(box)
    for words in (("rm", "big"), ("system", "prune", "-f")):
        if words[0] == "system":
            container(box)
        box.fill(0)
        box.estiva(*words)
        assert box.free() > BIG
        box.make_space()
        well(box)
    assert box.out("ps", "-aq") == ""


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="needs Python 3.12: before it the log goes when it is closed"
)
def test_a_run_whose_end_could_not_be_written_down(box):
    """Its monitor found no byte left, nor any set aside: others still list, and it can be removed."""
    box.estiva("run", "-d", "--name", "unlucky", "--network", "none", IMAGE, "sleep", "1000")
    reserve = f"{box.inside}/root/estiva.db.reserve"
    if os.path.exists(reserve):
        os.unlink(reserve)
    box.estiva("exec", "unlucky", "sh", "-c", "dd if=/dev/zero of=/big bs=64k; true")
    assert box.free() == 0
    box.estiva("kill", "unlucky", status=None)
    eventually(lambda: "Exited (137)" in box.out("ps", "-a", "--format", "{{.Status}}"))
    state = box.out("inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}", "unlucky")
    assert state == "exited false 137"
    box.estiva("rm", "unlucky")
    assert box.free() > ROOM
    well(box)


def test_a_container_that_fills_the_disk(box):
    """It meets the full disk itself; how it ended is still known."""
    fill = "dd if=/dev/zero of=/big bs=1M count=100; echo ended $?; exit 3"
    done = box.estiva("run", "--name", "greedy", "--network", "none", IMAGE, "sh", "-c", fill, status=3)
    assert "ended 1" in done.stdout and "No space left" in done.stderr
    assert box.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "greedy") == "exited 3"
    box.estiva("rm", "greedy")
    well(box)


def test_a_log_that_fills_the_disk(box):
    """The container goes on without a log, which has no half line in the middle when there is space again."""
    script = "while [ ! -e /dev/shm/stop ]; do echo $(seq 500); done; echo end"
    box.fill(200 << 10)
    box.estiva("run", "-d", "--name", "chatty", "--network", "none", IMAGE, "sh", "-c", script)
    # how much stays free depends on how much came at once: what does not fit is left out whole
    # (who looks in the moment in which the last blocks go may not get those that SQLite needs to read)
    eventually(
        lambda: (
            "bytes of output are missing" in box.estiva("logs", "--tail", "1", "chatty", status=None).stderr
        )
    )
    box.make_space()
    eventually(lambda: os.path.getsize(log_of(box)) > 300 << 10)
    assert "bytes of output are missing here: no space left on device" in box.estiva("logs", "chatty").stderr
    assert box.out("ps", "-q")
    box.estiva("exec", "chatty", "touch", "/dev/shm/stop")
    assert box.out("wait", "chatty") == "0"
    lines = box.out("logs", "chatty").splitlines()
    whole = " ".join(map(str, range(1, 501)))
    assert lines[-1] == "end" and set(lines[:-1]) == {whole}
    box.estiva("rm", "chatty")
    well(box)


def log_of(box):
    return f"{box.inside}/root/containers/{box.out('inspect', '-f', '{{.Id}}', 'chatty')}/log.json"


@pytest.mark.parametrize("detach", [(), ("-d",)])
def test_a_full_run_root(box, detach):
    before = content(box)
    box.fill(0, "run")
    words = ("run", "--rm", *detach, "--network", "none", IMAGE, "true")
    assert "no space left" in one_line(box.estiva(*words, status=125).stderr)
    box.make_space("run")
    assert content(box) == before and not os.listdir(f"{box.inside}/run/containers")
    well(box)
    box.estiva(*words)
    eventually(lambda: content(box) == before)


def test_no_inodes_left_in_the_run_root(box):
    made = []
    folder = f"{box.inside}/run/many"
    os.mkdir(folder)
    subprocess.run([*box.prefix, "mount", "-o", "remount,nr_inodes=60", f"{box.folder}/run"], check=True)
    try:
        while len(made) < 100:
            made.append(f"{folder}/{len(made)}")
            os.close(os.open(made[-1], os.O_CREAT | os.O_WRONLY))
    except OSError:
        made.pop()
    words = ("run", "--rm", "--network", "none", IMAGE, "true")
    assert "no space left" in one_line(box.estiva(*words, status=125).stderr)
    for path in made:
        os.unlink(path)
    os.rmdir(folder)
    box.estiva(*words)
    well(box)


def without_reserve(box):
    """As after others have taken what was set aside when it was given up."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{box.inside}/root/estiva.db.reserve")
    box.fill(0)


@pytest.mark.parametrize(
    "words",
    [("rmi", "spare:1"), ("rm", "idle"), ("volume", "rm", "spare"), ("system", "prune", "-f")],
    ids=" ".join,
)
def test_with_the_reserve_spent_things_can_still_be_removed(box, words):
    """The database's log is written anew over what it has on the disk."""
    box.estiva("create", "--name", "idle", "--network", "none", IMAGE, "true")
    box.estiva("tag", IMAGE, "spare:1")
    box.estiva("volume", "create", "spare")
    box.estiva("system", "check")  # the database has grown to its size
    for n in range(8):
        box.estiva("tag", IMAGE, f"t{n}:1")
    without_reserve(box)
    box.estiva(*words)
    box.make_space()
    well(box)
    for name in ("spare:1", *(f"t{n}:1" for n in range(8))):
        box.estiva("rmi", name, status=None)
    box.estiva("rm", "idle", status=None)
    box.estiva("volume", "rm", "-f", "spare")
    assert os.path.exists(f"{box.inside}/root/estiva.db.reserve")  # there again with the first space


KEEP_THE_LOG = """
import os
from estiva.store import reserve
reserve.make_room = lambda *_: None  # and nothing else is left to give up
from estiva.engine import Engine
from estiva.engine.containers import control
from estiva.errors import Unavailable
try:
    control.remove(Engine(), "{name}")
except Unavailable as error:
    print(error)
"""


def in_python(box, code):
    python = str(CHECKOUT / ".venv/bin/python3")
    env = {**box.env, "PYTHONPATH": str(CHECKOUT / "src")}
    return subprocess.run(
        [*box.prefix, python, "-c", code], env=env, check=True, capture_output=True, text=True
    ).stdout


WRITE = "cat /file 2>/dev/null; echo precious >/file"


def test_a_removal_that_can_not_be_written_down_destroys_nothing(box):
    """What the container has is too little to make room, so it stays."""
    box.estiva("run", "--name", "small", "--network", "none", IMAGE, "sh", "-c", WRITE)
    without_reserve(box)
    assert "no space left" in in_python(box, KEEP_THE_LOG.format(name="small"))
    box.make_space()
    well(box)
    assert box.out("start", "-a", "small") == "precious"
    box.estiva("rm", "small")


def test_a_removal_that_stopped_between_files_and_rows_is_finished(box):
    container(box)
    without_reserve(box)
    code = KEEP_THE_LOG.replace("from estiva.store import reserve", LIKE_A_KILL)
    with pytest.raises(subprocess.CalledProcessError):
        in_python(box, code.format(name="big"))
    assert box.free() > BIG
    box.make_space()
    assert "whose removal was cut short: removed" in box.out("system", "check")
    assert box.out("ps", "-aq") == ""
    well(box)


LIKE_A_KILL = """from estiva.store import containers, reserve
def killed(*args, **more): os._exit(9)
from estiva.engine.state import teardown
first = teardown.remove_rows
def once(*args):
    teardown.remove_rows = killed
    return first(*args)
teardown.remove_rows = once"""
