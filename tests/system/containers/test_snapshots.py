"""Snapshots: what a container has written becomes a state, from which any number of others begin."""

import os

import pytest

from enginekit import eventually, host
from killkit import assert_nothing_left

BEGIN = "import estiva, os\nengine = estiva.Engine()\n"


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made
        assert_nothing_left(made)


def states(box):
    try:
        return sorted(os.listdir(f"{box.folder}/root/states"))
    except FileNotFoundError:
        return []


FILES = """
    mkdir -p /d/e /gone /kept; echo one >/d/one; echo deep >/d/e/deep; ln /d/one /d/hard; ln -s one /d/soft
    mkfifo /d/fifo 2>/dev/null; mknod /d/fifo p; chmod 4751 /d/one; chown 1000:2000 /d/e; rm /etc/group; rm -r /home
    mkdir /home; echo new >/home/new; printf hole >/d/sparse; dd if=/dev/zero of=/d/sparse bs=1 count=1 seek=5000000
"""
LOOK = "cd /; find d home etc/group -exec stat -c '%n %a %u %g %s %h %F' {} +; cat d/one d/e/deep home/new; ls -l /d/soft"


@pytest.mark.parametrize("how", ["idle", "busy", "stopped"])
def test_a_box_from_a_snapshot_is_as_its_container_was(box, how):
    out = box.python(
        BEGIN
        + f"""
with engine.containers.create("box:1", "sleep 1000", network="none") if {how!r} != "idle" else estiva.container("box:1", network="none") as made:
    made.start()
    made.exec(["sh", "-c", {FILES!r}])
    before = made.exec(["sh", "-c", {LOOK!r}]).stdout
    changes = made.diff()
    if {how!r} == "stopped": made.stop(0)
    state = made.snapshot()
    print(state.inspect()["Copied"])
    if {how!r} == "stopped": made.start()
    print(made.exec(["sh", "-c", {LOOK!r}]).stdout == before, made.diff() == changes)
    made.exec(["sh", "-c", "echo more >>/d/one; rm /home/new; echo y >/y"]).check()
    with estiva.container(state, network="none") as other, estiva.container(state, network="none") as third:
        found = other.exec(["sh", "-c", {LOOK!r}]).stdout
        print(found == before or (before.decode(), found.decode()), other.diff() == changes)
        other.exec(["sh", "-c", "rm -r /d; echo z >/z"]).check()
        print(third.exec(["sh", "-c", {LOOK!r}]).stdout == before)
        print(made.exec(["cat", "/d/one", "/y"]).output.split(), made.exec("test -e /z").status)
"""
    )
    assert out.split("\n") == [
        str(how == "busy"),
        "True True",
        "True True",
        "True",
        "['one', 'more', 'y'] 1",
        "",
    ]
    assert not states(box), box.db("SELECT * FROM states") + box.db("SELECT * FROM state_users")


def test_a_fork_of_a_fork(box):
    out = box.python(
        BEGIN
        + """
with estiva.container("box:1", network="none", memory="48m", env={"A": "b"}, name="first", hostname="h") as first:
    first.exec(["sh", "-c", "echo 1 >/1"]).check()
    with first.fork() as second:
        second.exec(["sh", "-c", "echo 2 >/2; rm /1"]).check()
        with second.fork() as third:
            first.exec(["sh", "-c", "echo again >/1"]).check()
            print(third.exec(["sh", "-c", "ls /1; cat /2; echo $A $(hostname)"]).output.split())
            print(third.inspect()["HostConfig"]["Memory"] >> 20, third.name != "first", third.diff())
            image = third.commit("of-three:1")
    print(len(engine.images.get("of-three:1").attrs["RootFS"]["Layers"]))
    print(estiva.run("of-three:1", ["sh", "-c", "cat /2; ls /1"], network="none").output.split())
engine.images.get("of-three:1").remove()
"""
    )
    assert out.splitlines() == ["['2', 'b', 'h']", "48 True [Change(kind='A', path='/2')]", "2", "['2']"]
    assert not states(box)


def test_names(box):
    out = box.python(
        BEGIN
        + """
with estiva.container("box:1", network="none") as made:
    made.exec(["sh", "-c", "echo 1 >/1"]).check()
    made.snapshot("ready")
    for call in (lambda: made.snapshot("ready"), lambda: made.snapshot("box:1"), lambda: made.snapshot("../up"), lambda: made.snapshot("Up"),
                 lambda: made.snapshot(7), lambda: engine.snapshots.get("no-such"),
                 lambda: engine.images.get("box:1").remove()):
        try: call()
        except estiva.EstivaError as error: print(type(error).__name__, error)
print([one.name for one in engine.snapshots.list()], engine.snapshots.get("ready") == engine.snapshots.list()[0])
print(estiva.run("ready", "cat /1", network="none").output, engine.system.df()["snapshots"]["count"])
"""
    )
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:7]] == [
        "Conflict", "InvalidInput", "InvalidInput", "InvalidInput", "InvalidInput", "NotFound", "Conflict"
    ]  # fmt: skip
    assert "in use by container" in lines[6]
    assert lines[7:] == ["['ready'] True", "1", " 1"]
    assert "in use by snapshot ready" in box.estiva("rmi", "box:1", status=1).stderr
    assert box.out("run", "--rm", "--network", "none", "ready", "cat", "/1") == "1"
    box.estiva("run", "-d", "--name", "on", "--network", "none", "ready", "sleep", "1000")
    box.estiva("snapshot", "rm", "ready")
    assert box.out("snapshot", "ls", "-q") == "" and len(states(box)) == 1
    box.estiva("restart", "-t", "0", "on")
    assert box.out("exec", "on", "cat", "/1") == "1"
    box.estiva("rm", "-f", "on")
    assert not states(box)
    assert "no such snapshot" in box.estiva("snapshot", "rm", "ready", status=1).stderr


def test_many_below_each_other_are_joined(box):
    out = box.python(
        BEGIN
        + """
from estiva.engine.containers.snapshots import snapshot
snapshot.MOST = 4
with estiva.container("box:1", network="none") as made:
    for number in range(11):
        made.exec(["sh", "-c", f"mkdir -p /d; rm -f /d/{number - 3}; echo {number} >/d/{number}; echo {number} >/last"]).check()
        state = made.snapshot()
        with estiva.container(state, network="none") as other:
            print(number, len(other.inspect()["States"]), other.exec(["sh", "-c", "echo $(ls /d | sort -n) $(cat /last)"]).output, end="")
"""
    )
    rows = [line.split() for line in out.splitlines()]
    for number, row in enumerate(rows):
        assert row[0] == str(number) and row[2:] == [
            *map(str, range(max(0, number - 2), number + 1)),
            str(number),
        ]
    assert max(int(row[1]) for row in rows) == 4
    assert not states(box)


def test_in_a_user_namespace(box):
    out = box.python(
        BEGIN
        + """
with estiva.container("box:1", network="none", userns="auto") as made:
    made.exec(["sh", "-c", "echo 1 >/1; chown 1000 /1"]).check()
    state = made.snapshot()
    print(state.inspect()["Copied"], made.exec(["stat", "-c", "%u", "/1"]).output.strip())
    for userns in ("auto", None):
        with estiva.container(state, network="none", userns=userns) as other:
            print(other.exec(["stat", "-c", "%u", "/1"]).output.strip(), other.exec(["sh", "-c", "rm /1; echo n >/n"]).status)
"""
    )
    assert out.splitlines() == ["False 1000", "1000 0", "1000 0"]
    assert not states(box)


def test_a_file_of_it_is_open_on_the_host(box):
    """The old root is in use: all is put back, and a copy is made."""
    out = box.python(
        BEGIN
        + """
with estiva.container("box:1", network="none") as made:
    made.exec(["sh", "-c", "echo 1 >/1"]).check()
    held = os.open(f"/proc/{made.inspect()['State']['Pid']}/root/1", os.O_RDWR)
    mounts = lambda: sorted(line.split(" ", 2)[2] for line in made.exec(["cat", "/proc/self/mountinfo"]).output.splitlines())
    before = mounts()
    state = made.snapshot()
    print(state.inspect()["Copied"], mounts() == before)
    os.write(held, b"2")
    print(made.exec("cat /1").output.strip())
    with estiva.container(state, network="none") as other: print(other.exec("cat /1").output.strip())
"""
    )
    assert out.splitlines() == ["True True", "2", "1"]


def test_a_kill_at_any_moment(box):
    """Of the program that makes a snapshot of a container that is not its own: whatever is half done then, the
    container goes on with all that it has written, and nothing is left of what came to nothing."""
    box.estiva(
        "run",
        "-d",
        "--init",
        "--name",
        "goes-on",
        "--network",
        "none",
        "box:1",
        "sh",
        "-c",
        "echo 1 >/1; exec sleep 1000",
    )
    code = (
        BEGIN
        + """
kept = engine.containers.run("box:1", "true", detach=True, network="none")
block = estiva.container("box:1", network="none", name="idle", keep=True)
with block as made: made.exec(["sh", "-c", "echo 1 >/1"]).check()
"""
    )
    box.python(code)
    for step in ("taken.keep", "taken.settle", "reroot.reroot", "merge.merge", "_ahead", "renames"):
        for name in ("idle", "goes-on"):
            box.python(
                BEGIN
                + f"""
from estiva.engine.containers.snapshots import snapshot, taken
from estiva.store.layers import merge
import signal
step = {step!r}
def killed(*arguments, **options):
    real(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
owner = {{"taken.keep": taken, "taken.settle": taken, "reroot.reroot": snapshot.reroot, "merge.merge": merge, "_ahead": snapshot, "renames": os}}[step]
attribute = {{"renames": "rename"}}.get(step) or step.rpartition(".")[2]
real = getattr(owner, attribute)
if step == "renames":
    count = 0
    def killed(*arguments, **options):
        global count
        real(*arguments, **options)
        count += 1
        if count == 3: os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, attribute, killed)
engine.containers.get({name!r}).snapshot()
""",
                status=None,
            )
            box.estiva("exec", name, "sh", "-c", f"cat /1; echo {step} >>/more")
        box.estiva("system", "check")
        for name in ("idle", "goes-on"):
            assert box.out("exec", name, "sh", "-c", "cat /1; tail -n 1 /more").split() == ["1", step], name
    box.estiva("restart", "-t", "0", "goes-on")
    for name in ("idle", "goes-on"):
        assert len(box.out("exec", name, "cat", "/more").splitlines()) == 6
        box.estiva("rm", "-f", name)
    box.estiva("container", "prune", "-f")
    box.estiva("system", "check")
    assert not states(box)


def test_snapshots_while_others_run_commands(box):
    out = box.python(
        BEGIN
        + """
import threading
with estiva.container("box:1", network="none") as made:
    stop, failed, done = threading.Event(), [], [0]
    def work(number):
        while not stop.is_set():
            try:
                made.exec(["sh", "-c", f"echo x >>/f{number}"]).check(); done[0] += 1
            except Exception as error: failed.append(repr(error))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for each in threads: each.start()
    for _ in range(12):
        state = made.snapshot()
        with estiva.container(state, network="none") as other: other.exec("true").check()
    stop.set()
    for each in threads: each.join()
    print(failed, done[0] == sum(map(int, made.exec(["sh", "-c", "cat /f* | wc -l"]).output.split())))
"""
    )
    assert out == "[] True\n"
    assert not states(box), (
        box.db("SELECT id, name FROM states"),
        box.db("SELECT * FROM state_users"),
        box.out("ps", "-aq"),
    )


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("step", ["move", "pivot", "umount", "end"])
def test_a_kill_between_two_roots(box, step, alone):
    """Of the process in between, `alone` or with the program: the container ends, with all that it has written."""
    box.python(
        BEGIN
        + """
with estiva.container("box:1", network="none", name="between", keep=True) as made: made.exec(["sh", "-c", "echo 1 >/1"]).check()
"""
    )
    said = box.python(
        BEGIN
        + f"""
from estiva.engine.containers.snapshots import snapshot
from estiva.linux import mount
import signal
step, alone = {step!r}, {alone!r}
me = os.getpid()
def killing(real):
    def call(*arguments, **options):
        if step != "umount": real(*arguments, **options)
        if os.getpid() != me: os.kill(os.getpid(), signal.SIGKILL)
    return call
if step == "end":
    mount.umount2 = killing(mount.umount2)
else:
    name = {{"move": "move_mount", "pivot": "pivot_root", "umount": "umount2"}}[step]
    setattr(mount, name, killing(getattr(mount, name)))
real = snapshot.reroot.reroot
def reroot(*arguments):
    try: return real(*arguments)
    except snapshot.reroot.Lost:
        if not alone: os.kill(me, signal.SIGKILL)
        raise
snapshot.reroot.reroot = reroot
try: engine.containers.get("between").snapshot()
except estiva.EstivaError as error: print(error)
""",
        status=None,
    )
    assert ("was ended: its root filesystem was lost" in said) == alone
    box.estiva("system", "check")
    box.estiva("system", "check")
    if alone or step != "end":
        eventually(lambda: box.out("inspect", "-f", "{{.State.Status}}", "between") == "exited")
    box.estiva("commit", "between", "of-between:1")
    assert box.out("run", "--rm", "--network", "none", "of-between:1", "cat", "/1") == "1"
    box.estiva("rm", "-f", "between")
    box.estiva("rmi", "of-between:1")
    assert not states(box)
