"""Which endpoint a request comes to, and what is logged of it."""

from __future__ import annotations

import json

import pytest

from estiva.registry.server.config import Config
from registry_support import Server, ask, push_blob, sample, sha256, upload

IMAGE = sample(3)
MISSING = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as running:
        upload(running.address, "a/b", "1", IMAGE)
        yield running


def test_end_1(server):
    status, headers, body = ask(server.address, "GET", "/v2/")
    assert (status, body, headers["Docker-Distribution-API-Version"]) == (200, b"{}", "registry/2.0")
    assert ask(server.address, "GET", "/v3/")[0] == 404


def test_names_may_hold_the_words_of_the_protocol(server):
    for name in ("blobs/uploads", "manifests/manifests", "tags/list", "x/blobs"):
        upload(server.address, name, "1", IMAGE)
        assert ask(server.address, "GET", f"/v2/{name}/manifests/1")[2] == IMAGE.manifest
        assert json.loads(ask(server.address, "GET", f"/v2/{name}/tags/list")[2])["tags"] == ["1"]


def test_methods_that_are_not_there(server):
    status, headers, _ = ask(server.address, "DELETE", "/v2/a/b/tags/list")
    assert (status, headers["Allow"]) == (405, "GET")
    assert ask(server.address, "PUT", f"/v2/a/b/blobs/{MISSING}", b"x")[0] == 405


def test_the_access_log_has_one_printable_line_per_request(server):
    before = len(server.log)
    ask(server.address, "GET", "/v2/a/b/tags/list?last=%0a%1b[2J")
    (line,) = server.log[before:]
    assert "GET /v2/a/b/tags/list" in line and " 200 " in line and line.isprintable()


def test_read_only(tmp_path):
    with Server(tmp_path / "registry") as server:
        upload(server.address, "a", "1", IMAGE)
    with Server(tmp_path / "registry", config=Config(read_only=True)) as server:
        assert ask(server.address, "GET", "/v2/a/manifests/1")[2] == IMAGE.manifest
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("PUT", "/v2/a/manifests/2"),
            ("DELETE", "/v2/a/manifests/1"),
            ("DELETE", f"/v2/a/blobs/{sha256(IMAGE.config)}"),
        ):
            assert ask(server.address, method, path)[0] == 405, path
        with pytest.raises(AssertionError):
            push_blob(server.address, "a", b"new")
