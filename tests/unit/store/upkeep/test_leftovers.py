import os

import pytest

from estiva import files
from estiva.oci.digest import sha256
from estiva.store.layers import implied, layer
from estiva.store.upkeep import fsck, leftovers
from storekit import age, make_image, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def test_sweep_removes_what_the_dead_left(store):
    paths = store.paths
    make_image(store, b"base", name="app")
    store.volumes.create("kept")
    made = []
    for path in (
        f"{paths.ingest}/aside.tmp",
        f"{paths.ingest}/{sha256(b'empty')}.part",
        f"{paths.ingest}/1-ab.snapshot/upper",
        f"{paths.layers}/{'ab' * 32}/fs",
        f"{paths.fixups}/{'ab' * 32}/0123",
        f"{paths.fixups}/{sha256(b'base')[7:]}/0123/etc",
        f"{paths.volumes}/{'ef' * 32}/_data",
        f"{paths.volumes}/.12.gone/_data/file",
        f"{paths.volumes}/made-only/_data",
        f"{paths.blobs}/sha256/{'12' * 32}",
        f"{paths.cache}/seccomp/default.bpf.999999999.ab.tmp",
    ):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT)) if "." in path[-6:] or "blobs" in path else os.makedirs(path)
        made.append(path)
    os.makedirs(f"{paths.volumes}/of-a-person/_data/letters")
    store.volumes.create("half-removed")
    os.rename(f"{paths.volumes}/half-removed", f"{paths.volumes}/.34.gone")
    lost = store.content.put(b"being deleted")
    os.unlink(store.content.path(lost))
    assert len(leftovers.sweep(store)) == len(made) + 3
    assert [path for path in made if os.path.exists(path)] == []
    assert os.path.isdir(paths.volumes + "/of-a-person/_data/letters")
    assert [volume.name for volume in store.volumes.list()] == ["kept"]
    assert fsck.check(store) == ["directory volumes/of-a-person has no row"]
    assert leftovers.sweep(store) == []


DAMAGES = {
    "nuls": lambda text: b"\0" * len(text),
    "nuls in the name": lambda text: b"\0" * 12 + text[12:],
    "no ascii": lambda text: b"\xff" * 40 + b"\n",
    "half a line": lambda text: text[: len(text) // 2],
    "no number": lambda text: text.replace(b" 2 ", b" -2 "),
    "too many": lambda text: text.replace(b" 2 ", b" 3 "),
    "leads out": lambda text: b"../../../etc" + text[12:],
    "folder": lambda text: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_list_of_chains_that_is_none(store, damage):
    """It is as if it were not there; the sweep takes it, or the next mount makes it anew."""
    make_image(store, b"base", b"above", name="app")
    diff_ids = [sha256(b"above"), sha256(b"base")]
    top = f"{store.paths.fixups}/{diff_ids[0][7:]}"
    line = f"0123456789ab 2 {','.join(diff_ids)}\n".encode()
    wrong = DAMAGES[damage](line)
    os.makedirs(top)
    path = top + "/chains"

    def write(text):
        files.remove_tree(path)
        os.mkdir(path) if text is None else files.atomic_write(path, text)

    write(line)
    os.mkdir(top + "/0123456789ab")
    assert len(layer.chains(path)) == 1
    assert leftovers.sweep(store) == []
    write(wrong)
    assert layer.chains(path) == []
    os.makedirs(f"{store.paths.root}/lower/a")
    name, depth = implied.make(store.paths, store.db, [f"{store.paths.root}/lower"] * 2, diff_ids)
    assert layer.chains(path) == [(name, depth, ",".join(diff_ids))]
    files.remove_tree(top + "/0123456789ab")
    leftovers.sweep(store)
    write(wrong)
    assert leftovers.sweep(store)[0] == f"fixups/{diff_ids[0][7:19]}/chains, which was damaged: removed"
    assert leftovers.sweep(store) == []


def test_sweep_leaves_what_is_being_made(store):
    paths = store.paths
    fd, path = files.new_file(paths.ingest, ".tmp")
    blob = f"{paths.blobs}/sha256/{'12' * 32}"
    os.rename(path, blob)  # its row comes in a moment
    directory, layer = files.new_directory(paths.ingest, ".layer")
    assert leftovers.sweep(store) == fsck.check(store) == []
    os.close(fd)
    os.close(directory)
    assert len(fsck.check(store)) == 2
    assert len(leftovers.sweep(store)) == 2
    assert not os.path.exists(blob) and not os.path.exists(layer)


def test_a_broken_download_is_kept_for_a_while(store):
    with store.content.ingest(sha256(b"x" * 10), 10) as ingest:
        ingest.write(b"x")
        age(store)
        assert leftovers.sweep(store) == [] == leftovers.kept(store)
        assert os.path.exists(ingest.path)
    os.utime(ingest.path)
    assert leftovers.sweep(store) == fsck.check(store) == []
    assert leftovers.kept(store) == [f"1 bytes of blob {ingest.digest}, for the next pull to go on from"]
    age(store)
    assert leftovers.sweep(store) == [f"ingest/{ingest.digest}.part: removed"]
