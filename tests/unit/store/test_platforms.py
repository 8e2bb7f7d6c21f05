"""A name that means an index: which images belong to it, and how long they stay."""

from __future__ import annotations

import pytest

from estiva.oci import image as documents
from estiva.store import platforms
from storekit import make_image, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def manifest_of(store, image_id):
    config = store.images.resolve(image_id).config_bytes
    return documents.make_manifest(documents.descriptor(documents.OCI_CONFIG, image_id, len(config)), [])


def index_over(store, *bodies):
    return store.content.put(
        documents.make_index(
            [
                documents.descriptor(documents.OCI_MANIFEST, store.content.put(body), len(body))
                for body in bodies
            ]
        )
    )


def test_members_are_told_in_the_indexs_order(store):
    images = [make_image(store, data, architecture=data.decode()) for data in (b"arm64", b"amd64")]
    index = index_over(store, *(manifest_of(store, image) for image in images))
    assert [image for _, image in platforms.members(store, index)] == images
    assert platforms.index_digest(store, index) == index
    assert platforms.index_of(store, index)["mediaType"] == documents.OCI_INDEX


def test_what_is_not_here_is_left_out(store):
    here, gone = make_image(store, b"1"), make_image(store, b"2")
    bodies = [manifest_of(store, here), manifest_of(store, gone)]
    index = index_over(store, *bodies)
    with store.db.write() as transaction:
        transaction.execute("DELETE FROM images WHERE id = ?", (gone,))
    ((manifest, image),) = platforms.members(store, index)
    assert image == here
    store.content.delete(manifest)
    assert platforms.members(store, index) == []
    store.content.delete(index)
    assert platforms.members(store, index) == [] and platforms.index_digest(store, index) == ""


def test_what_is_no_index(store):
    manifest = store.content.put(manifest_of(store, make_image(store, b"1")))
    for digest in (None, "", manifest, store.content.put(b"neither"), "sha256:" + "0" * 64):
        assert platforms.index_of(store, digest) is None
        assert platforms.index_digest(store, digest) == ""
        assert not digest or platforms.members(store, digest) == []


def test_a_name_holds_the_images_of_its_index(store):
    one, two, other = (make_image(store, data) for data in (b"1", b"2", b"3"))
    index = index_over(store, manifest_of(store, one), manifest_of(store, two))
    assert platforms.held(store, store.db) == set()
    store.images.tag(one, "multi", manifest=index)
    store.images.tag(other, "plain", manifest=store.content.put(manifest_of(store, other)))
    assert platforms.held(store, store.db) == {one, two}
    store.images.untag("multi")
    assert platforms.held(store, store.db) == set()
