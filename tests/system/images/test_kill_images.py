"""SIGKILL at many moments of what stores things: pull, build, import, load, commit, rmi, volumes."""

import contextlib
import fcntl
import os
import pathlib
import random
import subprocess
import time

import pytest

from enginekit import IMAGE, busybox_tar, eventually, host
from estiva.files import abandoned
from killkit import Shot, assert_nothing_left, assert_well, kill, monitors, traces

BIG = 20_000_000  # bytes
DOCKERFILE = f"""
FROM {IMAGE} AS first
RUN --mount=type=cache,target=/kept --mount=type=secret,id=word echo one > /one && cat /one >> /kept/all && sleep 0.02
FROM {IMAGE}
COPY files /files
COPY --from=first /one /two
RUN --network=none sleep 0.02; ls /files > /list
"""


@pytest.fixture(scope="module", params=["erofs", "dir"])
def box(request):
    with host(request.param) as made:
        context = pathlib.Path(made.folder, "context")
        (context / "files").mkdir(parents=True)
        for number in range(6):
            (context / f"files/{number}").write_bytes(os.urandom(300_000))
        (context / "Dockerfile").write_text(DOCKERFILE)
        (context / "word").write_text("secret")
        made.build = ["build", "-t", "built:1", "--secret", f"id=word,src={context}/word", str(context)]
        yield made


def sweep(box):
    assert_well(box)
    left = [trace for trace in traces(box) if not trace.endswith(".part")]
    assert not left or eventually(lambda: not [t for t in traces(box) if not t.endswith(".part")])


@pytest.mark.parametrize("victims", ["command", "both"])
def test_build(box, victims):
    rng = random.Random(victims)
    for _ in range(3):
        shots = [
            Shot(box, [*box.build, "--no-cache"][: None if n else -1], rng.random() * 0.7, victims)
            for n in range(3)
        ]
        for shot in shots:
            shot.end()
        sweep(box)
    box.estiva(*box.build)
    assert box.out("run", "--rm", "built:1", "cat", "/two", "/list").split() == ["one", *"012345"]
    assert_well(box)


def test_a_step_ends_with_its_builder(box):
    marker = f"27{os.getpid()}"
    text = f"FROM {IMAGE}\nRUN exec sleep {marker}\n"
    child = box.start(
        "build", "-f", "-", str(box.folder) + "/context", stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    child.stdin.write(text.encode())
    child.stdin.close()
    search = ["pgrep", "-f", f"^sleep {marker}$"]
    eventually(lambda: subprocess.run(search, capture_output=True).returncode == 0)
    child.kill()
    eventually(lambda: subprocess.run(search, capture_output=True).returncode == 1)
    sweep(box)


def test_a_builder_hears_of_a_killed_monitor(box):
    marker = f"28{os.getpid()}"
    text = f"FROM {IMAGE}\nRUN exec sleep {marker}\n"
    child = box.start("build", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdin.write(text.encode())
    child.stdin.close()
    search = ["pgrep", "-f", f"^sleep {marker}$"]
    eventually(lambda: subprocess.run(search, capture_output=True).returncode == 0)
    kill(*monitors(box))
    assert child.wait(120) not in (0, -9) and b"monitor" in child.stderr.read()
    child.stderr.close()
    eventually(lambda: not traces(box))
    assert "swept: processes" not in assert_well(box)


@pytest.fixture(scope="module")
def registry(box):
    server = box.start("registry", "serve", "--listen", "127.0.0.1:5077", "--root", f"{box.folder}/registry")
    rng = random.Random(5)
    with open(f"{box.folder}/context/big", "wb") as file:
        file.write(rng.randbytes(BIG))
    text = f"FROM {IMAGE}\nCOPY big /big\nCOPY files /files\n"
    name = "127.0.0.1:5077/a/b:1"
    box.estiva("build", "-t", name, "-f", "-", f"{box.folder}/context", input=text)
    eventually(lambda: box.estiva("push", name, status=None).returncode == 0)
    yield name
    server.terminate()
    server.wait()


def arrived(box):
    """Bytes of the layers that are coming in."""
    sizes = []
    for path in pathlib.Path(box.folder, "root/ingest").glob("*.part"):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


@pytest.mark.parametrize("share", [0.05, 0.6, 1.0])
def test_pull(box, registry, share):
    """Two pulls of one image are killed, the second a moment later; the next one goes on where they were."""
    box.estiva("rmi", registry)
    box.estiva("builder", "prune", "-f")
    for _ in range(100):
        pulls = [box.start("pull", "-q", registry) for _ in range(2)]
        while arrived(box) < share * BIG and pulls[0].poll() is None:
            time.sleep(0.001)
        for child in pulls:
            child.kill()
            child.wait()
            time.sleep(0.01 * share)
        if share == 1 or arrived(box):
            break
        box.estiva("rmi", registry, status=None)  # they were faster than we could look
    told = assert_well(box)
    if share < 1:
        assert "kept: " in told and " bytes of blob sha256:" in told
    box.estiva("pull", "-q", registry)
    assert box.out("run", "--rm", registry, "wc", "-c", "/big").split()[0] == str(BIG)
    assert os.listdir(f"{box.folder}/root/ingest") == []
    assert box.out("system", "check", "--deep") == "all is well"


def test_the_rest_of_the_store(box):
    saved = f"{box.folder}/saved.tar"
    box.estiva("save", "-o", saved, IMAGE)
    container = box.out("run", "-d", "--network", "none", IMAGE, "sh", "-c", "seq 100000 > /seq; sleep 300")
    for number in range(3):
        box.estiva("volume", "create", f"old-{number}")
        (pathlib.Path(box.folder) / f"root/volumes/old-{number}/_data/file").write_text("x")
        box.estiva("tag", IMAGE, f"copy:{number}")
    rng = random.Random(3)
    for turn in range(3):
        words = [
            ["import", busybox_tar(), f"imported:{turn}"],
            ["load", "-q", "-i", saved],
            ["commit", container, f"committed:{turn}"],
            ["volume", "create", f"new-{turn}"],
            ["volume", "rm", f"old-{turn}"],
            ["rmi", f"copy:{turn}"],
            ["system", "prune", "-f"],
            ["create", "--name", f"made-{turn}", "-v", f"vol-{turn}:/bin", IMAGE, "true"],
        ]
        for shot in [Shot(box, word, 0.05 + rng.random() * 0.4) for word in words]:
            shot.end()
        assert_well(box)
        assert os.listdir(f"{box.folder}/root/ingest") == []
        for number in range(turn + 1):
            path = pathlib.Path(box.folder, f"root/volumes/old-{number}/_data")
            assert not path.exists() or list(path.iterdir()), "a volume half removed"
    assert box.out("run", "--rm", "--network", "none", IMAGE, "echo", "works") == "works"
    box.estiva("rm", "-f", container)
    box.estiva("container", "prune", "-f")
    assert_nothing_left(box)


def test_the_next_build_sweeps_what_a_killed_one_left(box):
    """Its layer in the making may be of gigabytes: nobody should have to know of `system prune` for that."""
    child = box.start("build", "-", stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdin.write(f"FROM {IMAGE}\nRUN echo big > /big; touch /tmp/up; sleep 1000\n".encode())
    child.stdin.close()
    ingest = pathlib.Path(box.folder, "root/ingest")
    eventually(lambda: list(ingest.glob("*.snapshot/upper/tmp/up")))
    child.kill()
    eventually(lambda: not box.cgroups())
    assert list(ingest.iterdir())
    box.estiva(*box.build)
    assert not list(ingest.iterdir())
    sweep(box)


def test_the_next_save_sweeps_what_a_killed_one_left(box):
    target = pathlib.Path(box.folder, "swept.tar")
    names = ["swept.tar.1.tmp", "swept.tar.2.tmp", "swept.tar.x.tmp", "other.tar.1.tmp", "swept.tar.tmp"]
    for name in names:
        (target.parent / name).write_text("left")
    with open(target.parent / "swept.tar.2.tmp") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # of one that is at work
        box.estiva("save", "-o", target, IMAGE)
    assert not (target.parent / "swept.tar.1.tmp").exists() and target.stat().st_size > 100_000
    for name in names[1:]:
        (target.parent / name).unlink()
    child = box.start("save", "-o", target, IMAGE)  # and that of one that is at work is held
    asides = eventually(lambda: list(target.parent.glob("swept.tar.*.tmp")) or child.poll() is not None)
    if asides is not True:
        with contextlib.suppress(FileNotFoundError):
            assert abandoned(str(asides[0])) < 0
    assert child.wait(60) == 0
