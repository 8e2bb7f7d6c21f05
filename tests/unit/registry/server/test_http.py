"""Where a path of the registry server leads."""

from __future__ import annotations

import pytest

from estiva.errors import Denied, EngineError, NotFound, Unavailable
from estiva.registry.server.http import Refusal, Route, parse_path, upstream_errors, want_digest

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2", Route("base")),
        ("/v2/", Route("base")),
        ("/v2/_catalog", Route("catalog")),
        (f"/v2/a/blobs/{DIGEST}", Route("blobs", "a", DIGEST)),
        ("/v2/a/b/c/manifests/1.0", Route("manifests", "a/b/c", "1.0")),
        (f"/v2/a/referrers/{DIGEST}", Route("referrers", "a", DIGEST)),
        ("/v2/a/tags/list", Route("tags", "a", "list")),
        ("/v2/a/blobs/uploads", Route("uploads", "a", "uploads")),
        ("/v2/a/blobs/uploads/", Route("uploads", "a", "")),
        ("/v2/a/blobs/uploads/1-2", Route("upload", "a", "1-2")),
        ("/v2/blobs/uploads/blobs/uploads/", Route("uploads", "blobs/uploads", "")),
        ("/v2/tags/list/manifests/x", Route("manifests", "tags/list", "x")),
        ("/v2/manifests/manifests/manifests", Route("manifests", "manifests", "manifests")),
        # what comes last is judged by the endpoint
        ("/v2/a/manifests/", Route("manifests", "a", "")),
        ("/v2/a/blobs/..", Route("blobs", "a", "..")),
    ],
)
def test_routes(path, route):
    assert parse_path(path) == route


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 404), ("/", 404), ("/v1/", 404), ("/v2/x", 404), ("/v2/manifests/1", 404), ("/v2/tags/list", 404),
        ("/v2/blobs/uploads/", 404), ("/V2/a/manifests/1", 404), ("v2/a/manifests/1", 404),
        ("/v2/a/manifests/1/", 404), ("/v2//manifests/1", 400), ("/v2/A/manifests/1", 400),
        ("/v2/../manifests/1", 400), ("/v2/a//b/manifests/1", 400), ("/v2/a/../b/blobs/uploads/", 400),
        ("/v2/" + "a" * 256 + "/manifests/1", 400), ("/v2/a\0/manifests/1", 400),
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere(path, status):
    with pytest.raises(Refusal) as caught:
        parse_path(path)
    assert caught.value.status == status


def test_a_digest_is_wanted():
    assert want_digest(DIGEST) == DIGEST
    with pytest.raises(Refusal) as caught:
        want_digest(DIGEST.upper())
    assert (caught.value.status, caught.value.code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("x"), 404, "BLOB_UNKNOWN"),
        (Denied("x"), 403, "DENIED"),
        (Unavailable("x"), 503, "UNAVAILABLE"),
        (EngineError("x"), 502, "UNKNOWN"),
    ],
)
def test_what_an_upstreams_failure_is_to_a_client(error, status, code):
    with pytest.raises(Refusal) as caught, upstream_errors("BLOB_UNKNOWN"):
        raise error
    assert (caught.value.status, caught.value.code) == (status, code)
