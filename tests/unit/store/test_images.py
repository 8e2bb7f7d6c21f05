import pytest

from estiva.errors import InvalidInput, NotFound
from estiva.oci.digest import sha256
from estiva.store.upkeep import image_removal
from storekit import make_image, make_store

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
    image_removal.delete(store, image.id, force=True)
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


def test_hidden_images_are_not_listed_until_they_have_a_name(store):
    image_id = make_image(store, b"base", hidden=True)
    assert store.images.list() == []
    assert make_image(store, b"base") == image_id
    assert [i.id for i in store.images.list()] == [image_id]
    make_image(store, b"base", hidden=True)
    assert [i.id for i in store.images.list()] == [image_id]
