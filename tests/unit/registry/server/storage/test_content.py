"""The registry server over an object store: obstore's own local one, and S3 where moto is installed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import urllib.request

import pytest

from estiva.errors import InvalidInput
from estiva.registry import client
from estiva.registry.server import maintenance
from estiva.registry.server.config import Config
from registry_support import (
    QUICK,
    Server,
    ask,
    fake_store,
    push_blob,
    reference,
    sample,
    sha256,
    upload,
    wait_for,
)

IMAGE = sample(21, sizes=(3_000_000, 700))


@contextlib.contextmanager
def moto():
    """An S3 that keeps all in memory; the address of its one bucket."""
    pytest.importorskip("moto.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def up():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return True
            assert server.poll() is None
            return False

        wait_for(up)
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        ).close()
        yield {
            "url": "s3://bucket/registry",
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access-key-id": "a",
            "secret-access-key": "b",
            "allow-http": "true",
        }
    finally:
        server.terminate()
        server.wait(300)


@pytest.fixture(params=["local", "s3"])
def config(request, tmp_path):
    if request.param == "local":
        (tmp_path / "objects").mkdir()
        yield Config(storage={"url": f"file://{tmp_path}/objects"}, root=str(tmp_path / "registry"))
        return
    with moto() as storage:
        yield Config(storage=storage, root=str(tmp_path / "registry"))


def test_push_and_pull(config, tmp_path):
    with Server(config.root, config=config) as server:
        upload(server.address, "a/b", "1", IMAGE)
        image = client.pull(fake_store(tmp_path / "store"), reference(server.address), config=QUICK)
        assert image.id == sha256(IMAGE.config)
        blob, digest = IMAGE.layers[0], sha256(IMAGE.layers[0])
        status, _, body = ask(
            server.address, "GET", f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=1048570-2097200"}
        )
        assert (status, body) == (206, blob[1048570:2097201])
        big = os.urandom(12_000_000)  # more than one part of an upload
        assert push_blob(server.address, "a/b", big, "sha512")[7:] == hashlib.sha512(big).hexdigest()
        assert (
            ask(server.address, "DELETE", f"/v2/a/b/blobs/sha512:{hashlib.sha512(big).hexdigest()}")[0] == 202
        )
        assert not os.path.exists(f"{config.root}/blobs"), "nothing on the disk here"
        assert os.listdir(f"{config.root}/uploads") == []
    with Server(config.root, config=config) as server:
        assert ask(server.address, "GET", f"/v2/a/b/blobs/{digest}")[2] == blob


def test_collection(config):
    with Server(config.root, config=config) as server:
        upload(server.address, "a/b", "1", IMAGE)
        push_blob(server.address, "a/b", b"stray")
        report = maintenance.collect_now(config, {"grace": -1})
        assert (report["blobs"], report["bytes"]) == (1, 5)
        ask(server.address, "DELETE", f"/v2/a/b/manifests/{IMAGE.digest}")
        assert maintenance.collect_now(config, {"grace": -1})["blobs"] == 3
    assert maintenance.collect_now(config, {"grace": -1})["content"] == 0


def test_a_store_that_does_not_answer_is_503(tmp_path):
    with moto() as storage:
        config = Config(storage=storage, root=str(tmp_path / "registry"))
        with Server(config.root, config=config) as server:
            digest = push_blob(server.address, "a", b"hello")
            storage["endpoint"] = "http://127.0.0.1:1"
    config.storage = {**storage, "timeout": "1s"}
    with Server(config.root, config=config) as server:
        status = ask(server.address, "POST", f"/v2/a/blobs/uploads/?digest={sha256(b'x')}", b"x")[0]
        assert status == 503
        assert ask(server.address, "HEAD", f"/v2/a/blobs/{digest}")[0] == 200
        assert ask(server.address, "HEAD", f"/v2/a/blobs/{sha256(b'x')}")[0] == 404


def test_a_storage_that_makes_no_sense_is_refused(tmp_path):
    for storage in ({"url": "nope://x"}, {"url": "s3://b", "no-such-option": "1"}):
        with (
            pytest.raises(InvalidInput, match="can't use the storage"),
            Server(tmp_path / "registry", config=Config(storage=storage)),
        ):
            pass
