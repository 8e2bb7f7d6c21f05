"""`rmi` and `image prune`."""

import pytest

from estiva.errors import Conflict, NotFound
from estiva.oci.digest import sha256
from estiva.store.upkeep import image_removal
from storekit import add_container, drop_container, make_image, make_store

D1 = "sha256:" + "11" * 32


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def test_rmi_by_name_takes_the_last_name_and_the_image(store):
    image_id = make_image(store, b"base", b"top", name="app:1")
    store.images.tag(image_id, "app:2")
    store.images.record_digest("app", D1, image_id)
    assert image_removal.delete(store, "app:1") == ["Untagged: app:1"]
    lines = image_removal.delete(store, "app:2")
    assert lines[:3] == ["Untagged: app:2", f"Untagged: app@{D1}", f"Deleted: {image_id}"]
    assert sorted(lines[3:]) == sorted([f"Deleted: {sha256(b'base')}", f"Deleted: {sha256(b'top')}"])
    assert store.db.read("SELECT * FROM blobs") == store.db.read("SELECT * FROM layers") == []
    with pytest.raises(NotFound):
        image_removal.delete(store, "app:2")


def test_rmi_keeps_shared_layers(store):
    make_image(store, b"base", b"one", name="one")
    two = make_image(store, b"base", b"two", name="two")
    assert f"Deleted: {sha256(b'base')}" not in image_removal.delete(store, "one")
    assert store.layers.has(sha256(b"base")) and not store.layers.has(sha256(b"one"))
    assert f"Deleted: {sha256(b'base')}" in image_removal.delete(store, two)


def test_rmi_by_id_refuses_several_names_unless_forced(store):
    image_id = make_image(store, b"base", name="a")
    store.images.tag(image_id, "b")
    with pytest.raises(Conflict, match="a:latest, b:latest") as caught:
        image_removal.delete(store, image_id[7:19])
    assert "--force" in caught.value.hint
    lines = image_removal.delete(store, image_id[7:19], force=True)
    assert lines[:3] == ["Untagged: a:latest", "Untagged: b:latest", f"Deleted: {image_id}"]


def test_rmi_of_an_image_in_use(store):
    image_id = make_image(store, b"base", name="a")
    container = add_container(store, image_id, "web")
    for ref in ("a", image_id):
        with pytest.raises(Conflict, match="web") as caught:
            image_removal.delete(store, ref)
        assert caught.value.hint
    assert store.images.names(image_id) == ["a:latest"]
    store.images.tag(image_id, "b")
    assert image_removal.delete(store, "b") == ["Untagged: b:latest"]
    assert image_removal.delete(store, "a", force=True) == ["Untagged: a:latest"]
    assert store.layers.has(sha256(b"base"))
    with pytest.raises(Conflict):
        image_removal.delete(store, image_id, force=True)
    drop_container(store, container)
    assert image_removal.delete(store, image_id)[0] == f"Deleted: {image_id}"
    assert not store.layers.has(sha256(b"base"))


def test_rmi_by_digest(store):
    image_id = make_image(store, b"base", name="a")
    store.images.record_digest("a", D1, image_id)
    store.images.record_digest("b", D1, image_id)
    assert store.images.repo_digests(image_id) == [f"a@{D1}", f"b@{D1}"]
    assert image_removal.delete(store, f"b@{D1}") == [f"Untagged: b@{D1}"]
    assert store.images.resolve("a").id == image_id


def test_the_build_cache_holds_layers(store):
    image_id = make_image(store, b"base", name="a")
    with store.db.write() as transaction:
        transaction.execute("INSERT INTO build_cache VALUES ('key', ?, 0, 0)", (image_id,))
    assert image_removal.delete(store, "a") == ["Untagged: a:latest", f"Deleted: {image_id}"]
    assert store.images.list() == [] and store.layers.has(sha256(b"base"))
    assert [i.id for i in store.images.list(all=True)] == [image_id]
    store.images.tag(image_id, "again")
    assert [i.id for i in store.images.list()] == [image_id]


def test_prune_takes_the_nameless_and_all_takes_the_unused(store):
    nameless, named, used = (make_image(store, data) for data in (b"1", b"2", b"3"))
    store.images.tag(named, "named")
    store.images.tag(used, "used")
    add_container(store, used, "c")
    held = make_image(store, b"4")
    add_container(store, held, "d")
    assert image_removal.prune(store) == [f"Deleted: {nameless}", f"Deleted: {sha256(b'1')}"]
    assert image_removal.prune(store) == []
    lines = image_removal.prune(store, all=True)
    assert lines == ["Untagged: named:latest", f"Deleted: {named}", f"Deleted: {sha256(b'2')}"]
    assert {i.id for i in store.images.list()} == {used, held}


def test_prune_leaves_the_fresh_images_of_others(store):
    image_id = make_image(store, b"1")
    with store.writing():
        assert image_removal.prune(store) == []
        with store.db.write() as transaction:
            transaction.execute("UPDATE images SET added = added - 100")
        assert image_removal.prune(store) == [f"Deleted: {image_id}"]
