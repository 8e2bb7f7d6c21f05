"""Clients that send the registry server what must not become a path, a file elsewhere, or memory (K9-K16)."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from registry_support import (
    OCI_MANIFEST,
    Server,
    ask,
    push_blob,
    sample,
    server_process,
    sha256,
    upload,
)

IMAGE = sample(61, sizes=(1000,))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "canary").write_text("untouched")
    with Server(outside / "registry") as running:
        upload(running.address, "a/b", "1", IMAGE)
        running.outside = outside
        yield running


def outside(server):
    return {
        name: (server.outside / name).read_text() for name in os.listdir(server.outside) if name != "registry"
    }


HOSTILE = [
    "/v2/../../../../etc/passwd",
    "/v2/%2e%2e/%2e%2e/manifests/x",
    "/v2/../canary/manifests/1",
    "/v2/a/../b/manifests/1",
    "/v2/a/b/blobs/../../../canary",
    "/v2/a/b/blobs/sha256:../../../../canary",
    "/v2/a/b/blobs/sha256:%2e%2e%2f%2e%2e%2fcanary",
    "/v2/a/b/blobs/uploads/../../../canary",
    "/v2/a/b/blobs/uploads/..%2f..%2fcanary",
    "/v2/a/b/manifests/..%2f..%2f..%2fcanary",
    "/v2/A/B/manifests/1",
    "/v2/a%00/manifests/1",
    "/v2/a%0d%0ax/manifests/1",
    "/v2/" + "a" * 300 + "/manifests/1",
    "/v2/" + "a/" * 3000 + "manifests/1",
    "/v2/a/b/manifests/" + "x" * 129,
    "/v2/a__________________________________________________________________!/manifests/1",
]


@pytest.mark.parametrize("path", HOSTILE)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "POST"])
def test_hostile_paths_do_nothing(server, path, method):
    before = outside(server)
    body = IMAGE.manifest if method == "PUT" else b""
    try:
        status, _, _ = ask(server.address, method, path, body, {"Content-Type": OCI_MANIFEST})
    except Exception as error:  # http.client refuses to send some of them
        pytest.skip(str(error))
    assert 400 <= status < 500
    assert outside(server) == before == {"canary": "untouched"}


@pytest.mark.parametrize(
    "digest", ["sha256:" + "A" * 64, "SHA256:" + "a" * 64, "md5:" + "a" * 32, "sha256:abc", "x"]
)
def test_digests_are_canonical(server, digest):
    assert ask(server.address, "GET", f"/v2/a/b/blobs/{digest}")[0] == 400
    assert ask(server.address, "POST", f"/v2/a/b/blobs/uploads/?digest={digest}", b"x")[0] == 400
    assert ask(server.address, "POST", f"/v2/a/b/blobs/uploads/?mount={digest}&from=a/b")[0] == 400
    assert ask(server.address, "GET", f"/v2/a/b/referrers/{digest}")[0] == 400


def test_a_hostile_from_mounts_nothing(server):
    query = f"mount={sha256(IMAGE.layers[0])}&from=../../x"
    assert ask(server.address, "POST", f"/v2/m/blobs/uploads/?{query}")[0] == 400


def test_state_is_for_its_owner_only(server):
    push_blob(server.address, "modes", b"content")
    ask(server.address, "POST", "/v2/modes/blobs/uploads/")
    for directory, _, files in os.walk(server.root):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700, directory
        for name in files:
            assert stat.S_IMODE(os.stat(f"{directory}/{name}").st_mode) & 0o077 == 0, name


def test_a_body_that_lies_about_its_length_is_bounded(server):
    with socket.create_connection(server.address.split(":")) as raw:
        head = f"PUT /v2/a/b/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n"
        raw.sendall(head.encode() + b"Content-Length: 99999999999\r\n\r\n")
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]


def test_an_endless_chunked_manifest_is_bounded(server):
    with socket.create_connection(server.address.split(":")) as raw:
        raw.settimeout(120)
        head = f"PUT /v2/a/b/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n"
        raw.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(6):
            raw.sendall(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]


def test_memory_stays_flat_whatever_is_uploaded(tmp_path):
    def peak(pid):
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    with server_process(tmp_path) as running:
        push_blob(running.found, "m", os.urandom(1 << 20))
        before = peak(running.pid)
        blob = bytes(96 << 20)
        digest = push_blob(running.found, "m", blob)
        assert len(ask(running.found, "GET", f"/v2/m/blobs/{digest}")[2]) == len(blob)
        assert peak(running.pid) - before < 24 << 10, "KB"
