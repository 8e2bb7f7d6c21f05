"""What a push sends, decided before a byte goes out."""

from __future__ import annotations

import dataclasses
import json

import pytest

from estiva.errors import NotFound
from estiva.oci import image as documents
from estiva.registry.transfer.plan import Packing, plan, plan_index
from registry_support import fake_store, fill, sample, sha256

IMAGE = sample(21, sizes=(300, 200))


@pytest.fixture
def store(tmp_path):
    return fake_store(tmp_path)


def came(store, sample):
    """An image that was pulled: config and manifest are blobs too."""
    image = fill(store, sample)
    store.content.put(sample.config)
    return store.images.add(sample.config, manifest=sample.manifest) and store.images.resolve(image.id)


def test_a_built_image_gets_the_same_manifest_each_time(store):
    image = fill(store, IMAGE)
    made = plan(store, image)
    assert made == plan(store, image) and made.image == image.id
    assert made.digest == sha256(made.manifest) and made.media_type == documents.OCI_MANIFEST
    document = documents.parse_manifest(made.manifest)
    assert [layer["digest"] for layer in document["layers"]] == [sha256(layer) for layer in IMAGE.layers]
    assert made.blobs == {
        image.id: len(IMAGE.config),
        **{sha256(layer): len(layer) for layer in IMAGE.layers},
    }
    assert made.data == {image.id: IMAGE.config}, "the config is no blob of the store"
    assert made.descriptor(platform={"os": "linux"})["platform"] == {"os": "linux"}


def test_a_made_manifest_is_of_one_family(store, monkeypatch):
    image = fill(store, IMAGE)
    kinds = iter((documents.DOCKER_LAYER_GZIP, documents.DOCKER_LAYER_ZSTD))
    monkeypatch.setattr(
        store.layers, "compressed", lambda *words: (sha256(words[0].encode()), 1, next(kinds))
    )
    layers = documents.parse_manifest(plan(store, image).manifest)["layers"]
    assert [layer["mediaType"] for layer in layers] == [documents.OCI_LAYER_GZIP, documents.OCI_LAYER_ZSTD]


def test_a_manifest_that_came_goes_as_it_came(store):
    image = came(store, IMAGE)
    made = plan(store, image)
    assert (made.manifest, made.digest) == (IMAGE.manifest, IMAGE.digest)
    assert plan(store, image, Packing("gzip")) == made


@pytest.mark.parametrize("packing", [Packing("zstd"), Packing("tar"), Packing("gzip", 9)])
def test_unless_it_is_to_be_packed_otherwise(store, packing):
    assert plan(store, came(store, IMAGE), packing).digest != IMAGE.digest


def test_unless_something_of_it_is_gone(store):
    image = came(store, IMAGE)
    store.content.delete(sha256(IMAGE.layers[0]))
    assert plan(store, image).digest != IMAGE.digest
    store.content.delete(IMAGE.digest)
    assert plan(store, image).digest != IMAGE.digest


def test_a_manifest_of_another_image_is_not_sent(store):
    other = sample(22, sizes=(10,))
    came(store, other)
    image = came(store, IMAGE)
    image.manifest = other.digest
    sent = documents.parse_manifest(plan(store, image).manifest)
    assert sent["config"]["digest"] == image.id


def index_over(store, *samples, **more):
    entries = [
        {
            "mediaType": documents.OCI_MANIFEST,
            "digest": each.digest,
            "size": len(each.manifest),
            "platform": {"os": "linux", "architecture": json.loads(each.config)["architecture"]},
            "annotations": {"n": str(number)},
        }
        for number, each in enumerate(samples)
    ]
    return store.content.put(documents.make_index(entries, **more))


BOTH = [sample(f"i{name}", sizes=(50,), architecture=name) for name in ("amd64", "arm64")]


def test_an_index_whose_images_are_all_here_goes_as_it_came(store):
    for each in BOTH:
        came(store, each)
    digest = index_over(store, *BOTH)
    made = plan_index(store, digest)
    assert made.digest == digest and made.manifest == store.content.read(digest) and made.blobs == {}
    assert [member.digest for member in made.members] == [each.digest for each in BOTH]


def test_an_index_over_what_is_here(store):
    came(store, BOTH[1])
    digest = index_over(store, *BOTH, annotations={"of": "index"})
    made = plan_index(store, digest)
    assert made.digest != digest
    index = documents.parse_index(made.manifest)
    (entry,) = index["manifests"]
    assert (entry["digest"], entry["platform"]["architecture"]) == (BOTH[1].digest, "arm64")
    assert entry["annotations"] == {"n": "1"} and index["annotations"] == {"of": "index"}


def test_an_index_packed_anew_names_what_it_sends(store):
    for each in BOTH:
        came(store, each)
    digest = index_over(store, *BOTH)
    made = plan_index(store, digest, Packing("gzip", 9))
    named = [entry["digest"] for entry in documents.parse_index(made.manifest)["manifests"]]
    assert named == [member.digest for member in made.members] and made.digest != digest


def test_an_index_of_which_nothing_is_here(store):
    for digest in (index_over(store, *BOTH), "sha256:" + "0" * 64):
        with pytest.raises(NotFound, match="none of the images"):
            plan_index(store, digest)


def test_a_plan_does_not_change(store):
    made = plan(store, fill(store, IMAGE))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.digest = "x"
