"""`system reset`: everything goes, nothing that is not Estiva's does, and killed in the middle it is run again."""

import contextlib
import json
import os
import pathlib
import pty
import subprocess
import time

import pytest

from enginekit import ESTIVA, IMAGE, Host, eventually
from killkit import kill, moved_away
from ocikit import gone

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def box():
    made = Host()
    try:
        fill(made)
        yield made
    except BaseException:
        made.tear_down()
        raise
    made.close()


def fill(box):
    """Containers that run, are paused, have ended; a network with a published port; volumes, a build, a second name."""
    box.lay_image()
    box.estiva(
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "8080:80",
        "-v",
        "data:/data",
        "-v",
        "/anonymous",
        IMAGE,
        "sleep",
        "600",
    )
    box.estiva("run", "-d", "--name", "held", "--network", "none", IMAGE, "sleep", "600")
    box.estiva("pause", "held")
    box.estiva("run", "--name", "ended", "--network", "none", IMAGE, "true")
    (context := pathlib.Path(box.folder, "context")).mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /f\n")
    box.estiva("build", "-q", "-t", "built:1", str(context))
    box.estiva("manifest", "create", "list:1", IMAGE)
    box.estiva("snapshot", "create", "held", "kept")


def left(box):
    """What is still there of an engine: folders, cgroups, mounts, interfaces, the firewall's table, processes."""
    run = lambda *words: subprocess.run([*box.prefix, *words], capture_output=True, text=True).stdout  # noqa: E731
    places = [place for place in ("root", "run") if os.path.lexists(f"{box.folder}/{place}")]
    tops = ["/sys/fs/cgroup", *map(str, pathlib.Path("/sys/fs/cgroup").glob("*/"))]
    return (
        places
        + [top + box.cgroup for top in tops if os.path.isdir(top + box.cgroup)]
        + box.mounts()
        + [line for line in run("ip", "-o", "link").splitlines() if "estiva" in line or ": ve" in line]
        + [line for line in run("nft", "list", "tables").splitlines() if "estiva" in line]
    )


def tree(folder):
    return sorted(str(path) for path in pathlib.Path(folder).rglob("*"))


def test_everything_goes(box):
    done = box.estiva("system", "reset", "--force")
    assert left(box) == []
    said = done.stderr.splitlines()
    assert said[0] == "This removes"
    for line in (
        "3 containers, of which 2 run",
        "volumes with their files",
        "the bridge estiva0",
        f"{box.folder}/root and",
    ):
        assert any(line in each for each in said), line
    assert done.stdout.startswith("Total reclaimed space: ")
    done = box.estiva("system", "reset", "-f", status=1)
    assert done.stderr == f"estiva: there is nothing to reset: {box.folder}/root is not there\n"
    assert left(box) == []
    box.import_busybox()  # and it begins anew
    assert box.out("run", "--rm", "--network", "none", IMAGE, "echo", "again") == "again"


def on_terminal(box, typed):
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [*box.prefix, ESTIVA, "system", "reset"], stdin=slave, stdout=slave, stderr=slave, env=box.env
    )
    os.close(slave)
    os.write(master, typed)
    shown = b""
    with contextlib.suppress(OSError):
        while data := os.read(master, 4096):
            shown += data
    os.close(master)
    return child.wait(300), shown.decode()


def test_it_asks_first(box):
    done = box.estiva("system", "reset", status=1)
    assert done.stderr == "estiva: nobody can be asked here\nhint: --force removes without asking\n"
    for typed in (b"n\n", b"\n", b"yess\n", b"\x04"):
        status, shown = on_terminal(box, typed)
        assert status == 1 and "Are you sure you want to continue? [y/N]" in shown
    assert box.out("inspect", "-f", "{{.State.Status}}", "web", "held", "ended").split() == [
        "running",
        "paused",
        "exited",
    ]
    status, shown = on_terminal(box, b"y\n")
    assert status == 0 and left(box) == []


def refused(box, *words, says, folder=None, **options):
    before = tree(folder or f"{box.folder}/root")
    done = box.estiva(*words, status=1, **options)
    assert done.stderr.startswith(f"estiva: {says}"), done.stderr
    assert tree(folder or f"{box.folder}/root") == before
    assert box.out("inspect", "-f", "{{.State.Status}}", "web") == "running"


def test_a_root_that_is_not_estiva_s(box, tmp_path):
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "volumes").mkdir()
    (tmp_path / "containers").write_text("a file of somebody's")
    (tmp_path / "run").symlink_to(box.env["ESTIVA_RUN_ROOT"])
    words = ("--root", tmp_path, "system", "reset", "-f")
    refused(
        box, *words, says=f"{tmp_path} is not a state root of Estiva's\nhint: --root DIR", folder=tmp_path
    )
    (tmp_path / "reset").write_text("no mark")
    refused(box, *words, says=f"{tmp_path} is not a state root of Estiva's\n", folder=tmp_path)
    refused(
        box, "--root", "/etc", "system", "reset", "-f", says="/etc is not a state root", folder="/etc/ssl"
    )
    missing = tmp_path / "nothing"
    refused(
        box, "--root", missing, "system", "reset", "-f", says="there is nothing to reset", folder=tmp_path
    )


def test_another_engine_s_run_root(box, tmp_path):
    """Or its containers would be killed."""
    other = ("--root", tmp_path / "mine", "--run-root", tmp_path / "run")
    box.estiva(*other, "ps")
    words = ("--root", tmp_path / "mine", "system", "reset", "-f")
    refused(box, *words, says=f"{tmp_path}/mine is in use with the run root {tmp_path}/run", folder=tmp_path)
    box.estiva(*other, "system", "reset", "-f")
    assert not list(tmp_path.iterdir())
    assert box.out("inspect", "-f", "{{.State.Status}}", "web") == "running"
    box.estiva("system", "reset", "-f")


def test_what_is_mounted_in_it(box, tmp_path):
    (tmp_path / "precious").write_text("mine")
    place = box.out("volume", "inspect", "-f", "{{.Mountpoint}}", "data")
    subprocess.run(["mount", "--bind", tmp_path, place], check=True)
    try:
        refused(box, "system", "reset", "-f", says=f"{place} is mounted in {box.folder}/root\nhint: umount")
    finally:
        subprocess.run(["umount", place], check=True)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_registry_that_is_served_from_it(box):
    server = box.start("registry", "serve", "--listen", "127.0.0.1:0", stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline()
    refused(
        box,
        "system",
        "reset",
        "-f",
        says=f"{box.folder}/root/registry is being served\nhint: stop the server first",
    )
    server.terminate()
    server.wait(120)
    server.stdout.close()
    done = box.estiva("system", "reset", "-f")
    assert f"all that the registry in {box.folder}/root/registry keeps" in done.stderr
    assert left(box) == []


def test_what_somebody_else_put_there_stays(box):
    for place in ("root/diary.txt", "run/oci"):
        pathlib.Path(box.folder, place).write_text("mine")
    done = box.estiva("system", "reset", "-f")
    for place in ("root/diary.txt", "run/oci"):
        assert f"kept: {box.folder}/{place}, which is not Estiva's\n" in done.stderr
        assert pathlib.Path(box.folder, place).read_text() == "mine"
    assert tree(f"{box.folder}/root") == [f"{box.folder}/root/diary.txt"]
    assert left(box) == ["root", "run"]


@pytest.mark.parametrize("damage", ["garbage", "gone"])
def test_a_database_that_can_t_be_read(box, damage):
    for path in pathlib.Path(box.folder, "root").glob("estiva.db*"):
        path.unlink()
    if damage == "garbage":
        pathlib.Path(box.folder, "root/estiva.db").write_bytes(b"no database" * 1000)
    done = box.estiva("system", "reset", "-f")
    assert "all containers, images and volumes, however many" in done.stderr
    assert [
        line for line in left(box) if "estiva0" not in line and "table" not in line and "/sys/fs" not in line
    ] == []
    assert not box.cgroups()
    subprocess.run(
        [*box.prefix, "ip", "link", "delete", "estiva0"], check=True
    )  # whose bridge it is, nobody can tell


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_processes_outside_their_cgroup_whose_monitor_was_killed(box, known):
    container = box.out("inspect", "--format", "{{.Id}}", "web")
    with open(f"{box.folder}/run/containers/{container}/state.json") as file:
        monitor = json.load(file)["monitor"]
    pid = moved_away(box, container)
    try:
        kill(monitor)
        eventually(lambda: gone(monitor))
        assert not gone(pid)
        if not known:
            for path in pathlib.Path(box.folder, "root").glob("estiva.db*"):
                path.unlink()
        box.estiva("system", "reset", "-f")
        assert gone(pid)
    finally:
        kill(*(() if gone(pid) else (pid,)))
    if not known:
        subprocess.run([*box.prefix, "ip", "link", "delete", "estiva0"], check=True)


def test_killed_in_the_middle_and_run_again(box):
    began = time.monotonic()
    box.estiva("system", "reset", "-f")
    whole = time.monotonic() - began
    killed = 0
    for number in range(8):
        fill(box)
        child = box.start("system", "reset", "-f", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * (number + 1) / 9)
        child.kill()
        killed += child.wait() != 0
        if number % 3 == 0:
            box.estiva("ps", "-a", status=None)  # somebody looks meanwhile
        done = box.estiva("system", "reset", "-f", status=None)
        assert done.returncode == 0 or "there is nothing to reset" in done.stderr, done.stderr
        assert left(box) == []
    assert killed


def test_what_a_killed_reset_leaves_last_is_taken_by_the_next(box):
    """The mark half written, and the root with nothing in it any more."""
    root = pathlib.Path(box.folder, "root")
    (root / "reset.4711.0a0b0c0d.tmp").write_bytes(b"{")
    box.estiva("system", "reset", "-f")
    assert left(box) == []
    root.mkdir()
    box.estiva("system", "reset", "-f")
    assert left(box) == []


def test_a_container_with_names_leaves_nothing(box):
    """The resolver ends by itself; its socket goes with the rest."""
    box.estiva("network", "create", "front")
    box.estiva("run", "-d", "--name", "named", "--network", "front", IMAGE, "sleep", "600")
    assert any(name.endswith(".socket") for name in os.listdir(f"{box.folder}/run"))
    done = box.estiva("system", "reset", "-f")
    assert "kept" not in done.stderr and not os.path.lexists(f"{box.folder}/run")
