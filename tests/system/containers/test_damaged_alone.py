"""What is damaged of one container is no reason for others to stop, is named by the check, and goes with rm -f.
What a lost database knew is adopted.
"""

import json
import os
import shutil
import signal
import sqlite3

import pytest

from enginekit import IMAGE, eventually, host

NONE = ("--network", "none")


@pytest.fixture(scope="module")
def box():
    """With a container that is well, and stays so."""
    with host() as made:
        made.estiva("run", "-d", "--name", "other", *NONE, IMAGE, "sleep", "1000")
        yield made


@pytest.fixture(autouse=True)
def other(request):
    yield
    if "box" in request.fixturenames:
        assert request.getfixturevalue("box").out("exec", "other", "echo", "alive") == "alive"


def edited(box, sql, *values):
    connection = sqlite3.connect(f"{box.folder}/root/estiva.db", isolation_level=None)
    connection.execute(sql, values)
    connection.close()


RECORDS = {
    "text": "{nonsense",
    "empty": "",
    "list": "[]",
    "number": "7",
    "no config": '{"Id": "x"}',
    "bare": "{}",
    "deep": "[" * 10000,
    "null": "null",
}


@pytest.mark.parametrize(
    ("record", "running"),
    [*((record, False) for record in RECORDS), *((record, True) for record in ("text", "no config", "list"))],
    ids=lambda given: given if isinstance(given, str) else ("created", "running")[given],
)
def test_a_broken_row(box, record, running):
    start = ("run", "-d") if running else ("create",)
    broken = box.out(*start, "--name", "broken", *NONE, IMAGE, "sleep", "1000")
    edited(box, "UPDATE containers SET record = ? WHERE id = ?", RECORDS[record], broken)
    done = box.estiva("ps", "-a", "--format", "{{.Names}}")
    assert done.stdout == "other\n"
    assert f"WARNING: the record of container {broken[:12]} is " in done.stderr
    assert box.out("exec", "other", "echo", "alive") == "alive"
    assert box.out("run", "--rm", *NONE, IMAGE, "echo", "new") == "new"
    box.estiva("images")
    box.estiva("info")
    box.estiva("system", "df")
    checked = box.estiva("system", "check", status=1)
    assert f"problem: the record of container {broken[:12]} is " in checked.stdout
    assert box.estiva("rm", "broken", status=1).stderr.startswith("estiva: the record of container ")
    assert box.out("rm", "-f", "broken") == "broken"
    assert box.out("ps", "-a", "--format", "{{.Names}}") == "other"
    assert not [path for path in box.cgroups() if broken in str(path)]
    assert not os.path.exists(f"{box.folder}/run/containers/{broken}")
    assert box.out("system", "check") == "all is well"


def cut(path):
    os.truncate(path, os.path.getsize(path) // 2)


def garble(path):
    with open(path, "wb") as file:
        file.write(b"\xa5" * 100)


def folder(path):
    os.unlink(path)
    os.mkdir(path)


def loop(path):
    os.unlink(path)
    os.symlink(path, path)


def fifo(path):
    os.unlink(path)
    os.mkfifo(path)


def bare(path):
    with open(path, "w") as file:
        file.write("{}")


@pytest.mark.parametrize(
    "damage", [cut, garble, folder, loop, fifo, bare], ids=lambda damage: damage.__name__
)
def test_a_broken_run_state(box, damage):
    broken = box.out("run", "-d", "--name", "broken", *NONE, IMAGE, "sleep", "1000")
    damage(f"{box.folder}/run/containers/{broken}/state.json")
    assert sorted(box.out("ps", "--format", "{{.Names}}").split()) == ["broken", "other"]
    assert box.out("exec", "other", "echo", "alive") == "alive"
    assert "state.json" in box.estiva("exec", "broken", "true", status=None).stderr
    up = box.out("ps", "--filter", "name=broken", "--format", "{{.Status}}")
    assert up.startswith("Up ") and up.endswith((" second", " seconds", "a second"))
    for verb in ("stop", "kill"):
        told = box.estiva(verb, "broken", status=1).stderr
        assert "state.json" in told and told.endswith("hint: `estiva rm -f` ends and removes the container\n")
    assert f"container {broken[:12]} runs, but " in box.estiva("system", "check", status=1).stdout
    assert box.out("rm", "-f", "broken") == "broken"
    assert not [path for path in box.cgroups() if broken in str(path)]
    assert box.out("system", "check") == "all is well"


def test_stray_files(box):
    """A file where folders are, a folder where links are: swept, and nobody stumbles over them meanwhile."""
    for path in ("run/containers/stray", "root/containers/stray", "run/names/stray", "root/layers/stray"):
        with open(f"{box.folder}/{path}", "w"):
            pass
    os.mkdir(f"{box.folder}/run/names/folder")
    os.mkfifo(f"{box.folder}/run/containers/fifo")
    os.symlink("/etc", f"{box.folder}/run/containers/link")
    assert box.out("ps", "--format", "{{.Names}}") == "other"
    box.estiva("run", "--rm", *NONE, IMAGE, "true")
    assert "all is well" in box.out("system", "check")
    assert sorted(os.listdir(f"{box.folder}/run/names")) == ["other"]
    assert os.path.exists("/etc/passwd")


@pytest.fixture
def lonely():
    """One whose database is lost."""
    with host() as made:
        made.estiva("volume", "create", "kept")
        made.estiva("run", "--rm", *NONE, "-v", "kept:/v", IMAGE, "sh", "-c", "echo mine >/v/file")
        made.web = made.out(
            "run",
            "-d",
            "--name",
            "web",
            "-e",
            "A=b",
            "-v",
            "kept:/v",
            "-v",
            "/anonymous",
            IMAGE,
            "sleep",
            "1000",
        )
        made.estiva("exec", "web", "sh", "-c", "echo layer >/own; echo anonymous >/anonymous/file")
        made.estiva("create", "--name", "idle", *NONE, IMAGE, "true")
        made.estiva("run", "--name", "wrote", *NONE, IMAGE, "sh", "-c", "echo precious >/file")
        made.wrote = made.out("ps", "-aq", "--no-trunc", "--filter", "name=wrote")
        yield made


def lose(box, how):
    for name in os.listdir(f"{box.folder}/root"):
        if name.startswith("estiva.db"):
            os.unlink(f"{box.folder}/root/{name}")
    if how == "garbage":
        with open(f"{box.folder}/root/estiva.db", "wb") as file:
            file.write(b"\xa5" * 100_000)
    elif how == "empty":
        with open(f"{box.folder}/root/estiva.db", "wb"):
            pass


@pytest.mark.parametrize("how", ["deleted", "garbage", "empty"])
def test_a_lost_database(lonely, how):
    box = lonely
    lose(box, how)
    for words in (("system", "check"), ("system", "prune", "-af", "--volumes")):
        told = box.estiva(*words, status=1)
        assert "`estiva system check --repair`" in told.stdout + told.stderr
    assert os.path.exists(f"{box.folder}/root/volumes/kept/_data/file")
    done = box.estiva("system", "check", "--repair")
    assert "repaired: volume kept: adopted\n" in done.stdout
    assert f"repaired: container {box.web[:12]} (web), which runs: adopted\n" in done.stdout
    assert done.stdout.endswith("all is well\n")
    assert ("it is in " in done.stdout) == (how == "garbage")
    assert box.out("ps", "--format", "{{.Names}} {{.Status}}").startswith("web Up")
    assert box.out("exec", "web", "cat", "/own", "/v/file", "/anonymous/file").split() == [
        "layer",
        "mine",
        "anonymous",
    ]
    assert box.out("inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", "web").count("A=b") == 1
    mounts = box.out("inspect", "-f", "{{range .Mounts}}{{.Destination}} {{end}}", "web").split()
    assert sorted(mounts) == ["/anonymous", "/v"]
    assert "kept" in box.out("volume", "ls", "-q").split()
    assert "in use" in box.estiva("volume", "rm", "kept", status=1).stderr
    with open(f"{box.folder}/root/lost/{box.wrote}/upper/file") as file:
        assert file.read() == "precious\n"
    # a new one gets another address, and the layers that were adopted need not come again
    box.import_busybox()
    first = box.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web")
    second = box.out("run", "--rm", IMAGE, "hostname", "-i")
    assert first and first not in second
    box.estiva("stop", "-t", "0", "web")
    assert box.out("ps", "-a", "--format", "{{.Names}} {{.State}}") == "web exited"
    box.estiva("rm", "web")
    assert box.out("system", "check", "--deep") == "all is well"


def test_what_containers_run_on_is_not_touched():
    """Layers of the dir driver are folders that overlays lie on: they wait until nothing runs."""
    with host("dir") as box:
        box.estiva("run", "-d", "--name", "web", *NONE, IMAGE, "sleep", "1000")
        lose(box, "deleted")
        done = box.estiva("system", "check", "--repair", status=1)
        assert "(web), which runs: adopted" in done.stdout
        assert "again once they have ended" in done.stdout
        assert box.out("exec", "web", "echo", "alive") == "alive"
        assert "again once they have ended" in box.estiva("system", "prune", "-af", status=1).stderr
        assert box.out("exec", "web", "cat", "/etc/group")
        box.estiva("rm", "-f", "web")
        assert box.out("system", "check", "--repair").endswith("all is well")
        assert box.out("system", "check", "--deep") == "all is well"


def test_a_new_root_is_no_lost_database(tmp_path):
    with host() as made:
        shutil.rmtree(f"{made.folder}/root")
        assert made.out("system", "check") == "all is well"


def test_a_broken_row_of_one_whose_monitor_was_killed(box):
    broken = box.out("run", "-d", "--name", "broken", *NONE, IMAGE, "sleep", "1000")
    edited(box, "UPDATE containers SET record = '{' WHERE id = ?", broken)
    with open(f"{box.folder}/run/containers/{broken}/state.json") as file:
        os.kill(json.load(file)["monitor"], signal.SIGKILL)
    assert box.out("ps", "-a", "--format", "{{.Names}}") == "other"
    assert (
        f"problem: the record of container {broken[:12]} is "
        in box.estiva("system", "check", status=1).stdout
    )
    box.estiva("rm", "-f", "broken")
    assert box.out("system", "check") == "all is well"
    assert not [path for path in box.cgroups() if broken in str(path)]


@pytest.mark.parametrize("record", ["{}", '{"Id": "x"}'])
def test_the_end_of_a_run_whose_row_is_broken(box, record):
    """Its monitor can't write down how it ended, but that it did."""
    broken = box.out("run", "-d", "--name", "broken", *NONE, IMAGE, "sleep", "1000")
    edited(box, "UPDATE containers SET record = ? WHERE id = ?", record, broken)
    with open(f"{box.folder}/run/containers/{broken}/state.json") as file:
        os.kill(json.load(file)["pid"], signal.SIGKILL)
    eventually(lambda: box.db("SELECT status FROM containers WHERE name = 'broken'") == [("exited",)])
    assert box.out("ps", "-a", "--format", "{{.Names}}") == "other"
    box.estiva("rm", "-f", "broken")
    assert box.out("system", "check") == "all is well"


FORGED = """
V=$(ls /names); mkdir -p /t "/v x" && mount -t tmpfs t /t && mkdir -p /t/volumes/$V/_data && touch /t/volumes/$V/_data/no
mount -o bind /t/volumes/$V/_data "/v x"; echo ready; exec sleep 1000
"""


def test_a_container_has_no_volume_by_what_it_has_mounted_itself():
    """Nor by a folder of the host's that is called as volumes are."""
    with host() as box:
        box.estiva("volume", "create", "web")
        box.estiva("volume", "create", "my")
        with open(f"{box.folder}/root/volumes/web/_data/file", "w") as file:
            file.write("precious")
        os.makedirs(f"{box.folder}/srv/volumes/web/_data")
        os.makedirs(f"{box.folder}/names/web")
        options = ("--userns", "auto", "--cap-add", "SYS_ADMIN", "-v", f"{box.folder}/names:/names")
        evil = box.out("run", "-d", "--name", "evil", *NONE, *options, IMAGE, "sh", "-c", FORGED)
        like = f"{box.folder}/srv/volumes/web/_data:/x"
        box.estiva("run", "-d", "--name", "alike", *NONE, "-v", like, "-v", "my:/a b", IMAGE, "sleep", "1000")
        eventually(lambda: box.out("logs", evil) == "ready")
        lose(box, "deleted")
        box.estiva("system", "check", "--repair")
        show = "{{range .Mounts}}{{.Name}}={{.Destination}};{{end}}"
        assert [box.out("inspect", "-f", show, name) for name in ("evil", "alike")] == ["", "my=/a b;"]
        box.estiva("rm", "-fv", "evil", "alike")
        with open(f"{box.folder}/root/volumes/web/_data/file") as file:
            assert file.read() == "precious"
