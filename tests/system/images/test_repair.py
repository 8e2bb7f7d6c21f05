"""Every kind of file of an image's layers, damaged one at a time: seen by the check, mended by it or by the verb
that meets it, and no reason for other containers to stop."""

import glob
import os
import shutil

import pytest

from enginekit import IMAGE, eventually, host

NONE = ("--network", "none")
NAME = "127.0.0.1:5078/box:1"


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0x40]))


def empty(path):
    os.truncate(path, 0)


def folder(path):
    os.unlink(path)
    os.mkdir(path)
    with open(f"{path}/stray", "w"):
        pass


def link(path):
    os.unlink(path)
    os.symlink("/etc/passwd", path)


def fifo(path):
    os.unlink(path)
    os.mkfifo(path)


DAMAGES = [truncate, flip, empty, os.unlink, folder, link, fifo]


@pytest.fixture(scope="module", params=["erofs", "erofs-lz4", "dir"])
def box(request):
    with host(request.param) as made:
        made.driver = request.param
        server = made.start(
            "registry", "serve", "--listen", "127.0.0.1:5078", "--root", f"{made.folder}/registry"
        )
        made.estiva("build", "-q", "-t", NAME, "-", input=f"FROM {IMAGE}\nRUN echo upper >/upper\n")
        eventually(lambda: made.estiva("push", "-q", NAME, status=None).returncode == 0)
        made.estiva("run", "--name", "made", *NONE, IMAGE, "touch", "/different")
        made.estiva("export", "-o", f"{made.folder}/other.tar", "made")
        made.estiva("import", f"{made.folder}/other.tar", "other:1")
        made.estiva("rm", "made")
        made.estiva("rmi", NAME)
        made.estiva("builder", "prune", "-af")
        made.estiva("rmi", IMAGE)
        made.estiva("pull", "-q", NAME)
        made.layers = layers(made)
        try:
            yield made
        finally:
            server.terminate()
            server.wait()


def layers(box):
    """The hex names of its diffIDs, base first."""
    text = box.out("image", "inspect", "-f", "{{json .RootFS.Layers}}", NAME)
    return [word.strip('"').removeprefix("sha256:") for word in text.strip("[]").split(",")]


def unmount(box):
    """As after a reboot: layers are mounted anew."""
    box.estiva("system", "check", status=None)
    assert not [line for line in box.mounts() if "/layers/" in line]


def file_of(box, name, kind):
    root = f"{box.folder}/root"
    if kind == "index":
        found = glob.glob(f"{root}/layers/{name}/*.erofs")
    elif kind == "tar":
        found = glob.glob(f"{root}/blobs/sha256/{name}")
    elif kind == "blob":
        rows = box.db(f"SELECT digest FROM layer_blobs WHERE diff_id = 'sha256:{name}'")
        found = [f"{root}/blobs/sha256/{digest[7:]}" for (digest,) in rows]
    elif kind == "file":
        found = glob.glob(f"{root}/layers/{name}/fs/bin/busybox")
    else:
        rows = box.db("SELECT manifest FROM images WHERE manifest IS NOT NULL")
        found = [f"{root}/blobs/sha256/{digest[7:]}" for (digest,) in rows]
    if not found:
        pytest.skip(f"the {box.driver} driver has no {kind}")
    return found[0]


MADE = {"erofs": "index", "erofs-lz4": "index", "dir": "file"}  # what a driver makes of a layer
REST = ("tar", "blob", "manifest")  # what is the same with all of them


@pytest.fixture(scope="class")
def other(box):
    box.estiva("run", "-d", "--name", "other", *NONE, "other:1", "sleep", "1000")
    yield
    box.estiva("rm", "-f", "other")
    assert box.out("system", "check", "--deep") == "all is well"


@pytest.mark.usefixtures("other")
class TestWhileAnotherRuns:
    @pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
    def test_the_check_mends_what_a_driver_makes(self, box, damage):
        self.mended(box, MADE[box.driver], damage)

    @pytest.mark.parametrize("damage", [flip, os.unlink], ids=lambda damage: damage.__name__)
    @pytest.mark.parametrize("kind", REST)
    def test_the_check_mends_the_rest(self, box, kind, damage):
        self.mended(box, kind, damage)

    @pytest.mark.parametrize("box", ["erofs"], indirect=True)
    @pytest.mark.parametrize(
        "damage", [truncate, empty, folder, link, fifo], ids=lambda damage: damage.__name__
    )
    @pytest.mark.parametrize("kind", REST)
    def test_the_check_mends_whatever_was_done_to_it(self, box, kind, damage):
        self.mended(box, kind, damage)

    def mended(self, box, kind, damage):
        name = box.layers[0]
        path = file_of(box, name, kind)
        with open(path, "rb") as file:
            whole = file.read()
        damage(path)
        done = box.estiva("system", "check", "--deep", status=1)
        assert "problem: " in done.stdout
        assert os.path.basename(path) in done.stdout or name in done.stdout
        assert box.out("exec", "other", "echo", "alive") == "alive"
        done = box.estiva("system", "check", "--deep", "--repair")
        assert "repaired: " in done.stdout
        assert done.stdout.endswith("all is well\n")
        if kind != "file":
            with open(path, "rb") as file:
                assert file.read() == whole or box.driver == "erofs-lz4"
        assert box.out("run", "--rm", *NONE, NAME, "cat", "/upper") == "upper"
        assert box.out("system", "check", "--deep") == "all is well"


@pytest.mark.parametrize(
    "damage", [truncate, os.unlink, folder, fifo, empty], ids=lambda damage: damage.__name__
)
@pytest.mark.parametrize("kind", ["index", "tar"])
def test_a_run_mends_what_it_meets(box, kind, damage):
    unmount(box)
    name = box.layers[0]
    damage(file_of(box, name, kind))
    done = box.estiva("run", "--rm", *NONE, NAME, "cat", "/upper")
    assert done.stdout == "upper\n"
    assert f"WARNING: layer sha256:{name[:12]} was damaged (" in done.stderr
    assert done.stderr.count("\n") == 1
    assert box.out("system", "check", "--deep") == "all is well"


def everything(box, name):
    """All that is here of a layer."""
    for kind in ("index", "tar", "blob"):
        rows = box.db(f"SELECT digest FROM layer_blobs WHERE diff_id = 'sha256:{name}'")
        for digest in (f"sha256:{name}", *(digest for (digest,) in rows)):
            path = f"{box.folder}/root/blobs/sha256/{digest[7:]}"
            if os.path.exists(path):
                flip(path) if kind == "blob" else os.unlink(path)
    shutil.rmtree(f"{box.folder}/root/layers/{name}")


def test_a_pull_fetches_the_broken_layer_alone(box):
    unmount(box)
    below, above = box.layers
    mine = os.stat(f"{box.folder}/root/layers/{above}").st_ino
    everything(box, below)
    done = box.estiva("pull", NAME)
    assert "up to date" not in done.stdout + done.stderr
    assert os.stat(f"{box.folder}/root/layers/{above}").st_ino == mine
    assert box.out("run", "--rm", *NONE, NAME, "cat", "/upper") == "upper"
    assert box.out("system", "check", "--deep") == "all is well"


def test_a_run_fetches_what_can_t_be_made_again(box):
    unmount(box)
    everything(box, box.layers[0])
    done = box.estiva("run", "--rm", *NONE, NAME, "cat", "/upper")
    assert done.stdout == "upper\n"
    assert "fetched again from 127.0.0.1:5078/box" in done.stderr
    assert box.out("system", "check", "--deep") == "all is well"


def test_after_a_deep_check_a_pull_fetches_what_it_found(box):
    if box.driver == "dir":
        pytest.skip("its layers are fetched by their blob")
    unmount(box)
    name = box.layers[0]
    flip(file_of(box, name, "index"))
    assert "up to date" in box.out("pull", NAME)  # nobody has looked
    assert (
        f"layer sha256:{name} is damaged: its index is damaged"
        in box.estiva("system", "check", "--deep", status=1).stdout
    )
    assert "up to date" not in box.out("pull", NAME)
    assert box.out("system", "check", "--deep") == "all is well"


def test_what_can_t_be_mended_is_named_with_what_to_do(box):
    box.estiva("tag", NAME, "kept:1")
    unmount(box)
    name = box.layers[0]
    rows = box.db("SELECT name, digest, image FROM repo_digests")
    box.db("DELETE FROM repo_digests")
    everything(box, name)
    done = box.estiva("run", "--rm", *NONE, NAME, "true", status=125)
    first, hint = done.stderr.splitlines()
    assert first.startswith(f"estiva: layer sha256:{name} is damaged: ")
    assert "did not come from a registry" in first
    assert hint == "hint: pull its image again"
    done = box.estiva("system", "check", "--repair", status=1)
    assert f"problem: layer sha256:{name} is damaged: " in done.stdout
    for row in rows:
        box.db("INSERT INTO repo_digests VALUES ('{}', '{}', '{}')".format(*row))
    assert "fetched again from 127.0.0.1:5078/box" in box.out("system", "check", "--deep", "--repair")
    box.estiva("rmi", "kept:1")
