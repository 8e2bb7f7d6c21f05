import os
import time

import pytest

from estiva import files
from estiva.oci import image as documents
from estiva.oci.digest import sha256
from estiva.store.upkeep import gc, leftovers
from estiva.store.upkeep.usage import stored
from storekit import add_container, drop_container, make_image, make_store

OLD = time.time() - 10 * 86400


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def age(store):
    """Make everything look old."""
    with store.db.write() as transaction:
        for table in ("blobs", "layers"):
            transaction.execute(f"UPDATE {table} SET created = ?", (OLD,))
    for directory, names, others in os.walk(store.paths.root):
        for name in (*names, *others):
            os.utime(f"{directory}/{name}", (OLD, OLD), follow_symlinks=False)


def test_reclaim_leaves_what_images_need(store):
    make_image(store, b"base", b"top", name="app")
    store.content.put(b"garbage")
    store.layers.put(b"loose layer")
    age(store)
    before = stored(store)
    result = gc.reclaim(store)
    assert result["layers"] == [sha256(b"loose layer")]
    assert sorted(result["blobs"]) == sorted([sha256(b"garbage"), sha256(b"loose layer")])
    assert result["bytes"] == before - stored(store) > 0
    assert gc.check(store, deep=True) == []
    assert gc.reclaim(store)["blobs"] == []


def test_fresh_blobs_wait_for_their_image(store):
    store.content.put(b"a pull in progress")
    store.layers.put(b"a layer of it")
    assert gc.reclaim(store)["blobs"] == []
    assert len(gc.reclaim(store, grace=0)["blobs"]) == 2


def test_nothing_is_reclaimed_while_others_write(store):
    store.content.put(b"garbage")
    with store.writing(), store.writing():
        assert gc.reclaim(store, grace=0)["busy"]
    with store.content.ingest(sha256(b"more"), 4):
        assert gc.reclaim(store, grace=0)["busy"]
    assert gc.reclaim(store, grace=0)["blobs"] == [sha256(b"garbage")]


def test_manifests_and_what_they_name_are_kept(store):
    config = store.images.resolve(make_image(store, b"base", name="app")).config_bytes
    packed = store.content.put(b"the layer, compressed")
    with store.db.write() as transaction:
        transaction.execute(
            "INSERT INTO layer_blobs VALUES (?, ?, ?, 21)",
            (packed, sha256(b"base"), documents.OCI_LAYER_GZIP),
        )
    manifest = documents.make_manifest(
        documents.descriptor(documents.OCI_CONFIG, store.content.put(config), len(config)),
        [documents.descriptor(documents.OCI_LAYER_GZIP, packed, 21)],
    )
    image = store.images.add(config, manifest=manifest)
    index = store.content.put(
        documents.make_index([documents.descriptor(documents.OCI_MANIFEST, image.manifest, len(manifest))])
    )
    store.images.record_digest("app", index, image.id)
    age(store)
    assert gc.reclaim(store)["blobs"] == []
    store.images.delete("app")
    age(store)
    gc.reclaim(store)
    assert store.db.read("SELECT * FROM blobs") == store.db.read("SELECT * FROM layer_blobs") == []


def test_cached_results_go_with_the_cache(store):
    image_id = make_image(store, b"step", hidden=True)
    container = add_container(store, image_id, "c")
    with store.db.write() as transaction:
        transaction.execute("INSERT INTO build_cache VALUES ('key', ?, 0, 0)", (image_id,))
    age(store)
    assert gc.reclaim(store)["layers"] == []
    drop_container(store, container)
    assert gc.reclaim(store)["layers"] == []
    with store.db.write() as transaction:
        transaction.execute("DELETE FROM build_cache")
    assert gc.reclaim(store)["layers"] == [sha256(b"step")]
    assert store.images.list(all=True) == []


def test_a_removed_image_that_a_container_needs_keeps_its_layers(store):
    image_id = make_image(store, b"base", name="app")
    add_container(store, image_id, "c")
    store.images.delete("app", force=True)
    age(store)
    gc.reclaim(store)
    assert store.layers.has(sha256(b"base"))
    assert gc.check(store) == []


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
    assert len(gc.sweep(store)) == len(made) + 3
    assert [path for path in made if os.path.exists(path)] == []
    assert os.path.isdir(paths.volumes + "/of-a-person/_data/letters")
    assert [volume.name for volume in store.volumes.list()] == ["kept"]
    assert gc.check(store) == ["directory volumes/of-a-person has no row"]
    assert gc.sweep(store) == []


def test_sweep_leaves_what_is_being_made(store):
    paths = store.paths
    fd, path = files.new_file(paths.ingest, ".tmp")
    blob = f"{paths.blobs}/sha256/{'12' * 32}"
    os.rename(path, blob)  # its row comes in a moment
    directory, layer = files.new_directory(paths.ingest, ".layer")
    assert gc.sweep(store) == gc.check(store) == []
    os.close(fd)
    os.close(directory)
    assert len(gc.check(store)) == 2
    assert len(gc.sweep(store)) == 2
    assert not os.path.exists(blob) and not os.path.exists(layer)


def test_a_broken_download_is_kept_for_a_while(store):
    with store.content.ingest(sha256(b"x" * 10), 10) as ingest:
        ingest.write(b"x")
        age(store)
        assert gc.sweep(store) == [] == leftovers.kept(store)
        assert os.path.exists(ingest.path)
    os.utime(ingest.path)
    assert gc.sweep(store) == gc.check(store) == []
    assert leftovers.kept(store) == [f"1 bytes of blob {ingest.digest}, for the next pull to go on from"]
    age(store)
    assert gc.sweep(store) == [f"ingest/{ingest.digest}.part: removed"]


def test_check_finds_each_kind_of_damage(store):
    image_id = make_image(store, b"base", b"top", name="app")
    paths = store.paths
    assert gc.check(store, deep=True) == []
    lost, damaged, short = (store.content.put(data) for data in (b"lost", b"damaged", b"short"))
    os.unlink(store.content.path(lost))
    with open(store.content.path(damaged), "r+b") as file:
        file.write(b"x")
    with open(store.content.path(short), "wb") as file:
        file.write(b"s")
    open(f"{paths.blobs}/sha256/{'12' * 32}", "w").close()
    open(f"{paths.ingest}/stray", "w").close()
    os.rmdir(f"{paths.layers}/{sha256(b'top')[7:]}")
    with store.db.write() as transaction:
        transaction.execute("DELETE FROM layers WHERE diff_id = ?", (sha256(b"base"),))
        transaction.execute("INSERT INTO names VALUES ('docker.io/library/gone:1', 'sha256:00', NULL, 0)")
    os.makedirs(paths.containers + "/nobody")
    store.volumes.create("data")
    os.rmdir(store.volumes.path("data"))
    found = gc.check(store)
    expected = [
        f"blob {lost} has no file",
        f"blob {short} is 1 bytes long instead of 5",
        f"file blobs/sha256/{'12' * 32} has no row",
        f"layer {sha256(b'top')} has no snapshot",
        f"directory layers/{sha256(b'base')[7:]} has no row",
        f"image {image_id} lacks layer {sha256(b'base')}",
        "names docker.io/library/gone:1 points to image sha256:00, which is not here",
        "file ingest/stray is left from an unfinished write",
        "directory containers/nobody has no row",
        "volume data has no directory",
    ]
    assert sorted(found) == sorted(expected)
    assert sorted(gc.check(store, deep=True)) == sorted([*expected, f"blob {damaged} is damaged"])


def test_usage_counts_shared_layers_once(store):
    one = make_image(store, b"b" * 100, b"1" * 10, name="one")
    two = make_image(store, b"b" * 100, b"2" * 20, name="two")
    make_image(store, b"b" * 100, b"c" * 5, hidden=True)
    with store.db.write() as transaction:
        image = store.images.list(all=True)[0].id
        for item in store.images.list(all=True):
            if item.id not in (one, two):
                image = item.id
        transaction.execute("INSERT INTO build_cache VALUES ('k', ?, 0, 0)", (image,))
    container = add_container(store, one, "c", status="running")
    os.makedirs(store.paths.container(container) + "/upper")
    store.volumes.create("v")
    usage = gc.usage(store)
    layer, folder = os.stat(store.content.path(sha256(b"1" * 10))).st_blocks * 512, 0
    for name in os.listdir(store.paths.layers):
        folder = os.stat(f"{store.paths.layers}/{name}").st_blocks * 512
    each = layer + folder
    assert usage["images"] == {"count": 2, "active": 1, "size": 3 * each, "reclaimable": each}
    assert usage["per_image"][two] == {"size": 120, "shared": 100, "unique": 20, "containers": 0}
    assert usage["containers"] == {"count": 1, "active": 1, "size": 0, "reclaimable": 0}
    assert usage["build_cache"] == {"count": 1, "active": 0, "size": each, "reclaimable": each}
    assert usage["volumes"]["count"] == 1
