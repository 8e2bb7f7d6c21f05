"""The contract of the snapshot drivers: the same layers, the same trees, whichever driver; and what GNU tar
makes of them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from estiva import programs
from estiva.errors import EngineError, Unsupported
from estiva.store import Store
from layerkit import (
    BLK,
    CAP,
    CHR,
    DIR,
    FIFO,
    HARD,
    LINK,
    add,
    digest,
    layer_tree,
    member,
    pull,
    store_at,
    tar_of,
    tree,
    viewed,
    xattr,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

ORDINARY = (
    member("./", DIR, mode=0o755, mtime=1_000_000_123),
    member("usr", DIR, mode=0o755),
    member("usr/bin", DIR, mode=0o2775, uid=3, gid=100_000),
    member("usr/bin/tool", data=b"#!" + b"t" * 5000, mode=0o4755, uid=1000, gid=70_000),
    member("usr/bin/copy", HARD, link="usr/bin/tool"),
    member("usr/bin/ping", data=b"p", pax=xattr("security.capability", CAP)),
    member("usr/link", LINK, link="bin/tool", uid=5, gid=6),
    member("usr/long", LINK, link="x/" * 1000),
    member("usr/to-link", HARD, link="usr/link"),
    member("empty"),
    member("note", data=b"n" * 512, pax=xattr("user.note", b"v" * 300)),
    member("tmp", DIR, mode=0o1777, pax=xattr("user.dir", b"d")),
    member("dev", DIR),
    member("dev/null", CHR, devmajor=1, devminor=3, mode=0o666),
    member("dev/disk", BLK, devmajor=8, devminor=300, mode=0o660, gid=6),
    member("dev/pipe", FIFO, mode=0o600),
    member("many", DIR),
    *(member(f"many/{'n' * (i % 90)}{i}", data=b"%d" % i, mtime=i) for i in range(300)),
    member("ü" * 100, data=b"unicode"),
    member("d/" * 40, DIR),
    member("d/" * 40 + "leaf", data=b"deep"),
    *(member("/".join(["d"] * depth), DIR) for depth in range(1, 40)),
)

TWISTED = {
    "duplicates": (member("f", data=b"one"), member("f", data=b"second", mode=0o600)),
    "file to directory": (member("f"), member("f", DIR), member("f/x", data=b"x")),
    "directory again": (member("d", DIR, mode=0o700), member("d/x"), member("d", DIR, mode=0o711, uid=9)),
    "symlinked parent": (member("b", DIR), member("a", LINK, link="b"), member("a/x", data=b"x")),
    "absolute": (member("/abs", data=b"a"), member("//x", DIR), member("//x//y", data=b"y")),
    "dots": (member("./a", data=b"1"), member("./b", DIR), member("./b/./c", data=b"2")),
    "hard link replaced": (member("a", data=b"1"), member("b", HARD, link="a"), member("a", data=b"2")),
}


@pytest.fixture(params=["erofs", "erofs-lz4", "dir"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_at(tmp_path, request.param) as store:
        yield store


def gnu_tar(data: bytes, directory: Path) -> dict[str, tuple[object, ...]]:
    directory.mkdir()
    command = ["tar", "-C", str(directory), "-x", "-p", "--xattrs", "--xattrs-include=*", "--same-owner"]
    subprocess.run(command, input=data, check=True, capture_output=True)
    return tree(str(directory))


def timeless(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Without the root, and without the times of directories: GNU tar leaves some as its own work made
    them.
    """
    return {
        path: (*value[:4], None if str(value[0]).startswith("0o40") else value[4], *value[5:])
        for path, value in found.items()
        if path != "."
    }


def test_an_ordinary_layer_is_what_gnu_tar_extracts(store: Store, tmp_path: Path) -> None:
    data = tar_of(*ORDINARY)
    mine = layer_tree(store, add(store, data))
    assert len(mine) > 350
    # GNU tar sets owner, mode and time of a directory last, as we do; its own root is the test's directory
    assert mine == gnu_tar(data, tmp_path / "gnu")


@pytest.mark.parametrize("name", TWISTED)
def test_a_twisted_layer_is_what_gnu_tar_extracts(store: Store, tmp_path: Path, name: str) -> None:
    data = tar_of(*TWISTED[name])
    mine, theirs = layer_tree(store, add(store, data)), gnu_tar(data, tmp_path / "gnu")
    assert timeless(mine) == timeless(theirs)


def test_an_entry_replaces_a_symlink(store: Store) -> None:
    found = layer_tree(store, add(store, tar_of(member("a", LINK, link="/etc"), member("a", data=b"mine"))))
    assert found["a"][0] == "0o100644"


def test_times_have_nanoseconds(store: Store) -> None:
    times = member("f", pax={"mtime": "1600000000.123456789"}), member("old", pax={"mtime": "-5"})
    diff_id = add(store, tar_of(*times))
    with store.layers.mount([diff_id]) as lowers:
        assert os.stat(lowers[0] + "/f").st_mtime_ns == 1_600_000_000_123_456_789
        assert os.stat(lowers[0] + "/old").st_mtime == -5


def test_unnamed_directories(store: Store) -> None:
    found = layer_tree(store, add(store, tar_of(member("a/b/c", data=b"x"))))
    for name in (".", "a", "a/b"):
        assert found[name] == ("0o40755", 0, 0, None, 0, {})


def test_whiteouts_as_overlayfs_reads_them(store: Store) -> None:
    base = add(store, tar_of(member("gone"), member("d/x"), member("d/y"), member("o/old"), member("keep")))
    top = add(
        store,
        tar_of(
            member(".wh.gone"), member("d/.wh.x"), member("o", DIR), member("o/.wh..wh..opq"), member("o/new")
        ),
    )
    with viewed(store, base, top) as view:
        assert set(tree(view)) == {".", "d", "d/y", "o", "o/new", "keep"}


def test_an_opaque_root_hides_all_layers_below(store: Store) -> None:
    base = add(store, tar_of(member("old"), member("d/old")))
    top = add(store, tar_of(member(".wh..wh..opq"), member("d/new")))
    for _ in range(2):
        with viewed(store, base, top) as view:
            assert set(tree(view)) == {".", "d", "d/new"}


def test_overlay_attributes_in_a_layer_are_not_heeded(store: Store) -> None:
    base = add(store, tar_of(member("secret/x"), member("d/below")))
    hostile = {**xattr("trusted.overlay.redirect", b"/secret"), **xattr("trusted.overlay.opaque", b"y")}
    top = add(store, tar_of(member("d", DIR, pax=hostile), member("d/mine")))
    with viewed(store, base, top) as view:
        assert set(os.listdir(view + "/d")) == {"below", "mine"}


def test_sparse_members(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "hole", "wb") as file:
        file.seek(5_000_000)
        file.write(b"end" * 1000)
        file.truncate(9_000_000)
    data = subprocess.run(
        ["tar", "-C", str(source), "-c", "-S", "hole"], check=True, capture_output=True
    ).stdout
    assert len(data) < 100_000
    diff_id = add(store, data)
    assert store.layers.get(diff_id).driver == "dir"  # erofs refers to one extent of the tar
    assert layer_tree(store, diff_id)["hole"] == tree(str(source))["hole"]


@pytest.mark.erofs
def test_layers_of_both_drivers_mix_in_a_chain(tmp_path: Path) -> None:
    with store_at(tmp_path, "erofs") as store:
        base = add(store, tar_of(member("a/base", data=b"1")))
    with store_at(tmp_path, "dir") as store:
        top = add(store, tar_of(member("a/top", data=b"2")))
        assert [store.layers.get(i).driver for i in (base, top)] == ["erofs", "dir"]
        with viewed(store, base, top) as view:
            assert set(os.listdir(view + "/a")) == {"base", "top"}


@pytest.mark.erofs
def test_a_pulled_layer_takes_less_disk_when_compressed(tmp_path: Path) -> None:
    data = tar_of(*(member(f"f{i}", data=b"a line that comes again %d\n" % i * 2000) for i in range(50)))
    sizes = {}
    for driver in ("erofs", "erofs-lz4"):
        with store_at(tmp_path / driver, driver) as store:
            diff_id = pull(store, data)
            assert store.layers.get(diff_id).driver == driver
            assert layer_tree(store, diff_id)["f7"][3] == (
                len(b"a line that comes again 7\n" * 2000),
                digest(b"a line that comes again 7\n" * 2000).partition(":")[2],
            )
            with store.layers.tar(diff_id) as file:
                assert digest(file.read()) == diff_id
            sizes[driver] = sum(
                os.stat(f"{where}/{name}").st_blocks * 512
                for where, _, names in os.walk(tmp_path / driver / "state")
                for name in names
            )
            assert store.layers.delete(diff_id) and os.listdir(store.paths.layers) == []
    assert sizes["erofs-lz4"] < sizes["erofs"] / 2


@pytest.mark.parametrize("script", ["#!/bin/sh\necho '<E> bad' >&2; exit 3", "#!/bin/sh\nkill -9 $$"])
def test_a_failing_mkfs_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    tool = tmp_path / "bin/mkfs.erofs"
    tool.parent.mkdir()
    tool.write_text(script)
    tool.chmod(0o755)
    monkeypatch.setattr("estiva.programs.FOLDERS", (str(tool.parent), *programs.FOLDERS))
    with store_at(tmp_path, "erofs-lz4") as store:
        with pytest.raises(EngineError, match=r"^mkfs.erofs failed: (<E> bad|status -9)$"):
            pull(store, tar_of(member("a", data=b"x" * 3_000_000)))
        assert os.listdir(store.paths.layers) == []
        assert not [name for name in os.listdir(store.paths.ingest) if name.endswith(".layer")]


def test_without_mkfs_the_compressed_driver_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("estiva.programs.FOLDERS", (str(tmp_path),))
    with (
        store_at(tmp_path, "erofs-lz4") as store,
        pytest.raises(Unsupported, match="mkfs.erofs is not installed"),
    ):
        add(store, tar_of(member("a")))


def test_an_empty_layer(store: Store) -> None:
    assert set(layer_tree(store, add(store, b""))) == {"."}
    assert set(layer_tree(store, add(store, b"\0" * 1024))) == {"."}


def test_the_tar_comes_back_byte_for_byte(store: Store) -> None:
    data = tar_of(*ORDINARY)
    for diff_id in (add(store, data), pull(store, data[:-512])):
        with store.layers.tar(diff_id) as file:
            assert digest(file.read()) == diff_id


def test_a_pulled_layer_keeps_its_compressed_form_only_once(store: Store) -> None:
    data = tar_of(*ORDINARY)
    diff_id = pull(store, data)
    ((blob, size, media_type),) = [form for form in store.layers.blobs(diff_id) if form[0] != diff_id]
    assert store.layers.compressed(diff_id) == (blob, size, media_type)
    assert media_type.endswith("tar+gzip") and store.content.size(blob) == size
    assert store.content.has(diff_id) == (store.layers.get(diff_id).driver == "erofs")


def test_compressed_forms_are_made_once(store: Store) -> None:
    diff_id = add(store, tar_of(*ORDINARY))
    for method in ("gzip", "zstd"):
        blob, size, media_type = store.layers.compressed(diff_id, method)
        assert store.content.size(blob) == size and media_type.endswith(method)
        made = os.stat(store.content.path(blob)).st_ino
        assert store.layers.compressed(diff_id, method)[0] == blob
        assert os.stat(store.content.path(blob)).st_ino == made


def test_delete_leaves_nothing(store: Store) -> None:
    diff_id = pull(store, tar_of(*ORDINARY))
    top = add(store, tar_of(member("usr/x")))
    store.layers.compressed(top)
    with viewed(store, diff_id, top):
        pass
    for each in (top, diff_id):
        store.layers.delete(each)
        store.layers.delete(each)
        assert not store.layers.has(each)
    paths = store.paths
    for directory in (paths.layers, paths.fixups, paths.ingest, paths.blobs + "/sha256", paths.run_layers):
        assert os.listdir(directory) == []
    assert store.db.read("SELECT * FROM layer_blobs") == store.db.read("SELECT * FROM blobs") == []


def test_the_same_layer_twice_and_strays(store: Store) -> None:
    data = tar_of(member("f", data=b"1"))
    diff_id = add(store, data)
    before = os.stat(f"{store.paths.layers}/{diff_id[7:]}").st_ino
    assert add(store, data) == diff_id
    assert os.stat(f"{store.paths.layers}/{diff_id[7:]}").st_ino == before
    os.mkdir(f"{store.paths.layers}/{'0' * 64}")
    assert store.layers.strays() == [f"{store.paths.layers}/{'0' * 64}"]
    with store.db.write() as transaction:  # as if the process had died before the row
        transaction.execute("DELETE FROM layers")
    assert add(store, data) == diff_id and layer_tree(store, diff_id)["f"][3][0] == 1
