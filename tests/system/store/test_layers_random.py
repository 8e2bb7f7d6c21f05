"""Random trees through pack, push, pull and unpack, with both drivers; GNU tar as the reference; long chains."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from estiva.oci import config as configs
from estiva.oci import image as documents
from estiva.registry import client
from estiva.registry.transfer.plan import Packing
from estiva.store.layers.compress import compress
from layerkit import CAP, DIR, add, digest, layer_tree, member, pull, store_at, tar_of, tree, viewed
from registry_support import QUICK, Server, reference

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices, mounts")

PHASES = (Phase.explicit, Phase.generate)  # to shrink what fails takes minutes of mounts
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)),
    min_size=1,
    max_size=30,
)
NAMES = NAMES.filter(
    lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) < 200
)
OWNERS = st.sampled_from([0, 1, 1000, 65534, 70_000, 2_000_000_000])
TIMES = st.integers(-(10**9), 2**33)
META = st.fixed_dictionaries({"uid": OWNERS, "gid": OWNERS, "mode": st.integers(0, 0o7777), "mtime": TIMES})
XATTRS = st.dictionaries(
    st.sampled_from(["user.a", "user.ü", "security.capability"]),
    st.binary(max_size=40),
    max_size=2,
)
FILE = st.tuples(
    st.just("file"),
    META,
    st.one_of(st.binary(max_size=600), st.integers(1, 300_000).map(lambda n: b"\xa5z" * n)),
    XATTRS,
)
LINK = st.tuples(
    st.just("link"),
    META,
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)),
        min_size=1,
        max_size=80,
    ),
    st.just({}),
)
NODE = st.tuples(
    st.sampled_from(["fifo", "char", "block"]),
    META,
    st.tuples(st.integers(1, 400), st.integers(0, 300)),
    st.just({}),
)
LEAF = st.one_of(FILE, FILE, LINK, NODE)
TREE = st.recursive(
    st.dictionaries(NAMES, LEAF, max_size=5),
    lambda below: st.dictionaries(NAMES, st.one_of(LEAF, st.tuples(st.just("dir"), META, below, XATTRS)), max_size=5),
    max_leaves=25,
)  # fmt: skip


def build(folder: str, content: dict, hard: bool = True) -> None:
    """Make it real: what a layer is packed from."""
    first = ""
    for name, (kind, meta, data, attributes) in content.items():
        path = f"{folder}/{name}"
        try:
            make(path, kind, meta, data)
        except OSError:  # a name that this filesystem can't hold
            continue
        if kind == "file" and hard and first and len(data) == 0:
            os.link(first, f"{path}.hard"[:200])
        first = path if kind == "file" else first
        os.chown(path, meta["uid"], meta["gid"], follow_symlinks=False)
        if kind != "link":
            os.chmod(path, meta["mode"])
        for key, value in attributes.items():
            os.setxattr(path, key, CAP if key == "security.capability" else value)
    for name, (_kind, meta, *_) in content.items():
        if os.path.lexists(f"{folder}/{name}"):
            os.utime(f"{folder}/{name}", (0, meta["mtime"]), follow_symlinks=False)
    os.utime(folder, (0, 1_000_000_000))


def make(path: str, kind: str, meta: dict, data: object) -> None:
    if kind == "dir":
        os.mkdir(path)
        build(path, data)  # type: ignore[arg-type]
    elif kind == "link":
        os.symlink(str(data), path)
    elif kind == "file":
        Path(path).write_bytes(data)  # type: ignore[arg-type]
    else:
        types = {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK}
        os.mknod(path, types[kind] | 0o600, 0 if kind == "fifo" else os.makedev(*data))  # type: ignore[misc]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.mark.parametrize("driver", ["erofs", "erofs-lz4", "dir"])
@given(content=TREE, method=st.sampled_from(["gzip", "zstd", "tar"]), number=st.integers(0, 2**60))
@settings(max_examples=8, phases=PHASES, deadline=None, suppress_health_check=list(HealthCheck))
def test_trees_come_back_as_they_were(registry, driver, content, method, number):
    with tempfile.TemporaryDirectory() as folder, store_at(f"{folder}/one", "dir") as one:
        source = f"{folder}/source"
        os.mkdir(source)
        os.chmod(source, 0o755)
        build(source, content)
        wanted = tree(source)
        packed = subprocess.run(
            ["tar", "-C", source, "--format=pax", "--xattrs", "--xattrs-include=*", "--sort=name", "-c", "."],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        diff_id = add(one, packed)
        document = configs.derive(configs.new("amd64"), diff_id, created=1.0)
        image = one.images.add(documents.encode(document))
        ref = reference(registry.address, f"random/{driver}", f"t{number}")
        client.push(one, image, ref, packing=Packing(method), config=QUICK)
        with store_at(f"{folder}/two", driver) as two:
            assert client.pull(two, ref, platform="linux/amd64", config=QUICK).diff_ids == [diff_id]
            assert layer_tree(two, diff_id) == wanted
            # what a container would change and commit: packed by us, read by GNU tar
            with two.layers.tar(diff_id) as stream:
                assert digest(stream.read()) == diff_id


@pytest.mark.parametrize("driver", ["erofs", "erofs-lz4", "dir"])
@given(content=TREE)
@settings(max_examples=8, phases=PHASES, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_we_pack_gnu_tar_reads(driver, content):
    with tempfile.TemporaryDirectory() as folder, store_at(f"{folder}/store", driver) as store:
        snapshot = store.snapshots.prepare([])
        build(f"{snapshot.directory}/upper", content)
        wanted = tree(f"{snapshot.directory}/upper")
        layer = snapshot.commit()
        snapshot.discard()
        os.mkdir(f"{folder}/out")
        with store.layers.tar(layer.diff_id) as stream:
            command = [
                "tar",
                "-C",
                f"{folder}/out",
                "-x",
                "-p",
                "--xattrs",
                "--xattrs-include=*",
                "--same-owner",
            ]
            subprocess.run(command, input=stream.read(), check=True, capture_output=True)
        given_back, mounted = tree(f"{folder}/out"), layer_tree(store, layer.diff_id)
        for found in (wanted, given_back, mounted):
            found.pop(".")
        assert given_back == wanted
        assert mounted == wanted


@pytest.mark.parametrize("driver", ["erofs", "erofs-lz4", "dir"])
def test_more_layers_than_one_mount_option_holds(driver, tmp_path):
    with store_at(tmp_path, driver) as store:
        chain = [add(store, tar_of(member("d", DIR), member(f"d/f{n}", data=b"%d" % n), member("top", data=b"%d" % n),
                                   *([member(f"d/.wh.f{n - 1}")] if n % 2 else []))) for n in range(200)]  # fmt: skip
        with viewed(store, *chain) as view:
            assert Path(view, "top").read_bytes() == b"199"
            assert sorted(os.listdir(f"{view}/d")) == sorted(f"f{n}" for n in range(1, 200, 2))


@pytest.mark.parametrize("driver", ["erofs", "erofs-lz4", "dir"])
@pytest.mark.parametrize("method", ["gzip", "zstd"])
def test_what_we_compress_others_read_and_we_read_others(driver, method, tmp_path):
    data = tar_of(*(member(f"f{n}", data=os.urandom(70_000)) for n in range(40)))
    blob = b"".join(compress([data], method))
    read = subprocess.run([method if method == "gzip" else "zstd", "-dc"], input=blob, capture_output=True) \
        if method == "gzip" else None  # fmt: skip
    assert (read.stdout if read else zstandard.ZstdDecompressor().decompressobj().decompress(blob)) == data
    with store_at(tmp_path, driver) as store:
        diff_id = pull(store, data, blob=blob)
        assert len(layer_tree(store, diff_id)) == 41
