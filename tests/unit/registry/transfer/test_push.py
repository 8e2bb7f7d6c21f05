"""Push: what is sent, what is not, and how it goes on after a break."""

from __future__ import annotations

import json

import pytest

from estiva.errors import Denied, EngineError, Unavailable
from estiva.registry import client
from registry_support import (
    OCI_MANIFEST,
    QUICK,
    Fault,
    Proxy,
    Server,
    ask,
    fake_store,
    fill,
    reference,
    sample,
    sha256,
    upload,
)

BIG = sample(11, sizes=(3_000_000, 2_000))


@pytest.fixture
def registry(tmp_path):
    with Server(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def store(tmp_path):
    return fake_store(tmp_path / "store")


def methods(proxy, path=""):
    return [method for method, where, _, _ in proxy.seen if path in where and where != "/v2/"]


def test_a_built_image_gets_the_same_manifest_every_time(registry, store, tmp_path):
    image = fill(store, BIG)
    digest = client.push(store, image, reference(registry.address), config=QUICK)
    status, headers, body = ask(registry.address, "GET", "/v2/a/b/manifests/1")
    assert (status, headers["Docker-Content-Digest"], headers["Content-Type"]) == (200, digest, OCI_MANIFEST)
    manifest = json.loads(body)
    assert manifest["config"]["digest"] == image.id
    assert [layer["digest"] for layer in manifest["layers"]] == [sha256(layer) for layer in BIG.layers]
    assert store.images.resolve(f"{registry.address}/a/b@{digest}").id == image.id
    again = fake_store(tmp_path / "again")
    assert client.push(again, fill(again, BIG), reference(registry.address, "c"), config=QUICK) == digest
    assert (
        client.pull(fake_store(tmp_path / "back"), reference(registry.address), config=QUICK).id == image.id
    )


def test_a_pulled_image_keeps_its_manifest(registry, store):
    body = json.dumps(json.loads(BIG.manifest) | {"annotations": {"kept": "yes"}}, indent=3).encode()
    upload(registry.address, "from", "1", BIG)
    ask(registry.address, "PUT", "/v2/from/manifests/1", body, {"Content-Type": OCI_MANIFEST})
    image = client.pull(store, reference(registry.address, "from"), config=QUICK)
    assert client.push(store, image, reference(registry.address, "to"), config=QUICK) == sha256(body)
    assert ask(registry.address, "GET", "/v2/to/manifests/1")[2] == body


def test_what_the_registry_has_is_not_sent(registry, store):
    image = fill(store, BIG)
    client.push(store, image, reference(registry.address), config=QUICK)
    with Proxy(registry.address) as proxy:
        client.push(store, image, reference(proxy.address, tag="2"), config=QUICK)
        assert set(methods(proxy)) == {"HEAD", "PUT"}
        assert methods(proxy, "/blobs/") == ["HEAD"] * 3


def test_blobs_of_a_sibling_repository_are_mounted(registry, store):
    image = fill(store, BIG)
    with Proxy(registry.address) as proxy:
        client.push(store, image, reference(proxy.address, "first"), config=QUICK)
        proxy.seen.clear()
        client.push(store, image, reference(proxy.address, "second"), config=QUICK)
        assert methods(proxy, "mount=") == ["POST"] * 3
        assert "PATCH" not in methods(proxy)
    assert ask(registry.address, "GET", f"/v2/second/blobs/{sha256(BIG.layers[0])}")[2] == BIG.layers[0]


def test_a_refused_mount_becomes_an_upload(registry, store):
    image = fill(store, BIG)
    with Proxy(registry.address, [Fault("mount=", "status", 403, method="POST", times=9)]) as proxy:
        client.push(store, image, reference(proxy.address, "first"), config=QUICK)
        client.push(store, image, reference(proxy.address, "second"), config=QUICK)
    assert ask(registry.address, "GET", f"/v2/second/blobs/{sha256(BIG.layers[0])}")[2] == BIG.layers[0]


def test_a_broken_upload_goes_on_where_the_registry_is(registry, store):
    image = fill(store, BIG)
    with Proxy(registry.address, [Fault("/uploads/", "break_upload", 1_000_000, method="PATCH")]) as proxy:
        client.push(store, image, reference(proxy.address), config=QUICK)
        assert methods(proxy, "/uploads/").count("POST") == 3, "nothing was begun anew"
        assert methods(proxy, "/uploads/").count("PATCH") == 4
    assert ask(registry.address, "GET", f"/v2/a/b/blobs/{sha256(BIG.layers[0])}")[2] == BIG.layers[0]


def test_an_upload_whose_session_is_lost_begins_anew(registry, store):
    image = fill(store, BIG)
    faults = [
        Fault("/uploads/", "break_upload", 1_000_000, method="PATCH"),
        Fault("/uploads/", "status", 404, method="GET"),
    ]
    with Proxy(registry.address, faults) as proxy:
        client.push(store, image, reference(proxy.address), config=QUICK)
        assert methods(proxy, "/uploads/").count("POST") == 4
    assert ask(registry.address, "GET", f"/v2/a/b/blobs/{sha256(BIG.layers[0])}")[2] == BIG.layers[0]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_a_busy_registry_is_asked_again(registry, store, method):
    image = fill(store, BIG)
    with Proxy(registry.address, [Fault("/v2/a/b/", "status", 503, method=method, times=2)]) as proxy:
        client.push(store, image, reference(proxy.address), config=QUICK)
    assert ask(registry.address, "GET", "/v2/a/b/manifests/1")[0] == 200


def test_it_gives_up(registry, store):
    image = fill(store, BIG)
    with (
        Proxy(registry.address, [Fault("/uploads/", "status", 502, method="POST", times=99)]) as proxy,
        pytest.raises(Unavailable),
    ):
        client.push(store, image, reference(proxy.address), config=QUICK)
    assert ask(registry.address, "GET", "/v2/a/b/manifests/1")[0] == 404, "the manifest goes last"


@pytest.mark.parametrize(("status", "kind"), [(403, Denied), (400, EngineError)])
def test_a_refusal_is_told_at_once(registry, store, status, kind):
    image = fill(store, BIG)
    with Proxy(registry.address, [Fault("/manifests/", "status", status, method="PUT", times=99)]) as proxy:
        with pytest.raises(kind, match=f"{proxy.address}/a/b:1|HTTP 400"):
            client.push(store, image, reference(proxy.address), config=QUICK)
        assert methods(proxy, "/manifests/") == ["PUT"]
