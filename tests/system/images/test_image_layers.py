"""`image layers`, the diff of two images, and df and prune that agree with the disk."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from estiva.engine import Engine, system
from estiva.engine.images import inspect, lookup
from estiva.oci import config as configs
from estiva.oci import image as documents
from layerkit import CAP, DIR, HARD, LINK, add, member, pull, tar_of, xattr

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


@pytest.fixture(params=["erofs", "erofs-lz4", "dir"])
def engine(request, tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", request.param)
    made = Engine(f"{tmp_path}/root", f"{tmp_path}/run")
    yield made
    made.store.layers.unmount_all()
    made.store.close()


def image(engine, name, *layers):
    """An image over tars, or over diffIDs that are there."""
    document = configs.new("amd64")
    for number, data in enumerate(layers):
        diff_id = data if isinstance(data, str) else add(engine.store, data)
        document = configs.derive(document, diff_id, created_by=f"RUN step {number}")
        document = configs.derive(document, None, created_by="ENV A=b")
    return engine.store.images.add(documents.encode(document), names=[name])


BASE = tar_of(
    member("d", DIR), member("d/one", data=b"1" * 1000), member("d/two", data=b"2" * 200),
    member("d/copy", HARD, link="d/one"), member("link", LINK, link="d"), member("o", DIR), member("o/x", data=b"x" * 30),
)  # fmt: skip
MIDDLE = tar_of(
    member("d", DIR), member("d/one", data=b"new"), member("d/.wh.two"), member("d/three", data=b"3" * 50)
)
TOP = tar_of(
    member("o", DIR), member("o/.wh..wh..opq"), member("o/y", data=b"y"), member("d", data=b"a file")
)


def test_what_each_layer_does(engine):
    image(engine, "i:1", BASE, MIDDLE, TOP)
    base, middle, top = inspect.layers(engine, "i:1")

    def counts(layer):
        return [layer[key] for key in ("added", "changed", "removed", "content", "wasted")]

    # the hard link's bytes count once; d/one's are overwritten by the middle, d/two's removed, o/x's hidden
    assert counts(base) == [7, 0, 0, 1230, 1230]
    assert counts(middle) == [1, 1, 1, 53, 53]
    assert counts(top) == [1, 1, 4, 7, 0]  # o/y; d becomes a file; o/x, d/one, d/copy, d/three are gone
    assert [layer["created_by"] for layer in (base, middle, top)] == [f"RUN step {n}" for n in range(3)]


def test_a_directory_named_again_is_no_change_but_its_mode_is(engine):
    same = tar_of(member("d", DIR, mtime=5), member("d/z"))
    image(engine, "i:1", BASE, same, tar_of(member("d", DIR, mode=0o700)))
    assert [layer["changed"] for layer in inspect.layers(engine, "i:1")] == [0, 0, 1]


def test_the_diff_of_two_images(engine):
    image(engine, "i:1", BASE)
    image(engine, "i:2", BASE, MIDDLE, TOP)
    assert inspect.diff(engine, "i:1", "i:2") == [
        ("C", "/d"), ("D", "/d/copy"), ("D", "/d/one"), ("D", "/d/two"), ("D", "/o/x"), ("A", "/o/y"),
    ]  # fmt: skip
    assert inspect.diff(engine, "i:2", "i:1") == [
        ("C", "/d"), ("A", "/d/copy"), ("A", "/d/one"), ("A", "/d/two"), ("A", "/o/x"), ("D", "/o/y"),
    ]  # fmt: skip
    assert inspect.diff(engine, "i:2", "i:2") == []


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"mtime": 7}, False), ({"mode": 0o600}, True), ({"uid": 4}, True),
        ({"pax": xattr("security.capability", CAP)}, True), ({"data": b"B"}, True), ({"data": b"bb"}, True),
    ],
)  # fmt: skip
def test_what_counts_as_a_change(engine, change, seen):
    image(engine, "i:1", tar_of(member("f", data=b"b")))
    image(engine, "i:2", tar_of(member("f", **{"data": b"b", **change})))
    assert inspect.diff(engine, "i:1", "i:2") == ([("C", "/f")] if seen else [])


def du(engine):
    """What du says of the layers and blobs, in bytes."""
    root = engine.paths.root
    folders = [f"{root}/{name}" for name in ("blobs", "layers", "fixups")]
    done = subprocess.run(
        ["du", "-s", "-c", "--block-size=1", *folders], capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1].split()[0])


def test_what_df_calls_reclaimable_is_what_prune_frees(engine, monkeypatch):
    random = os.urandom(300_000)
    pulled = pull(engine.store, tar_of(member("f", data=random), member("g", data=b"g" * 9000)))
    image(engine, "a:1", pulled, tar_of(member("h", data=random[:70_000])))
    image(engine, "b:1", pulled)
    used = image(engine, "c:1", tar_of(member("kept", data=random[:123_456])))
    engine.store.layers.compressed(used.diff_ids[0], "zstd")
    with engine.db.write() as transaction:
        transaction.execute(
            "INSERT INTO containers (id, name, image, status, created, record) VALUES (?, 'c', ?, 'exited', 0, '{}')",
            ("0" * 64, used.id),
        )
    usage = system.df(engine)["images"]
    before = du(engine)
    assert usage["count"] == 3 and usage["active"] == 1
    lines, freed = lookup.prune(engine, all=True)
    assert du(engine) == before - freed
    assert freed == usage["reclaimable"] > 670_000
    assert system.df(engine)["images"]["reclaimable"] == 0
    assert engine.store.layers.has(used.diff_ids[0]) and not engine.store.layers.has(pulled)


def test_rmi_frees_what_only_it_needs(engine):
    shared, own = tar_of(member("s", data=b"s" * 50_000)), tar_of(member("o", data=os.urandom(200_000)))
    image(engine, "a:1", shared)
    empty = du(engine)
    image(engine, "b:1", shared, own)
    lookup.remove(engine, "b:1")
    assert du(engine) == empty


def test_json_of_the_command_line(engine, capsys):
    from estiva.cli import main

    image(engine, "i:1", BASE)
    image(engine, "i:2", BASE, MIDDLE)
    words = ["--root", engine.paths.root, "--run-root", engine.paths.run_root]
    assert main.run([*words, "image", "layers", "--format", "json", "i:2"]) == 0
    assert [layer["wasted"] for layer in json.loads(capsys.readouterr().out)] == [1200, 0]
    assert main.run([*words, "diff", "--format", "json", "i:1", "i:2"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "added": ["/d/three"], "changed": ["/d/one"], "deleted": ["/d/two"],
    }  # fmt: skip
