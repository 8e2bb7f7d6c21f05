"""The registry server's endpoints, by plain HTTP requests (distribution-spec end-1 to end-14)."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest

from estiva.errors import Conflict, InvalidInput
from estiva.registry.server import server as servers
from estiva.registry.server.storage import uploads
from registry_support import (
    OCI_INDEX,
    OCI_MANIFEST,
    Server,
    ask,
    push_blob,
    sample,
    sha256,
    upload,
    wait_for,
)

IMAGE = sample(3)
MISSING = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as running:
        upload(running.address, "a/b", "1", IMAGE)
        yield running


def code(body):
    return json.loads(body)["errors"][0]["code"]


def start(server, repository="up/load", query=""):
    status, headers, _ = ask(server.address, "POST", f"/v2/{repository}/blobs/uploads/{query}")
    assert status == 202
    return headers["Location"]


def test_end_1(server):
    status, headers, body = ask(server.address, "GET", "/v2/")
    assert (status, body, headers["Docker-Distribution-API-Version"]) == (200, b"{}", "registry/2.0")
    assert ask(server.address, "GET", "/v3/")[0] == 404


def test_a_blob_with_its_headers(server):
    digest = sha256(IMAGE.layers[0])
    for method in ("GET", "HEAD"):
        status, headers, body = ask(server.address, method, f"/v2/a/b/blobs/{digest}")
        assert status == 200
        assert headers["Docker-Content-Digest"] == digest
        assert headers["Content-Length"] == str(len(IMAGE.layers[0]))
        assert body == (IMAGE.layers[0] if method == "GET" else b"")
    assert (
        ask(server.address, "GET", f"/v2/a/b/blobs/{digest}", headers={"If-None-Match": f'"{digest}"'})[0]
        == 304
    )


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=5-99999999", 206, slice(5, None)),
        ("bytes=99999999-", 416, None),
        ("bytes=0-1,3-4", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
        ("bytes=9-3", 200, slice(0, None)),
    ],
)
def test_ranges_of_a_blob(server, asked, status, part):
    blob = IMAGE.layers[0]
    got, headers, body = ask(server.address, "GET", f"/v2/a/b/blobs/{sha256(blob)}", headers={"Range": asked})
    assert got == status
    if part is not None:
        assert body == blob[part]
    if status == 206:
        first = part.indices(len(blob))[0]
        assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(blob)}"


def test_an_unknown_blob_or_repository(server):
    status, _, body = ask(server.address, "GET", f"/v2/a/b/blobs/{MISSING}")
    assert (status, code(body)) == (404, "BLOB_UNKNOWN")
    status, _, body = ask(server.address, "GET", f"/v2/c/d/blobs/{sha256(IMAGE.layers[0])}")
    assert status == 404, "a blob of one repository is not in another"


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
        assert (status, code(body)) == (404, "MANIFEST_UNKNOWN")


def test_chunked_upload_with_status_and_wrong_order(server):
    blob = os.urandom(3_000_000)
    place = start(server)
    status, headers, _ = ask(server.address, "PATCH", place, blob[:1000], {"Content-Range": "0-999"})
    assert (status, headers["Range"]) == (202, "0-999")
    status, headers, body = ask(
        server.address, "PATCH", place, blob[2000:3000], {"Content-Range": "2000-2999"}
    )
    assert (status, code(body), headers["Range"]) == (416, "BLOB_UPLOAD_INVALID", "0-999")
    status, headers, _ = ask(server.address, "GET", place)
    assert (status, headers["Range"]) == (204, "0-999")
    status, headers, body = ask(server.address, "PATCH", place, blob[1000:], {"Content-Range": "1000-1001"})
    assert (status, code(body)) == (400, "SIZE_INVALID")
    assert ask(server.address, "PATCH", place, blob[1000:2_000_000])[0] == 202
    digest = sha256(blob)
    last = {"Content-Range": f"2000000-{len(blob) - 1}"}
    status, headers, _ = ask(server.address, "PUT", f"{place}?digest={digest}", blob[2_000_000:], last)
    assert status == 201
    assert ask(server.address, "GET", headers["Location"])[2] == blob
    assert ask(server.address, "GET", place)[0] == 404


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_monolithic_uploads(server, algorithm):
    for number in range(2):
        blob = f"{algorithm} {number}".encode()
        digest = push_blob(server.address, "mono", blob, algorithm)
        assert ask(server.address, "GET", f"/v2/mono/blobs/{digest}")[2] == blob
    place = start(server, "mono", f"?digest-algorithm={algorithm}")
    assert ask(server.address, "PUT", f"{place}?digest={digest}", blob)[0] == 201
    place = start(server, "mono")
    assert ask(server.address, "PUT", f"{place}?digest={digest}", blob)[0] == 201


def test_an_empty_blob(server):
    assert push_blob(server.address, "mono", b"") == sha256(b"")
    status, headers, body = ask(server.address, "GET", f"/v2/mono/blobs/{sha256(b'')}")
    assert (status, headers["Content-Length"], body) == (200, "0", b"")


def test_a_wrong_digest_ends_the_session(server):
    place = start(server)
    status, _, body = ask(server.address, "PUT", f"{place}?digest={MISSING}", b"something")
    assert (status, code(body)) == (400, "DIGEST_INVALID")
    assert ask(server.address, "GET", place)[0] == 404
    status, _, body = ask(server.address, "PUT", f"{start(server)}?digest=md5:abc", b"x")
    assert (status, code(body)) == (400, "DIGEST_INVALID")
    assert ask(server.address, "POST", f"/v2/x/blobs/uploads/?digest={MISSING}", b"x")[0] == 400


def test_cancel(server):
    place = start(server)
    assert ask(server.address, "DELETE", place)[0] == 204
    status, _, body = ask(server.address, "PATCH", place, b"x")
    assert (status, code(body)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_session_belongs_to_its_repository(server):
    place = start(server, "one")
    assert ask(server.address, "PATCH", place.replace("/one/", "/two/"), b"x")[0] == 404


def test_a_broken_chunk_counts_as_far_as_it_came(server):
    head = "PATCH {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nContent-Range: 0-999999\r\n\r\n"
    for pause in (0.2, 1, 5, 20):  # until the server has read: what is with its kernel only is lost
        place = start(server)
        with socket.create_connection(server.address.split(":")) as raw:
            raw.sendall(head.format(place).encode() + b"y" * 50_000)
            time.sleep(pause)
        for _ in range(100):
            if ask(server.address, "GET", place)[1]["Range"] == "0-49999":
                return
            time.sleep(0.02)
    raise AssertionError("it is not counted")


def test_a_session_outlives_the_server(tmp_path):
    blob = os.urandom(2_000_000)
    with Server(tmp_path) as first:
        place = start(first)
        ask(first.address, "PATCH", place, blob[:1_500_000])
    with Server(tmp_path) as second:
        assert ask(second.address, "GET", place)[1]["Range"] == "0-1499999"
        status, headers, _ = ask(second.address, "PUT", f"{place}?digest={sha256(blob)}", blob[1_500_000:])
        assert status == 201
        assert ask(second.address, "GET", headers["Location"])[2] == blob


def test_idle_sessions_expire(tmp_path):
    with Server(tmp_path) as server:
        place = start(server)
        stray = tmp_path / "uploads" / "stray"
        stray.write_bytes(b"")
        session = place.rpartition("/")[2]
        for name in (session, "stray"):
            os.utime(tmp_path / "uploads" / name, (1, 1))
    with Server(tmp_path) as server:
        wait_for(lambda: not list((tmp_path / "uploads").iterdir()))
        assert ask(server.address, "GET", place)[0] == 404
    assert uploads.IDLE > 600


def test_mount(server):
    digest = sha256(IMAGE.layers[0])
    status, headers, _ = ask(server.address, "POST", f"/v2/mounted/blobs/uploads/?mount={digest}&from=a/b")
    assert (status, headers["Location"]) == (201, f"/v2/mounted/blobs/{digest}")
    assert ask(server.address, "GET", headers["Location"])[2] == IMAGE.layers[0]
    assert ask(server.address, "POST", f"/v2/mounted2/blobs/uploads/?mount={digest}")[0] == 201
    status, headers, _ = ask(server.address, "POST", f"/v2/m3/blobs/uploads/?mount={MISSING}&from=a/b")
    assert status == 202 and "/blobs/uploads/" in headers["Location"]


def put(server, body, which="t", kind=OCI_MANIFEST, repository="a/b"):
    return ask(server.address, "PUT", f"/v2/{repository}/manifests/{which}", body, {"Content-Type": kind})


def test_a_manifest_needs_its_blobs_in_their_size(server):
    status, _, body = put(server, IMAGE.manifest, repository="elsewhere")
    assert (status, code(body)) == (404, "MANIFEST_BLOB_UNKNOWN")
    wrong = json.loads(IMAGE.manifest)
    wrong["config"]["size"] += 1
    status, _, body = put(server, json.dumps(wrong).encode())
    assert (status, code(body)) == (404, "MANIFEST_BLOB_UNKNOWN")
    entry = {"mediaType": OCI_MANIFEST, "digest": MISSING, "size": 3}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    status, _, body = put(server, index, kind=OCI_INDEX)
    assert (status, code(body)) == (404, "MANIFEST_BLOB_UNKNOWN")


def test_put_by_digest_with_tags(server):
    status, headers, _ = put(server, IMAGE.manifest, f"{IMAGE.digest}?tag=x1&tag=x2")
    assert status == 201
    assert headers.get_all("OCI-Tag") == ["x1", "x2"]
    assert ask(server.address, "GET", "/v2/a/b/manifests/x2")[2] == IMAGE.manifest
    status, _, body = put(server, IMAGE.manifest, MISSING)
    assert (status, code(body)) == (400, "DIGEST_INVALID")
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
    assert (status, code(answer)) == (400, "MANIFEST_INVALID")


def test_a_manifest_under_another_type_is_refused(server):
    assert put(server, IMAGE.manifest, kind=OCI_INDEX)[0] == 400
    assert put(server, IMAGE.manifest, kind="text/html")[0] == 400
    assert put(server, IMAGE.manifest, kind=f"{OCI_MANIFEST}; charset=utf-8")[0] == 201


def test_a_manifest_over_the_limit_is_refused(server):
    status, _, body = put(server, b" " * ((4 << 20) + 1))
    assert (status, code(body)) == (413, "SIZE_INVALID")


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
    assert (status, code(body)) == (404, "NAME_UNKNOWN")
    assert ask(server.address, "GET", "/v2/tags/tags/list?n=x")[0] == 400


def test_catalog(server):
    names = json.loads(ask(server.address, "GET", "/v2/_catalog")[2])["repositories"]
    assert "a/b" in names and names == sorted(names)
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


def test_a_blob_goes_from_the_disk_with_its_last_repository(server):
    digest = push_blob(server.address, "gone1", b"shared content")
    ask(server.address, "POST", f"/v2/gone2/blobs/uploads/?mount={digest}&from=gone1")
    path = f"{server.root}/blobs/{digest.replace(':', '/')}"
    assert ask(server.address, "DELETE", f"/v2/gone1/blobs/{digest}")[0] == 202
    assert ask(server.address, "GET", f"/v2/gone1/blobs/{digest}")[0] == 404
    assert os.path.exists(path)
    assert ask(server.address, "DELETE", f"/v2/gone2/blobs/{digest}")[0] == 202
    assert not os.path.exists(path)
    assert ask(server.address, "DELETE", f"/v2/gone2/blobs/{digest}")[0] == 404
    assert push_blob(server.address, "gone1", b"shared content") == digest


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


def test_an_address_in_use_is_a_conflict(server, tmp_path):
    with pytest.raises(Conflict, match=f"{server.address} is in use"):
        servers.serve(server.address, str(tmp_path))


def test_a_directory_in_use_is_a_conflict(server):
    with pytest.raises(Conflict, match="another registry serves"):
        servers.serve("127.0.0.1:0", str(server.root))


@pytest.mark.parametrize("listen", ["", "5000", "x:y", "1.2.3.4:70000", "::1:5000"])
def test_bad_addresses(tmp_path, listen):
    with pytest.raises(InvalidInput):
        servers.serve(listen, str(tmp_path))


def test_the_same_blob_pushed_at_once_by_many(server):
    from concurrent.futures import ThreadPoolExecutor

    blob = os.urandom(500_000)
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda n: push_blob(server.address, f"many{n % 3}", blob), range(16)))
    assert set(digests) == {sha256(blob)}
    for number in range(3):
        assert ask(server.address, "GET", f"/v2/many{number}/blobs/{digests[0]}")[2] == blob
