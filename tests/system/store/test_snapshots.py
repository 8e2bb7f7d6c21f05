"""Snapshots on the real kernel: what a container does in one, told and packed, and mounted again, is the
same tree.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from estiva.errors import EngineError
from estiva.linux.fs import open_in_root
from estiva.store import Store
from estiva.store.layers.pack import write_tree
from estiva.store.snapshots import Snapshot
from layerkit import CAP, DIR, LINK, add, digest, member, store_at, tar_of, tree, viewed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


@pytest.fixture(params=["erofs", "erofs-lz4", "dir"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_at(tmp_path, request.param) as store:
        yield store


@pytest.fixture
def base(store: Store) -> str:
    return add(
        store,
        tar_of(
            member("./", DIR, mode=0o751, uid=3),
            member("etc", DIR, mode=0o750, uid=2),
            member("etc/conf", data=b"old"),
            member("etc/keep", data=b"kept"),
            member("etc/sub", DIR, mode=0o700),
            member("etc/sub/a", data=b"a"),
            member("etc/sub/b", data=b"b"),
            member("bin/tool", data=b"t" * 3000, mode=0o755),
            member("link", LINK, link="etc"),
            member("away/x/y", data=b"y"),
        ),
    )


class Worked:
    """A snapshot with the path of its mount."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.fd = snapshot.mount()
        self.root = f"/proc/self/fd/{self.fd}/."

    def __enter__(self) -> str:
        return self.root

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)


def work(root: str) -> None:
    """What containers do."""
    with open(root + "/etc/conf", "w") as file:
        file.write("new")
    os.unlink(root + "/etc/sub/a")
    shutil.rmtree(root + "/away")
    os.makedirs(root + "/new/deep")
    with open(root + "/new/deep/file", "wb") as file:
        file.write(b"f" * 700)
    os.link(root + "/new/deep/file", root + "/new/hard")
    os.setxattr(root + "/new/deep/file", "security.capability", CAP)
    os.setxattr(root + "/new", "user.k", b"v")
    os.symlink("/etc/passwd", root + "/new/link")
    os.mkfifo(root + "/new/pipe", 0o600)
    os.mknod(root + "/new/null", 0o020666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(root + "/new/socket")
    os.chmod(root + "/bin/tool", 0o4711)
    os.chown(root + "/new", 1000, 1001)
    os.unlink(root + "/etc/keep")
    os.mkdir(root + "/etc/keep")
    shutil.rmtree(root + "/etc/sub")
    os.mkdir(root + "/etc/sub", 0o711)  # opaque
    with open(root + "/etc/sub/c", "w") as file:
        file.write("c")


def test_a_committed_layer_is_what_the_container_saw(store: Store, base: str) -> None:
    snapshot = store.snapshots.prepare([base])
    with Worked(snapshot) as root:
        work(root)
        os.unlink(root + "/new/socket")
        seen = tree(root)
    layer = snapshot.commit()
    snapshot.discard()
    assert os.listdir(store.paths.ingest) == []
    with viewed(store, base, layer.diff_id) as view:
        mine = tree(view)
    seen["."] = mine["."] = (*seen["."][:4], None, seen["."][5])  # the root's time is not kept
    assert mine == seen
    assert seen["."][:2] == ("0o40751", 3)


def test_changes_as_docker_tells_them(store: Store, base: str) -> None:
    snapshot = store.snapshots.prepare([base])
    assert snapshot.changes() == []
    with Worked(snapshot) as root:
        work(root)
        os.chmod(root + "/link/.", 0o750)  # nothing changes
    assert snapshot.changes() == [
        ("D", "/away"),
        ("C", "/bin"),
        ("C", "/bin/tool"),
        ("C", "/etc"),
        ("C", "/etc/conf"),
        ("C", "/etc/keep"),
        ("C", "/etc/sub"),
        ("D", "/etc/sub/a"),
        ("D", "/etc/sub/b"),
        ("A", "/etc/sub/c"),
        ("A", "/new"),
        ("A", "/new/deep"),
        ("A", "/new/deep/file"),
        ("A", "/new/hard"),
        ("A", "/new/link"),
        ("A", "/new/null"),
        ("A", "/new/pipe"),
        ("A", "/new/socket"),
    ]
    assert snapshot.size() == 3 + 700 + 3000 + 1
    snapshot.discard()


def test_the_same_changes_make_the_same_layer(store: Store, base: str) -> None:
    made = []
    for _ in range(2):
        snapshot = store.snapshots.prepare([base])
        with Worked(snapshot) as root:
            work(root)
            for directory, directories, files in os.walk(root):
                for name in directories + files:
                    os.utime(os.path.join(directory, name), (5, 5), follow_symlinks=False)
        made.append(snapshot.commit().diff_id)
        snapshot.discard()
    assert made[0] == made[1]


def test_no_change_is_the_empty_layer(store: Store, base: str) -> None:
    snapshot = store.snapshots.prepare([base])
    assert snapshot.commit().diff_id == digest(bytes(1024))
    snapshot.discard()


def test_parents_are_named_only_when_they_changed(store: Store, base: str) -> None:
    snapshot = store.snapshots.prepare([base])
    with Worked(snapshot) as root:
        os.chmod(root + "/etc/sub/a", 0o600)  # copies up etc and etc/sub, which stay as they were
    layer = snapshot.commit()
    snapshot.discard()
    ((implied,),) = store.db.read("SELECT implied FROM layers WHERE diff_id = ?", (layer.diff_id,))
    assert implied == '["/","/etc","/etc/sub"]'
    with viewed(store, base, layer.diff_id) as view:
        found = tree(view)
        assert found["etc"][:2] == ("0o40750", 2) and found["etc/sub/a"][0] == "0o100600"


def test_a_lower_directory_cannot_be_renamed(store: Store, base: str) -> None:
    snapshot = store.snapshots.prepare([base])
    with Worked(snapshot) as root, pytest.raises(OSError) as caught:
        os.rename(root + "/etc/sub", root + "/etc/moved")
    assert caught.value.errno == 18  # EXDEV, as docker has it: mv copies
    snapshot.discard()


def test_a_snapshot_in_a_containers_directory_stays(store: Store, base: str) -> None:
    directory = store.paths.container("c1")
    os.mkdir(directory)
    with Worked(store.snapshots.prepare([base], directory)) as root:
        open(root + "/made", "w").close()
    again = store.snapshots.prepare([base], directory)
    assert again.changes() == [("A", "/made")]
    again.discard()
    assert os.listdir(directory) == []


def test_looking_while_a_container_works(store: Store, base: str) -> None:
    snapshot = store.snapshots.prepare([base])
    with Worked(snapshot) as root:
        work(root)
        fd = snapshot.mount(readonly=True)
        try:
            conf = open_in_root(fd, "/link/conf", os.O_RDONLY)
            assert os.read(conf, 10) == b"new"
            os.close(conf)
            with pytest.raises(OSError):
                open_in_root(fd, "/etc/x", os.O_WRONLY | os.O_CREAT)
            assert "away" not in os.listdir(f"/proc/self/fd/{fd}/.")
        finally:
            os.close(fd)
    snapshot.discard()


def test_from_scratch(store: Store) -> None:
    snapshot = store.snapshots.prepare([])
    with Worked(snapshot) as root:
        assert os.listdir(root) == [] and oct(os.stat(root).st_mode) == "0o40755"
        with open(root + "/first", "w") as file:
            file.write("1")
    layer = snapshot.commit()
    snapshot.discard()
    with viewed(store, layer.diff_id) as view:
        assert open(view + "/first").read() == "1"
    fd = store.snapshots.view([])
    assert os.listdir(f"/proc/self/fd/{fd}/.") == []
    os.close(fd)


def test_export_is_a_tar_of_everything(store: Store, base: str, tmp_path: Path) -> None:
    with viewed(store, base) as view, open(tmp_path / "out.tar", "wb") as out:
        seen = tree(view)
        fd = os.open(view, os.O_RDONLY)
        write_tree(fd, out)
        os.close(fd)
    extracted = tmp_path / "x"
    extracted.mkdir()
    subprocess.run(["tar", "-C", str(extracted), "-xpf", str(tmp_path / "out.tar")], check=True)
    assert tree(str(extracted)) == seen


def test_a_whiteout_name_cannot_be_packed(store: Store, base: str) -> None:
    snapshot = store.snapshots.prepare([base])
    with Worked(snapshot) as root:
        open(root + "/etc/.wh.conf", "w").close()
    with pytest.raises(EngineError, match="/etc/.wh.conf"):
        snapshot.commit()
    snapshot.discard()


def test_fractions_of_seconds_and_overlay_marks_are_not_packed(store: Store, base: str) -> None:
    snapshot = store.snapshots.prepare([base])
    with Worked(snapshot) as root:
        os.utime(root + "/etc/conf", ns=(0, 1_700_000_000_999_999_999))
    layer = snapshot.commit()
    with store.layers.tar(layer.diff_id) as file:
        data = file.read()
    assert b"overlay" not in data and b"mtime" not in data
    with viewed(store, base, layer.diff_id) as view:
        assert os.stat(view + "/etc/conf").st_mtime_ns == 1_700_000_000 * 10**9
    snapshot.discard()


def test_a_snapshot_lives_as_long_as_its_process(store: Store, base: str) -> None:
    from estiva.store.upkeep import leftovers

    snapshot = store.snapshots.prepare([base])
    old = time.time() - 10 * 86400
    os.utime(snapshot.directory, (old, old))
    leftovers.sweep(store)
    assert os.path.isdir(snapshot.upper)
    os.close(snapshot.lock)  # as the kernel does when a process dies
    snapshot.lock = -1
    os.utime(snapshot.directory, (old, old))
    leftovers.sweep(store)
    assert not os.path.exists(snapshot.directory)
