"""K12, K13, K19: layers that want out. Each gives what a correct extractor gives, or an error; nothing
outside changes.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from estiva.errors import EstivaError, LayerError
from estiva.store import Store
from estiva.store.layers import codec
from estiva.store.tar.writer import Member, header
from layerkit import (
    CHR,
    DIR,
    HARD,
    LINK,
    add,
    digest,
    layer_tree,
    member,
    pull,
    store_at,
    tar_of,
    viewed,
    xattr,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


@pytest.fixture(params=["erofs", "erofs-lz4", "dir"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store beside a directory that must not change."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "secret").write_text("secret")
    before = state(tmp_path)
    with store_at(tmp_path / "store", request.param) as store:
        yield store
    assert state(tmp_path) == before


def state(directory: Path) -> list[tuple[str, int, int, int, str]]:
    found = []
    for name in sorted(os.listdir(directory / "victim")):
        at = os.lstat(directory / "victim" / name)
        found.append((name, at.st_mode, at.st_nlink, at.st_size, (directory / "victim" / name).read_text()))
    return [*found, *(("top", 0, 0, 0, name) for name in sorted(os.listdir(directory)) if name != "store")]


def raw(name: bytes, type: bytes = b"0", link: bytes = b"", **fields: int) -> bytes:
    return header(Member(name, type, link=link, **fields))  # type: ignore[arg-type]


ESCAPES = {
    "dotdot": lambda v: raw(b"../../victim/new"),
    "dotdot in the middle": lambda v: raw(b"a/../../../victim/new"),
    "absolute dotdot": lambda v: raw(b"/../../victim/new"),
    "symlink then write": lambda v: raw(b"a", b"2", v) + raw(b"a/new"),
    "relative symlink then write": lambda v: raw(b"a", b"2", b"../../../../../victim") + raw(b"a/new"),
    "symlink then directory in it": lambda v: raw(b"a", b"2", v) + raw(b"a/new/", b"5"),
    "symlink then whiteout": lambda v: raw(b"a", b"2", v) + raw(b"a/.wh.secret"),
    "symlink then opaque": lambda v: raw(b"a", b"2", v) + raw(b"a/.wh..wh..opq"),
    "symlink then hard link": lambda v: raw(b"a", b"2", v) + raw(b"h", b"1", b"a/secret"),
    "hard link out": lambda v: raw(b"h", b"1", b"../../victim/secret"),
    "absolute hard link": lambda v: raw(b"h", b"1", v + b"/secret"),
    "whiteout of dotdot": lambda v: raw(b"a/.wh..."),
    "whiteout of dot": lambda v: raw(b"a/.wh.."),
    "whiteout of nothing": lambda v: raw(b"a/.wh."),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_ways_out_are_refused(store: Store, tmp_path: Path, name: str) -> None:
    data = ESCAPES[name](os.fsencode(tmp_path / "victim")) + bytes(1024)
    with pytest.raises(LayerError) as caught:
        add(store, data)
    assert "\n" not in str(caught.value)
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.ingest) == []
    assert not store.layers.has(digest(data))


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (raw(b"a", b"2", b"..") + raw(b"b", b"2", b"a/../..") + raw(b"b/victim/new"), "victim/new"),
        (raw(b"a/.wh.../../victim/secret"), "a/victim/secret"),
        (raw(b"/etc/passwd"), "etc/passwd"),
    ],
)
def test_ways_that_stay_inside(store: Store, data: bytes, path: str) -> None:
    assert path in layer_tree(store, add(store, data + bytes(1024)))


def test_symlinks_themselves_are_kept_as_they_are(store: Store, tmp_path: Path) -> None:
    out = str(tmp_path / "victim" / "secret")
    diff_id = add(store, tar_of(member("abs", LINK, link=out), member("rel", LINK, link="../" * 30 + "etc")))
    found = layer_tree(store, diff_id)
    assert found["abs"][3] == out and found["rel"][3] == "../" * 30 + "etc"


def test_a_file_that_replaces_a_symlink_does_not_go_through_it(store: Store, tmp_path: Path) -> None:
    out = str(tmp_path / "victim" / "secret")
    data = tar_of(member("f", LINK, link=out), member("f", data=b"mine", mode=0o600))
    found = layer_tree(store, add(store, data))
    assert found["f"][0] == "0o100600"


def test_a_hard_link_to_a_symlink_changes_only_the_link(store: Store, tmp_path: Path) -> None:
    out = str(tmp_path / "victim" / "secret")
    data = tar_of(member("s", LINK, link=out), member("h", HARD, link="s"), member("h", data=b"mine"))
    found = layer_tree(store, add(store, data))
    assert found["s"][3] == out and found["h"][0] == "0o100644"


def test_attributes_of_symlinks_do_not_reach_their_target(store: Store, tmp_path: Path) -> None:
    out = str(tmp_path / "victim" / "secret")
    add(store, tar_of(member("s", LINK, link=out, mode=0o4777, uid=1234, pax=xattr("user.x", b"y"))))


def test_a_hard_link_to_a_file_of_a_lower_layer_is_an_error(store: Store) -> None:
    add(store, tar_of(member("f")))
    with pytest.raises(LayerError, match="hard link"):
        add(store, tar_of(member("h", HARD, link="f")))


def test_devices_and_setuid_are_as_given_and_not_reachable_by_others(store: Store) -> None:
    diff_id = add(
        store, tar_of(member("sda", CHR, devmajor=8, mode=0o666), member("su", data=b"x", mode=0o6755))
    )
    found = layer_tree(store, diff_id)
    assert found["su"][0] == "0o106755" and found["sda"][3] == os.makedev(8, 0)
    for path in (store.paths.layers, store.paths.run_layers, store.paths.root, store.paths.run_root):
        assert os.stat(path).st_mode & 0o077 == 0


def test_a_raw_overlay_whiteout_only_hides(store: Store) -> None:
    base = add(store, tar_of(member("f"), member("g")))
    top = add(store, tar_of(member("f", CHR, devmajor=0, devminor=0)))
    with viewed(store, base, top) as view:
        assert os.listdir(view) == ["g"]


def test_redirects_and_opaque_marks_are_dropped(store: Store) -> None:
    names = ("redirect", "opaque", "metacopy", "origin", "impure", "upper")
    pax: dict[str, str] = {}
    for name in names:
        pax |= xattr(f"trusted.overlay.{name}", b"y") | xattr(f"user.overlay.{name}", b"y")
    diff_id = add(store, tar_of(member("d", DIR, pax=pax), member("f", pax=pax)))
    with store.layers.mount([diff_id]) as lowers:
        for name in ("d", "f"):
            assert not [x for x in os.listxattr(f"{lowers[0]}/{name}") if "overlay" in x]


@pytest.mark.parametrize("size", [1 << 45, 1 << 62])
def test_impossible_sizes(store: Store, size: int) -> None:
    with pytest.raises(LayerError):
        add(store, raw(b"f", size=size) + b"x" * 512)


def test_a_large_sparse_file_takes_no_disk(store: Store) -> None:
    body = b"".join(
        b"%d %s\n" % (len(record) + 4, record)
        for record in (b"GNU.sparse.map=0,512", b"GNU.sparse.size=%d" % (1 << 40), b"GNU.sparse.major=0")
    )
    data = (
        raw(b"x", b"x", size=len(body)) + body + bytes(-len(body) % 512) + raw(b"big", size=512) + b"x" * 512
    )
    diff_id = add(store, data + bytes(1024))
    with store.layers.mount([diff_id]) as lowers:
        at = os.stat(lowers[0] + "/big")
        assert at.st_size == 1 << 40 and at.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("map", [b"0,512,256,512", b"512,-1", b"0,99999", b"0,512,1", b"1099511627776,512"])
def test_impossible_sparse_maps(store: Store, map: bytes) -> None:
    records = [b"GNU.sparse.map=" + map, b"GNU.sparse.size=2048"]
    body = b"".join(b"%d %s\n" % (len(record) + 4, record) for record in records)
    pax = raw(b"x", b"x", size=len(body)) + body + bytes(-len(body) % 512)
    with pytest.raises(LayerError):
        add(store, pax + raw(b"f", size=512) + b"x" * 512 + bytes(1024))


def test_a_gzip_bomb(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec.Bound.__init__, "__defaults__", (8 << 20, 100, 1 << 40))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blob = packer.compress(raw(b"f", size=1 << 28))
    blob += b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    begun = store.layers.ingest(digest(blob), len(blob), "gzip", digest(b"any"))
    with begun as ingest, pytest.raises(LayerError, match="bomb"):
        ingest.feed(blob)
        ingest.commit()
    assert os.listdir(store.paths.ingest) == []


def test_truncated_in_every_block(store: Store) -> None:
    data = tar_of(member("a/" * 120, DIR), member("a/" * 120 + "f", data=b"x" * 1500), member("g", data=b"y"))
    end = len(data.rstrip(b"\0")) // 512 * 512 + 512
    whole = [0] + [at for at in range(512, end + 1, 512) if is_whole(data[:at])]
    for at in range(256, end, 256):
        if at not in whole:
            with pytest.raises(LayerError):
                pull(store, data[:at], blob=gzip.compress(data[:at], 1))
    assert len(whole) == 4


def is_whole(data: bytes) -> bool:
    """Whether an archive may end here, told by the standard library: all members are complete."""
    import io
    import tarfile

    try:
        with tarfile.open(fileobj=io.BytesIO(data + bytes(1024))) as archive:
            last = archive.getmembers()[-1]
        return last.offset_data + -(-last.size // 512) * 512 == len(data)
    except (tarfile.TarError, IndexError):
        return False


def test_noise_is_refused_or_harmless(store: Store) -> None:
    import random

    noise = random.Random(11)
    good = tar_of(
        member("d", DIR), member("d/f", data=b"x" * 700), member("l", LINK, link="d"), member("é" * 60)
    )
    for _ in range(150):
        data = bytearray(good)
        for _ in range(noise.randrange(1, 6)):
            data[noise.randrange(len(data) - 1024)] = noise.randrange(256)
        try:
            diff_id = add(store, bytes(data))
        except EstivaError:
            continue
        layer_tree(store, diff_id)
        store.layers.delete(diff_id)


def test_names_that_terminals_obey_are_escaped_in_messages(store: Store) -> None:
    with pytest.raises(LayerError) as caught:
        add(store, raw(b"../\x1b]0;x\x07\n"))
    assert str(caught.value).isprintable()
