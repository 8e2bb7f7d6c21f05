"""Blobs and upload sessions, by plain HTTP requests (distribution-spec end-2, end-4 to end-6, end-10 to end-14)."""

from __future__ import annotations

import os
import socket
import time

import pytest

from estiva.registry.server.storage import uploads
from registry_support import Server, ask, error_code, push_blob, sample, sha256, upload, wait_for

IMAGE = sample(3)
MISSING = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as running:
        upload(running.address, "a/b", "1", IMAGE)
        yield running


def start(server, repository="up/load", query=""):
    status, headers, _ = ask(server.address, "POST", f"/v2/{repository}/blobs/uploads/{query}")
    assert status == 202
    return headers["Location"]


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
    assert (status, error_code(body)) == (404, "BLOB_UNKNOWN")
    status, _, body = ask(server.address, "GET", f"/v2/c/d/blobs/{sha256(IMAGE.layers[0])}")
    assert status == 404, "a blob of one repository is not in another"


def test_chunked_upload_with_status_and_wrong_order(server):
    blob = os.urandom(3_000_000)
    place = start(server)
    status, headers, _ = ask(server.address, "PATCH", place, blob[:1000], {"Content-Range": "0-999"})
    assert (status, headers["Range"]) == (202, "0-999")
    status, headers, body = ask(
        server.address, "PATCH", place, blob[2000:3000], {"Content-Range": "2000-2999"}
    )
    assert (status, error_code(body), headers["Range"]) == (416, "BLOB_UPLOAD_INVALID", "0-999")
    status, headers, _ = ask(server.address, "GET", place)
    assert (status, headers["Range"]) == (204, "0-999")
    status, headers, body = ask(server.address, "PATCH", place, blob[1000:], {"Content-Range": "1000-1001"})
    assert (status, error_code(body)) == (400, "SIZE_INVALID")
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
    assert (status, error_code(body)) == (400, "DIGEST_INVALID")
    assert ask(server.address, "GET", place)[0] == 404
    status, _, body = ask(server.address, "PUT", f"{start(server)}?digest=md5:abc", b"x")
    assert (status, error_code(body)) == (400, "DIGEST_INVALID")
    assert ask(server.address, "POST", f"/v2/x/blobs/uploads/?digest={MISSING}", b"x")[0] == 400


def test_cancel(server):
    place = start(server)
    assert ask(server.address, "DELETE", place)[0] == 204
    status, _, body = ask(server.address, "PATCH", place, b"x")
    assert (status, error_code(body)) == (404, "BLOB_UPLOAD_UNKNOWN")


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


def test_the_same_blob_pushed_at_once_by_many(server):
    from concurrent.futures import ThreadPoolExecutor

    blob = os.urandom(500_000)
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda n: push_blob(server.address, f"many{n % 3}", blob), range(16)))
    assert set(digests) == {sha256(blob)}
    for number in range(3):
        assert ask(server.address, "GET", f"/v2/many{number}/blobs/{digests[0]}")[2] == blob
