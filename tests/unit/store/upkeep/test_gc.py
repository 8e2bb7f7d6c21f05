import pytest

from estiva.oci import image as documents
from estiva.oci.digest import sha256
from estiva.store.upkeep import fsck, gc, image_removal
from estiva.store.upkeep.usage import stored
from storekit import add_container, age, drop_container, make_image, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


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
    assert fsck.check(store, deep=True) == []
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
    image_removal.delete(store, "app")
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
    image_removal.delete(store, "app", force=True)
    age(store)
    gc.reclaim(store)
    assert store.layers.has(sha256(b"base"))
    assert fsck.check(store) == []
