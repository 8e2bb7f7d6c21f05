"""A build's cache in a registry, read by hand: without the HTTP client, and nothing that is not proven."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from estiva.engine import Engine
from estiva.engine.builds.caches import Elsewhere
from estiva.errors import IntegrityError
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference
from estiva.registry.http import minimal
from estiva.registry.transfer.peek import Peek
from registry_support import SOURCE, Fault, Proxy, Server, sha256, tar_image, upload, wait_for

IMAGE = tar_image([{"a": b"one"}, {"b": b"two" * 300}], "peek")
LAYERS = [sha256(tar) for tar in IMAGE.tars]
BLOBS = [sha256(layer) for layer in IMAGE.layers]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as server:
        upload(server.address, "app", "1", IMAGE)
        yield server


@pytest.fixture
def proxy(registry):
    with Proxy(registry.address) as made:
        yield made


@pytest.fixture
def engine(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("ESTIVA_REGIST")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "dir")
    made = Engine(f"{tmp_path}/root", f"{tmp_path}/run")
    yield made
    made.store.layers.unmount_all()
    made.store.close()


def peek(engine, proxy):
    return Peek(engine.store, Reference.parse(f"{proxy.address}/app:1"), Platform.host())


PROGRAM = """
import sys
from estiva.engine import Engine
from estiva.engine.builds.caches import Elsewhere
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference
engine = Engine(sys.argv[1], sys.argv[2])
elsewhere = Elsewhere(engine, None, None)
opened = elsewhere.open(Reference.parse(sys.argv[3]), Platform.host()).result()
for coming in [elsewhere.fetch(opened, diff_id) for diff_id in opened.config["rootfs"]["diff_ids"]]:
    coming.result()
elsewhere.close()
print(*map(engine.store.layers.has, opened.layers), {"aiohttp", "asyncio"} & set(sys.modules))
"""


def test_the_client_is_not_loaded(proxy, engine):
    arguments = [sys.executable, "-c", PROGRAM, engine.paths.root, engine.paths.run_root]
    done = subprocess.run(
        [*arguments, f"{proxy.address}/app:1"],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "True", "set()"]
    asked = ["manifests/1", f"blobs/{sha256(IMAGE.config)}", *(f"blobs/{digest}" for digest in BLOBS)]
    assert sorted(path for _, path, *_ in proxy.seen) == sorted(f"/v2/app/{each}" for each in asked)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/manifests/1", "status", 401),
        Fault("/manifests/1", "redirect", "http://127.0.0.1:1/"),
        Fault("/manifests/1", "flip", 3),
        Fault("/manifests/1", "answer_with", b"{}"),
        Fault("/manifests/1", "cut", 10),
        Fault("/blobs/", "flip", 3),
        Fault("/blobs/", "longer", 1),
        Fault("/blobs/", "status", 404),
    ],
    ids=lambda fault: f"{fault.match[1]}-{fault.action}",
)
def test_any_other_answer_is_the_clients_business(proxy, engine, fault):
    proxy.faults.append(fault)
    looked = peek(engine, proxy)
    with pytest.raises(minimal.Declined):
        looked.open()
    looked.close()


def test_an_index_of_indexes_is_refused_by_hand_and_by_the_client(proxy, engine):
    manifest = sha256(IMAGE.manifest), len(IMAGE.manifest)
    inner = _index(*manifest, "application/vnd.oci.image.manifest.v1+json")
    for _ in range(2):
        outer = _index(sha256(inner), len(inner), "application/vnd.oci.image.index.v1+json")
        proxy.faults.append(Fault("/manifests/1", "answer_with", outer))
        proxy.faults.append(Fault("/manifests/sha256", "answer_with", inner))
    with pytest.raises(minimal.Declined, match="index of indexes"):
        peek(engine, proxy).open()
    elsewhere = Elsewhere(engine, None, None)
    try:
        opening = elsewhere._client().open(Reference.parse(f"{proxy.address}/app:1"), Platform.host())
        with pytest.raises(IntegrityError, match="index of indexes"):
            opening.result()
    finally:
        elsewhere.close()


def _index(digest, size, kind):
    platform = {"architecture": Platform.host().architecture, "os": "linux"}
    manifests = [{"mediaType": kind, "digest": digest, "size": size, "platform": platform}]
    return json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()


@pytest.mark.parametrize("action", ["flip", "cut", "longer", "status"])
def test_a_layer_that_is_not_what_it_should_be_is_fetched_by_the_client(proxy, engine, action):
    elsewhere = Elsewhere(engine, None, None)
    try:
        opened = elsewhere.open(Reference.parse(f"{proxy.address}/app:1"), Platform.host()).result()
        assert isinstance(opened, Peek)
        proxy.faults.append(Fault(BLOBS[0], action, 503 if action == "status" else 9))
        elsewhere.fetch(opened, LAYERS[0]).result()
        assert engine.store.layers.has(LAYERS[0]) and elsewhere.lazy is not None
        assert not opened.fetch(LAYERS[1]), "it asks no more"
    finally:
        elsewhere.close()


def test_a_registry_that_says_nothing(proxy, engine, monkeypatch):
    monkeypatch.setattr(minimal, "PATIENCE", 0.2)
    proxy.faults.append(Fault("/manifests/1", "silent"))
    with pytest.raises(minimal.Declined, match="time"):
        peek(engine, proxy).open()


def test_to_close_it_ends_what_is_being_read(proxy, engine):
    proxy.faults.append(Fault("/manifests/1", "silent"))
    elsewhere = Elsewhere(engine, None, None)
    opening = elsewhere.open(Reference.parse(f"{proxy.address}/app:1"), Platform.host())
    wait_for(lambda: proxy.seen)
    elsewhere.close()
    with pytest.raises(Exception, match="stopped"):
        opening.result()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nok",
        HEAD + b"Content-Length: 2\r\n\r\nok",
        HEAD + b"Content-Encoding: gzip\r\n\r\nok",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nok",
        HEAD + b"\r\nokay",
        HEAD + b"\r\no",
        HEAD + b" folded: 1\r\n\r\nok",
        HEAD.replace(b"2\r", b"99\r") + b"\r\n" + b"o" * 99,
        HEAD.replace(b": 2", b": +2") + b"\r\nok",
        HEAD.replace(b"200", b"2000") + b"\r\nok",
        HEAD + b"x: " + b"y" * (64 << 10) + b"\r\n\r\nok",
        b"ok",
    ],
)
def test_answers_that_are_not_plain(answer):
    with _saying(answer) as host, pytest.raises(minimal.Declined):
        minimal.Connection(host).get("/v2/", "", 9)


def test_a_plain_answer():
    with _saying(HEAD + b"Connection: Close\r\n\r\nok") as host:
        assert minimal.Connection(host).get("/v2/", "", 9)[0] == b"ok"


class _saying:
    """A server that gives one answer, whatever is asked, and hangs up."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        stream, _ = self.listening.accept()
        with stream:
            stream.recv(1 << 16)
            try:
                stream.sendall(self.answer)
                stream.shutdown(1)
                stream.recv(1)
            except OSError:
                pass

    def __enter__(self) -> str:
        self.thread.start()
        return f"127.0.0.1:{self.listening.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.thread.join(20)
        self.listening.close()
