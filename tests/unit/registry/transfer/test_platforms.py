"""Indexes: all platforms under one name, pulled, pushed, removed; compression on push."""

from __future__ import annotations

import json

import pytest

from estiva.errors import InvalidInput, NotFound
from estiva.registry import client
from estiva.registry.transfer.plan import Packing, plan
from estiva.store.upkeep import image_removal
from registry_support import (
    OCI_INDEX,
    OCI_MANIFEST,
    QUICK,
    Proxy,
    Server,
    ask,
    fake_store,
    reference,
    sample,
    sha256,
    upload,
)

PLATFORMS = ("amd64", "arm64", "s390x")
IMAGES = {name: sample(f"p{name}", sizes=(20_000,), architecture=name) for name in PLATFORMS}


def entry(image, architecture, **more):
    platform = {"os": "linux", "architecture": architecture}
    return {
        "mediaType": OCI_MANIFEST,
        "digest": image.digest,
        "size": len(image.manifest),
        "platform": platform,
        **more,
    }


def index_of(*entries):
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}).encode()


INDEX = index_of(*(entry(image, name) for name, image in IMAGES.items()))


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as server:
        for name, image in IMAGES.items():
            upload(server.address, "multi", name, image)
        kind = {"Content-Type": OCI_INDEX}
        assert ask(server.address, "PUT", "/v2/multi/manifests/all", INDEX, kind)[0] == 201
        yield server


@pytest.fixture
def store(tmp_path):
    return fake_store(tmp_path)


def pulled(registry, store):
    return client.pull(store, reference(registry.address, "multi", "all"), every=True, config=QUICK)


def test_all_platforms_come_under_one_name(registry, store):
    image = pulled(registry, store)
    assert len(store.images.list()) == 3
    name = f"{registry.address}/multi:all"
    assert store.images.names(image.id) == [name]
    assert store.images.resolve(name).manifest == sha256(INDEX)
    assert [store.images.names(sha256(IMAGES[p].config)) for p in PLATFORMS].count([]) == 2


def test_a_second_pull_asks_once(registry, store):
    with Proxy(registry.address) as proxy:
        pulled(proxy, store)
        proxy.seen.clear()
        pulled(proxy, store)
        client.pull(store, reference(proxy.address, "multi", "all"), config=QUICK)
        assert {method for method, path, *_ in proxy.seen if "multi" in path} == {"HEAD"}
        name = f"{proxy.address}/multi:all"
        assert store.images.resolve(name).manifest == sha256(INDEX)  # one platform asked for: all stay


def test_after_one_platform_all_can_be_asked_for(registry, store):
    client.pull(store, reference(registry.address, "multi", "all"), config=QUICK)
    assert len(store.images.list()) == 1
    pulled(registry, store)
    assert len(store.images.list()) == 3


def test_prune_spares_them_and_rmi_takes_them(registry, store):
    pulled(registry, store)
    assert image_removal.prune(store) == []
    lines = image_removal.delete(store, f"{registry.address}/multi:all")
    assert store.images.list() == []
    assert sum(line.startswith("Deleted: sha256") for line in lines) >= 3
    assert store.db.read("SELECT digest FROM repo_digests") == []


def test_a_second_name_keeps_all(registry, store):
    image = pulled(registry, store)
    store.images.tag(image.id, "mine:1", sha256(INDEX))
    image_removal.delete(store, f"{registry.address}/multi:all")
    assert len(store.images.list()) == 3
    image_removal.delete(store, "mine:1")
    assert store.images.list() == []


def test_an_index_is_pushed_as_it_came(registry, store, tmp_path):
    image = pulled(registry, store)
    with Server(tmp_path / "other") as other:
        digest = client.push(
            store, image, reference(other.address, "copy", "1"), index=sha256(INDEX), config=QUICK
        )
        assert digest == sha256(INDEX)
        assert ask(other.address, "GET", "/v2/copy/manifests/1")[2] == INDEX
        for sent in IMAGES.values():
            assert ask(other.address, "GET", f"/v2/copy/blobs/{sha256(sent.layers[0])}")[2] == sent.layers[0]


def test_what_is_not_here_is_left_out_of_the_index(registry, store, tmp_path):
    image = pulled(registry, store)
    with store.db.write() as transaction:
        gone = sha256(IMAGES["s390x"].config)
        transaction.execute("DELETE FROM repo_digests WHERE image = ?", (gone,))
        transaction.execute("DELETE FROM images WHERE id = ?", (gone,))
    with Server(tmp_path / "other") as other:
        client.push(store, image, reference(other.address, "copy", "1"), index=sha256(INDEX), config=QUICK)
        sent = json.loads(ask(other.address, "GET", "/v2/copy/manifests/1")[2])
    assert [item["platform"]["architecture"] for item in sent["manifests"]] == ["amd64", "arm64"]


def test_one_platform_and_all_contradict(registry, store):
    with pytest.raises(InvalidInput, match="at once"):
        client.pull(
            store,
            reference(registry.address, "multi", "all"),
            platform="linux/amd64",
            every=True,
            config=QUICK,
        )


def test_attestations_are_no_platform(registry, store):
    extra = entry(
        IMAGES["arm64"], "unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )
    extra["platform"]["os"] = "unknown"
    body = index_of(entry(IMAGES["amd64"], "amd64"), extra)
    ask(registry.address, "PUT", "/v2/multi/manifests/attested", body, {"Content-Type": OCI_INDEX})
    client.pull(store, reference(registry.address, "multi", "attested"), every=True, config=QUICK)
    assert len(store.images.list()) == 1


def test_a_manifest_without_index_is_all_there_is(registry, store):
    image = client.pull(store, reference(registry.address, "multi", "arm64"), every=True, config=QUICK)
    assert image.id == sha256(IMAGES["arm64"].config)


def test_the_variant_that_fits_best(registry, store):
    offered = {v: sample(f"arm{v}", sizes=(1000,), architecture="arm", config_extra={"variant": v})
               for v in ("v5", "v6", "v7")}  # fmt: skip
    for variant, image in offered.items():
        upload(registry.address, "arm", variant, image)
    entries = [entry(image, "arm") for image in offered.values()]
    for item, variant in zip(entries, offered, strict=True):
        item["platform"]["variant"] = variant
    ask(registry.address, "PUT", "/v2/arm/manifests/1", index_of(*entries), {"Content-Type": OCI_INDEX})
    ref = reference(registry.address, "arm")
    for asked, given in (("linux/arm/v6", "v6"), ("linux/arm", "v7"), ("linux/arm64", "v7")):
        assert client.pull(store, ref, platform=asked, config=QUICK).id == sha256(offered[given].config)
    with pytest.raises(NotFound, match="no image for linux/arm/v4"):
        client.pull(store, ref, platform="linux/arm/v4", config=QUICK)


def test_the_manifest_that_came_is_kept_unless_another_compression_is_asked_for(registry, store):
    image = client.pull(store, reference(registry.address, "multi", "amd64"), config=QUICK)
    assert plan(store, image).digest == IMAGES["amd64"].digest
    assert plan(store, image, Packing("gzip")).digest == IMAGES["amd64"].digest
    asked = []
    whole = store.layers.compressed
    store.layers.compressed = lambda *words: asked.append(words[1:]) or whole(*words)
    plan(store, image, Packing("zstd", 7))
    assert asked == [("zstd", 7)]
