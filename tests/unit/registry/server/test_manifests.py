"""Manifests, tags, referrers and the catalog, by plain HTTP requests (distribution-spec end-3, end-7 to end-9, end-12)."""

from __future__ import annotations

import json

import pytest

from registry_support import (
    OCI_INDEX,
    OCI_MANIFEST,
    Server,
    ask,
    error_code,
    push_blob,
    sample,
    sha256,
    upload,
)

IMAGE = sample(3)
MISSING = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as running:
        upload(running.address, "a/b", "1", IMAGE)
        yield running


def test_manifests_by_tag_and_digest(server):
    for which in ("1", IMAGE.digest):
        status, headers, body = ask(server.address, "GET", f"/v2/a/b/manifests/{which}")
        assert (status, body) == (200, IMAGE.manifest)
        assert headers["Content-Type"] == OCI_MANIFEST
        assert headers["Docker-Content-Digest"] == IMAGE.digest
        status, headers, body = ask(server.address, "HEAD", f"/v2/a/b/manifests/{which}")
        assert (status, body, headers["Content-Length"]) == (200, b"", str(len(IMAGE.manifest)))
    for which in ("2", MISSING, ".not-a-tag"):
        status, _, body = ask(server.address, "GET", f"/v2/a/b/manifests/{which}")
        assert (status, error_code(body)) == (404, "MANIFEST_UNKNOWN")


def put(server, body, which="t", kind=OCI_MANIFEST, repository="a/b"):
    return ask(server.address, "PUT", f"/v2/{repository}/manifests/{which}", body, {"Content-Type": kind})


def test_a_manifest_needs_its_blobs_in_their_size(server):
    status, _, body = put(server, IMAGE.manifest, repository="elsewhere")
    assert (status, error_code(body)) == (404, "MANIFEST_BLOB_UNKNOWN")
    wrong = json.loads(IMAGE.manifest)
    wrong["config"]["size"] += 1
    status, _, body = put(server, json.dumps(wrong).encode())
    assert (status, error_code(body)) == (404, "MANIFEST_BLOB_UNKNOWN")
    entry = {"mediaType": OCI_MANIFEST, "digest": MISSING, "size": 3}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    status, _, body = put(server, index, kind=OCI_INDEX)
    assert (status, error_code(body)) == (404, "MANIFEST_BLOB_UNKNOWN")


def test_put_by_digest_with_tags(server):
    status, headers, _ = put(server, IMAGE.manifest, f"{IMAGE.digest}?tag=x1&tag=x2")
    assert status == 201
    assert headers.get_all("OCI-Tag") == ["x1", "x2"]
    assert ask(server.address, "GET", "/v2/a/b/manifests/x2")[2] == IMAGE.manifest
    status, _, body = put(server, IMAGE.manifest, MISSING)
    assert (status, error_code(body)) == (400, "DIGEST_INVALID")
    assert put(server, IMAGE.manifest, f"{IMAGE.digest}?tag=.x")[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"schemaVersion": 1}',
        IMAGE.manifest.replace(b'"layers"', b'"manifests": [], "layers"'),
        IMAGE.manifest.replace(b"sha256:", b"SHA256:"),
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
)
def test_malformed_manifests_are_refused(server, body):
    status, _, answer = put(server, body)
    assert (status, error_code(answer)) == (400, "MANIFEST_INVALID")


def test_a_manifest_under_another_type_is_refused(server):
    assert put(server, IMAGE.manifest, kind=OCI_INDEX)[0] == 400
    assert put(server, IMAGE.manifest, kind="text/html")[0] == 400
    assert put(server, IMAGE.manifest, kind=f"{OCI_MANIFEST}; charset=utf-8")[0] == 201


def test_a_manifest_over_the_limit_is_refused(server):
    status, _, body = put(server, b" " * ((4 << 20) + 1))
    assert (status, error_code(body)) == (413, "SIZE_INVALID")


def test_tags_are_listed_in_pages(server):
    image = sample(4, sizes=(100,))
    for tag in ("b", "a", "C", "10", "9"):
        upload(server.address, "tags", tag, image)
    found, path, pages = [], "/v2/tags/tags/list?n=2", 0
    while path:
        status, headers, body = ask(server.address, "GET", path)
        assert status == 200
        value = json.loads(body)
        assert value["name"] == "tags"
        found += value["tags"]
        pages += 1
        link = headers.get("Link")
        path = link[1 : link.index(">")] if link else None
    assert (found, pages) == (["10", "9", "C", "a", "b"], 3)
    assert json.loads(ask(server.address, "GET", "/v2/tags/tags/list?n=0")[2])["tags"] == []
    assert json.loads(ask(server.address, "GET", "/v2/tags/tags/list?last=C")[2])["tags"] == ["a", "b"]
    status, _, body = ask(server.address, "GET", "/v2/nope/tags/list")
    assert (status, error_code(body)) == (404, "NAME_UNKNOWN")
    assert ask(server.address, "GET", "/v2/tags/tags/list?n=x")[0] == 400


def test_catalog(server):
    for name in ("catalog/one", "catalog/two"):
        upload(server.address, name, "1", sample(4, sizes=(100,)))
    names = json.loads(ask(server.address, "GET", "/v2/_catalog")[2])["repositories"]
    assert {"catalog/one", "catalog/two"} <= {*names} and names == sorted(names)
    _, headers, body = ask(server.address, "GET", "/v2/_catalog?n=1")
    assert json.loads(body)["repositories"] == names[:1] and "Link" in headers


def artifact(subject, kind, note):
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": empty,
            "layers": [empty],
            "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 7},
            "annotations": {"note": note},
        }
    ).encode()


def test_referrers(server):
    push_blob(server.address, "ref", b"{}")
    subject = sha256(b"not even here")
    first, second = artifact(subject, "application/x.sbom", "1"), artifact(subject, "application/x.sig", "2")
    for body in (first, second):
        status, headers, _ = put(server, body, sha256(body), repository="ref")
        assert (status, headers["OCI-Subject"]) == (201, subject)
    status, headers, body = ask(server.address, "GET", f"/v2/ref/referrers/{subject}")
    assert (status, headers["Content-Type"]) == (200, OCI_INDEX)
    listed = {entry["digest"]: entry for entry in json.loads(body)["manifests"]}
    assert set(listed) == {sha256(first), sha256(second)}
    assert listed[sha256(first)] == {
        "mediaType": OCI_MANIFEST,
        "digest": sha256(first),
        "size": len(first),
        "artifactType": "application/x.sbom",
        "annotations": {"note": "1"},
    }
    _, headers, body = ask(
        server.address, "GET", f"/v2/ref/referrers/{subject}?artifactType=application/x.sig"
    )
    assert headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry["digest"] for entry in json.loads(body)["manifests"]] == [sha256(second)]
    _, headers, body = ask(server.address, "GET", f"/v2/ref/referrers/{subject}?n=1")
    path = headers["Link"][1:].partition(">")[0]
    both = json.loads(body)["manifests"] + json.loads(ask(server.address, "GET", path)[2])["manifests"]
    assert {entry["digest"] for entry in both} == set(listed)
    assert ask(server.address, "DELETE", f"/v2/ref/manifests/{sha256(first)}")[0] == 202
    assert len(json.loads(ask(server.address, "GET", f"/v2/ref/referrers/{subject}")[2])["manifests"]) == 1
    assert json.loads(ask(server.address, "GET", f"/v2/ref/referrers/{MISSING}")[2])["manifests"] == []
    assert ask(server.address, "GET", "/v2/ref/referrers/sha256:x")[0] == 400


def test_deleting_a_tag_leaves_the_manifest_and_a_manifest_takes_its_tags(server):
    image = sample(5, sizes=(50,))
    for tag in ("x", "y"):
        upload(server.address, "del", tag, image)
    assert ask(server.address, "DELETE", "/v2/del/manifests/x")[0] == 202
    assert ask(server.address, "DELETE", "/v2/del/manifests/x")[0] == 404
    assert ask(server.address, "GET", "/v2/del/manifests/y")[0] == 200
    assert ask(server.address, "DELETE", f"/v2/del/manifests/{image.digest}")[0] == 202
    for which in ("y", image.digest):
        assert ask(server.address, "GET", f"/v2/del/manifests/{which}")[0] == 404
    assert json.loads(ask(server.address, "GET", "/v2/del/tags/list")[2])["tags"] == []
