"""What the registry server has to know of a manifest before it accepts it."""

from __future__ import annotations

import json

import pytest

from estiva.errors import EstivaError, IntegrityError
from estiva.oci import image
from estiva.registry.server.storage.documents import inspect

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def part(digest, size=1, kind=image.OCI_LAYER):
    return {"mediaType": kind, "digest": digest, "size": size}


def manifest(*layers, **more):
    value = {
        "schemaVersion": 2,
        "mediaType": image.OCI_MANIFEST,
        "config": part(A, 2, image.OCI_CONFIG),
        "layers": list(layers),
        **more,
    }
    return json.dumps(value).encode()


def test_a_manifest_refers_to_its_blobs():
    document = inspect(manifest(part(B, 5), part(B, 5)), image.OCI_MANIFEST)
    assert document.blobs == {A: 2, B: 5} and document.manifests == document.elsewhere == {}
    assert document.references() == {A, B}
    assert document.artifact_type == image.OCI_CONFIG and document.subject is None


@pytest.mark.parametrize(
    "kind",
    ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
     "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"],
)  # fmt: skip
def test_what_may_not_be_distributed_is_elsewhere(kind):
    document = inspect(manifest(part(B, 5, kind)), image.OCI_MANIFEST)
    assert document.blobs == {A: 2} and document.elsewhere == {B: 5}
    assert B in document.references()


def test_an_index_refers_to_its_manifests():
    body = image.make_index([part(B, 5, image.OCI_MANIFEST), part(C, 6, image.OCI_INDEX)])
    document = inspect(body, image.OCI_INDEX)
    assert document.manifests == {B: 5, C: 6} and document.blobs == {}
    assert document.artifact_type is None


def test_a_type_that_no_header_gives_is_the_documents_own():
    assert inspect(manifest(), "").media_type == image.OCI_MANIFEST
    bare = json.loads(manifest())
    del bare["mediaType"]
    with pytest.raises(EstivaError, match="no media type"):
        inspect(json.dumps(bare).encode(), "")
    assert inspect(json.dumps(bare).encode(), image.OCI_MANIFEST).media_type == image.OCI_MANIFEST


def test_what_a_list_of_referrers_shows():
    body = manifest(artifactType="application/x.sig", annotations={"k": "v"}, subject=part(C, 9))
    document = inspect(body, image.OCI_MANIFEST)
    assert (document.subject, document.artifact_type) == (C, "application/x.sig")
    assert json.loads(document.annotations) == {"k": "v"}
    assert C not in document.references(), "a subject need not be here"


@pytest.mark.parametrize(
    "body",
    [
        manifest(subject="x"),
        manifest(subject={"digest": "sha256:../x"}),
        manifest(artifactType=5),
        manifest(part(A.upper())),
        manifest(part(B, -1)),
        b"[]",
        b"",
        image.make_index([]),
    ],
)
def test_what_no_client_should_be_served(body):
    with pytest.raises(EstivaError):
        inspect(body, image.OCI_MANIFEST)


def test_one_digest_has_one_size():
    with pytest.raises(IntegrityError, match="two sizes"):
        inspect(manifest(part(B, 5), part(B, 6)), image.OCI_MANIFEST)
