import pytest

from estiva.errors import Conflict, InvalidInput, NotFound
from estiva.oci.digest import sha256
from storekit import add_container, drop_container, make_image, make_store

D1 = "sha256:" + "11" * 32
D2 = "sha256:" + "22" * 32


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def test_resolves_names_ids_and_digests(store):
    image_id = make_image(store, b"base", name="alpine:3")
    images = store.images
    images.record_digest("docker.io/library/alpine", D1, image_id)
    for ref in (
        "alpine:3",
        "docker.io/library/alpine:3",
        image_id,
        image_id[7:],
        image_id[7:19],
        image_id[7:8],
        image_id[:20],
        f"alpine@{D1}",
        f"alpine:3@{D1}",
    ):
        assert images.resolve(ref).id == image_id, ref
    for ref in ("alpine", "alpine:4", f"alpine@{D2}", f"other@{D1}", D1, "0" * 64):
        assert images.find(ref) is None, ref
    with pytest.raises(NotFound, match="no such image: nothing") as caught:
        images.resolve("nothing")
    assert "estiva pull nothing" in caught.value.hint
    with pytest.raises(InvalidInput):
        images.resolve("Bad Name")


def test_the_tags_of_a_repository(store):
    image_id = make_image(store, b"base", name="web:2")
    for name in (
        "web",
        "web:1",
        "web-x:1",
        "web.x:1",
        "webs:1",
        "web/x:1",
        "a/web:1",
        "r.io/web:1",
        "r.io:5/web:1",
    ):
        store.images.tag(image_id, name)
    store.images.record_digest("web", D1, image_id)
    assert store.images.tags("docker.io/library/web") == ["web:1", "web:2", "web:latest"]
    assert store.images.tags("r.io/web") == ["r.io/web:1"]
    assert store.images.tags("r.io:5/web") == ["r.io:5/web:1"]
    assert store.images.tags("docker.io/library/we") == store.images.tags("r.io/library/web") == []


def test_a_name_wins_over_an_id(store):
    first = make_image(store, b"1")
    prefix = first[7:13]
    second = make_image(store, b"2", name=prefix)
    assert store.images.resolve(prefix).id == second
    assert store.images.resolve(first[7:14]).id == first


def test_an_ambiguous_prefix_is_refused(store):
    ids = [make_image(store, str(n).encode()) for n in range(17)]
    first = next(c for c in "0123456789abcdef" if sum(i[7] == c for i in ids) > 1)
    with pytest.raises(InvalidInput, match="ambiguous"):
        store.images.resolve(first)


def test_an_image_tells_what_it_is(store):
    image_id = make_image(store, b"base", b"more than", name="app")
    image = store.images.resolve("app")
    assert image.diff_ids == [sha256(b"base"), sha256(b"more than")]
    assert image.size == 13
    assert image.created == 1001.0
    assert sha256(image.config_bytes) == image_id
    assert image.manifest is None
    assert [i.id for i in store.images.list()] == [image_id]


def test_adding_needs_the_layers_and_a_sound_config(store):
    with pytest.raises(NotFound, match="layer"):
        store.images.add(
            b'{"architecture":"a","os":"linux","rootfs":{"type":"layers","diff_ids":["%s"]}}' % D1.encode()
        )
    with pytest.raises(InvalidInput):
        store.images.add(b'{"rootfs":{"type":"layers","diff_ids":["../x"]}}')
    assert store.images.list() == []


def test_the_manifest_is_kept(store):
    config = store.images.resolve(make_image(store, b"x")).config_bytes
    image = store.images.add(config, manifest=b'{"some":"manifest"}')
    assert store.content.read(image.manifest) == b'{"some":"manifest"}'
    assert store.images.add(config).manifest == image.manifest


def test_an_image_is_made_with_its_names_or_not_at_all(store):
    config = store.images.resolve(make_image(store, b"x", name="old")).config_bytes
    image = store.images.add(config, manifest=b"{}", names=["a", "b:1"])
    assert store.images.names(image.id) == ["a:latest", "b:1", "old:latest"]
    assert store.images.resolve("a").manifest == sha256(b"{}")
    store.images.delete(image.id, force=True)
    store.layers.put(b"x")
    with pytest.raises(InvalidInput):
        store.images.add(config, names=["a", "Bad"])
    assert store.images.list() == []


def test_tagging_moves_a_name(store):
    first, second = make_image(store, b"1", name="app"), make_image(store, b"2")
    store.images.tag(second, "app", manifest=D1)
    assert store.images.names(first) == []
    assert store.images.names(second) == ["app:latest"]
    assert store.images.resolve("app").manifest == D1
    store.images.tag(second, "localhost:5000/x:y")
    assert store.images.names(second) == ["app:latest", "localhost:5000/x:y"]
    with pytest.raises(NotFound):
        store.images.tag(D1, "app")
    with pytest.raises(InvalidInput):
        store.images.tag(second, f"app@{D1}")
    store.images.untag("app")
    with pytest.raises(NotFound):
        store.images.untag("app")
    assert store.images.resolve(second)


def test_history_pairs_steps_with_layers(store):
    image_id = make_image(
        store,
        b"base",
        b"more",
        history=[
            {"created_by": "ADD", "created": "t"},
            {"created_by": "ENV", "empty_layer": True},
            {"created_by": "RUN", "comment": "c"},
        ],
    )
    steps = store.images.history(store.images.resolve(image_id))
    assert [(s["created_by"], s["size"], s["empty"]) for s in steps] == [
        ("RUN", 4, False),
        ("ENV", 0, True),
        ("ADD", 4, False),
    ]
    bare = make_image(store, b"base", b"other", history=[])
    assert [s["size"] for s in store.images.history(store.images.resolve(bare))] == [5, 4]


# ---- rmi


def test_rmi_by_name_takes_the_last_name_and_the_image(store):
    image_id = make_image(store, b"base", b"top", name="app:1")
    store.images.tag(image_id, "app:2")
    store.images.record_digest("app", D1, image_id)
    assert store.images.delete("app:1") == ["Untagged: app:1"]
    lines = store.images.delete("app:2")
    assert lines[:3] == ["Untagged: app:2", f"Untagged: app@{D1}", f"Deleted: {image_id}"]
    assert sorted(lines[3:]) == sorted([f"Deleted: {sha256(b'base')}", f"Deleted: {sha256(b'top')}"])
    assert store.db.read("SELECT * FROM blobs") == store.db.read("SELECT * FROM layers") == []
    with pytest.raises(NotFound):
        store.images.delete("app:2")


def test_rmi_keeps_shared_layers(store):
    make_image(store, b"base", b"one", name="one")
    two = make_image(store, b"base", b"two", name="two")
    assert f"Deleted: {sha256(b'base')}" not in store.images.delete("one")
    assert store.layers.has(sha256(b"base")) and not store.layers.has(sha256(b"one"))
    assert f"Deleted: {sha256(b'base')}" in store.images.delete(two)


def test_rmi_by_id_refuses_several_names_unless_forced(store):
    image_id = make_image(store, b"base", name="a")
    store.images.tag(image_id, "b")
    with pytest.raises(Conflict, match="a:latest, b:latest") as caught:
        store.images.delete(image_id[7:19])
    assert "--force" in caught.value.hint
    lines = store.images.delete(image_id[7:19], force=True)
    assert lines[:3] == ["Untagged: a:latest", "Untagged: b:latest", f"Deleted: {image_id}"]


def test_rmi_of_an_image_in_use(store):
    image_id = make_image(store, b"base", name="a")
    container = add_container(store, image_id, "web")
    for ref in ("a", image_id):
        with pytest.raises(Conflict, match="web") as caught:
            store.images.delete(ref)
        assert caught.value.hint
    assert store.images.names(image_id) == ["a:latest"]
    store.images.tag(image_id, "b")
    assert store.images.delete("b") == ["Untagged: b:latest"]
    assert store.images.delete("a", force=True) == ["Untagged: a:latest"]
    assert store.layers.has(sha256(b"base"))
    with pytest.raises(Conflict):
        store.images.delete(image_id, force=True)
    drop_container(store, container)
    assert store.images.delete(image_id)[0] == f"Deleted: {image_id}"
    assert not store.layers.has(sha256(b"base"))


def test_rmi_by_digest(store):
    image_id = make_image(store, b"base", name="a")
    store.images.record_digest("a", D1, image_id)
    store.images.record_digest("b", D1, image_id)
    assert store.images.repo_digests(image_id) == [f"a@{D1}", f"b@{D1}"]
    assert store.images.delete(f"b@{D1}") == [f"Untagged: b@{D1}"]
    assert store.images.resolve("a").id == image_id


def test_the_build_cache_holds_layers(store):
    image_id = make_image(store, b"base", name="a")
    with store.db.write() as transaction:
        transaction.execute("INSERT INTO build_cache VALUES ('key', ?, 0, 0)", (image_id,))
    assert store.images.delete("a") == ["Untagged: a:latest", f"Deleted: {image_id}"]
    assert store.images.list() == [] and store.layers.has(sha256(b"base"))
    assert [i.id for i in store.images.list(all=True)] == [image_id]
    store.images.tag(image_id, "again")
    assert [i.id for i in store.images.list()] == [image_id]


def test_hidden_images_are_not_listed_until_they_have_a_name(store):
    image_id = make_image(store, b"base", hidden=True)
    assert store.images.list() == []
    assert make_image(store, b"base") == image_id
    assert [i.id for i in store.images.list()] == [image_id]
    make_image(store, b"base", hidden=True)
    assert [i.id for i in store.images.list()] == [image_id]


def test_prune_takes_the_nameless_and_all_takes_the_unused(store):
    nameless, named, used = (make_image(store, data) for data in (b"1", b"2", b"3"))
    store.images.tag(named, "named")
    store.images.tag(used, "used")
    add_container(store, used, "c")
    held = make_image(store, b"4")
    add_container(store, held, "d")
    assert store.images.prune() == [f"Deleted: {nameless}", f"Deleted: {sha256(b'1')}"]
    assert store.images.prune() == []
    lines = store.images.prune(all=True)
    assert lines == ["Untagged: named:latest", f"Deleted: {named}", f"Deleted: {sha256(b'2')}"]
    assert {i.id for i in store.images.list()} == {used, held}


def test_prune_leaves_the_fresh_images_of_others(store):
    image_id = make_image(store, b"1")
    with store.writing():
        assert store.images.prune() == []
        with store.db.write() as transaction:
            transaction.execute("UPDATE images SET added = added - 100")
        assert store.images.prune() == [f"Deleted: {image_id}"]
