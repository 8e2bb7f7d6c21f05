"""Clients of the registry server that take their time, all its connections, or its memory (K13)."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket

import pytest

from estiva.registry.server import connections, http
from estiva.registry.server.config import Config
from registry_support import (
    OCI_MANIFEST,
    Server,
    ask,
    push_blob,
    sample,
    sha256,
    upload,
    wait_for,
)

IMAGE = sample(71, sizes=(1000,))


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "registry") as running:
        upload(running.address, "a/b", "1", IMAGE)
        yield running


@contextlib.contextmanager
def raw(server):
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(120)
        yield connection


def rest(connection):
    """All that comes until the server hangs up."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while got := connection.recv(65536):
            data += got
    return data


def answers(connection):
    """Whether a request gets its answer; the connection stays open."""
    connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    data = b""
    while not data.endswith(b"\r\n\r\n{}"):
        got = connection.recv(4096)
        if not got:
            return False
        data += got
    return data.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_headers_that_never_end(server, monkeypatch, sent):
    monkeypatch.setattr(connections, "HEADERS", 0.3)
    with raw(server) as connection:
        connection.sendall(sent)
        assert rest(connection) == b""


def test_a_connection_that_falls_silent(server, monkeypatch):
    monkeypatch.setattr(connections, "IDLE", 0.3)
    with raw(server) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/ HT")
        assert rest(connection).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_stalls(server, monkeypatch):
    monkeypatch.setattr(http, "STALL", 0.3)
    place = ask(server.address, "POST", "/v2/a/b/blobs/uploads/")[1]["Location"]
    with raw(server) as connection:
        connection.sendall(f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc".encode())
        assert b" 400 " in rest(connection).split(b"\r\n")[0]
    assert ask(server.address, "GET", place)[1]["Range"] == "0-2", "what came counts"


def test_a_body_that_drips(server, monkeypatch):
    monkeypatch.setattr(http, "STALL", 0.5)
    monkeypatch.setattr(http, "SLOWEST", 1e6)
    place = ask(server.address, "POST", "/v2/a/b/blobs/uploads/")[1]["Location"]
    with raw(server) as connection:
        connection.sendall(f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
        connection.settimeout(0.01)
        answer = b""
        for _ in range(100_000):
            try:
                connection.sendall(b"x")
                answer += connection.recv(4096)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert not answer or answer.startswith(b"HTTP/1.1 4")


def test_a_manifest_that_drips(server, monkeypatch):
    monkeypatch.setattr(http, "DOCUMENT_TIME", 0.3)
    with raw(server) as connection:
        head = f"PUT /v2/a/b/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        assert b" 408 " in rest(connection).split(b"\r\n")[0]


def test_a_client_that_does_not_read(server, monkeypatch):
    monkeypatch.setattr(http, "PIECE_TIME", 0.3)
    digest = push_blob(server.address, "a/b", bytes(64 << 20))
    with raw(server) as connection:
        connection.sendall(f"GET /v2/a/b/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_for(lambda: any("broken" in line for line in server.log))
        assert len(rest(connection)) < 64 << 20


def test_connections_have_a_bound(tmp_path):
    with Server(tmp_path / "registry", config=Config(connections=3)) as server:
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(raw(server)) for _ in range(3)]
            for connection in kept:
                assert answers(connection)
            with raw(server) as one_more:
                with contextlib.suppress(ConnectionError):
                    one_more.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
                assert rest(one_more) == b""
            assert answers(kept[0]), "the others go on"

        def back():
            with contextlib.suppress(OSError):
                return ask(server.address, "GET", "/v2/")[0] == 200
            return False

        wait_for(back)


def test_a_compressed_body_is_not_unpacked(server):
    bomb = gzip.compress(bytes(32 << 20))
    headers = {"Content-Encoding": "gzip", "Content-Type": OCI_MANIFEST}
    assert ask(server.address, "PUT", "/v2/a/b/manifests/x", bomb, headers)[0] == 415
    path = f"/v2/a/b/blobs/uploads/?digest={sha256(bytes(32 << 20))}"
    assert ask(server.address, "POST", path, bomb, {"Content-Encoding": "gzip"})[0] == 415


def test_a_client_that_waits_for_100_continue(server):
    place = ask(server.address, "POST", "/v2/a/b/blobs/uploads/")[1]["Location"]
    with raw(server) as connection:
        head = f"PUT {place}?digest={sha256(b'abc')} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        connection.sendall(f"{head}Connection: close\r\nContent-Length: 3\r\n\r\n".encode())
        said = b""
        while len(said) < 25:
            said += connection.recv(25 - len(said))
        assert said == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert rest(connection).startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize("host", ['x"y', "a b", "x" * 300, "evil.example/path?"])
def test_a_host_header_does_not_write_the_challenge(tmp_path, host):
    from estiva.registry.server.auth.htpasswd import apr1
    from estiva.registry.server.config import Tokens

    (tmp_path / "users").write_text(f"ann:{apr1(b'pw', 'salt')}\n")
    config = Config(htpasswd=str(tmp_path / "users"), tokens=Tokens())
    with Server(tmp_path / "registry", config=config) as server, raw(server) as connection:
        connection.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = rest(connection)
        if b" 401 " in answer.split(b"\r\n")[0]:
            assert f'realm="http://{server.address}/token"'.encode() in answer


def test_an_access_log_that_is_full_stops_nothing(tmp_path):
    with Server(tmp_path / "registry", config=Config(access_log="/dev/full")) as server:
        assert ask(server.address, "GET", "/v2/")[0] == 200


def test_the_access_log_is_one_json_value_a_line(tmp_path):
    path = tmp_path / "access.json"
    with Server(tmp_path / "registry", config=Config(access_log=str(path))) as server:
        push_blob(server.address, "a", b"x")
        ask(server.address, "GET", "/v2/a/tags/list?last=%0a%22%1b", headers={"User-Agent": 'a"\\b'})
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["method"], first["status"], first["received"]) == ("POST", 201, 1)
    assert second["agent"] == 'a"\\b' and second["endpoint"] == "tags" and second["user"] is None
    assert os.stat(path).st_mode & 0o007 == 0
