"""Registries that drip, swell and lie about lengths; pulls that share layers; helpers that hang or babble."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import ssl
import subprocess
import sys
from dataclasses import replace

import pytest
from aiohttp import web

from estiva.errors import EngineError, IntegrityError, InvalidInput, Unavailable, Unsupported
from estiva.paths import Paths
from estiva.registry import client, lookup
from estiva.registry.http import credentials, errors
from estiva.registry.http.settings import Rule
from estiva.store import Store
from estiva.store.layers import codec
from registry_support import (
    QUICK,
    SOURCE,
    Fault,
    Proxy,
    Server,
    fake_store,
    reference,
    sample,
    server_process,
    sha256,
    tar_image,
    upload,
    wait_for,
)

IMAGE = sample(77, sizes=(400_000, 5_000))
DIGEST = sha256(IMAGE.layers[0])


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as server:
        upload(server.address, "a/b", "1", IMAGE)
        yield server


@pytest.fixture
def store(tmp_path):
    return fake_store(tmp_path)


class Dripping(Proxy):
    """Sends a body of `fault.value` bytes at once, then one byte now and then, as long as it is wanted."""

    async def _drip(self, request, fault):
        response = await self._start(request, fault.value)
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.05)
            try:
                await response.write(b"x")
            except ConnectionError:
                break
        return response


def test_a_layer_that_drips_is_broken(registry, store):
    faults = [Fault(DIGEST, "drip", 100_000, times=99)]
    with Dripping(registry.address, faults) as proxy:
        with pytest.raises(Unavailable, match="less than 128 bytes a second"):
            client.pull(store, reference(proxy.address), config=replace(QUICK, stall=0.3))
        assert len(proxy.ranges(DIGEST)) == QUICK.attempts


def test_a_document_that_drips_ends(registry, store, monkeypatch):
    monkeypatch.setattr(errors, "DOCUMENT_TIME", 1.0)
    with (
        Dripping(registry.address, [Fault("/manifests/", "drip", 10, times=99)]) as proxy,
        pytest.raises(Unavailable, match="does not answer in time"),
    ):
        client.pull(store, reference(proxy.address), config=QUICK)


def test_headers_that_drip_end(store):
    """One header line now and then, for ever."""

    async def talk(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not writer.is_closing():
                writer.write(b"X-A: b\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    async def run():
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            settings = replace(QUICK, connect=0.1, stall=0.1, attempts=1)
            with pytest.raises(Unavailable):
                await asyncio.to_thread(client.pull, store, reference(address), config=settings)

    asyncio.run(run())


def test_lengths_that_lie(registry, store):
    for more in (1, 1000, 10**9):
        with (
            Proxy(registry.address, [Fault(DIGEST, "longer", more, times=2)])
            if more < 10**9
            else Proxy(registry.address, [Fault(DIGEST, "answer_with", b"short", times=2)]) as proxy
        ):
            with pytest.raises(IntegrityError, match=DIGEST):
                client.pull(store, reference(proxy.address), config=QUICK)
            assert len(proxy.ranges(DIGEST)) == 2  # once more, then no more
        assert not store.content.has(DIGEST)


def test_a_body_in_chunks_without_end_is_cut_at_the_size(registry, store):
    async def endless(request):
        if DIGEST not in request.path:
            return None
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"\0" * 65536)
        except (ConnectionError, asyncio.CancelledError):
            return response

    class Endless(Proxy):
        async def _answer(self, request):
            self.seen.append((request.method, request.path_qs, request.headers.get("Range"), None))
            return await endless(request) or await self._forward(request, {})

    with Endless(registry.address) as proxy, pytest.raises(IntegrityError, match="is larger than"):
        client.pull(store, reference(proxy.address), config=QUICK)


def test_a_gzip_bomb_from_a_registry(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "FREE", 1 << 20)
    monkeypatch.setattr(codec.Bound.__init__, "__defaults__", (1 << 20, codec.RATIO, codec.MAX_OUTPUT))
    image = tar_image([{"zeros": b"\0" * (64 << 20)}], "bomb")
    image.layers = [gzip.compress(image.tars[0], 9, mtime=0)]
    manifest = json.loads(image.manifest)
    manifest["layers"][0] |= {"digest": sha256(image.layers[0]), "size": len(image.layers[0])}
    image.manifest = json.dumps(manifest).encode()
    upload(registry.address, "bomb", "1", image)
    store = Store(Paths(f"{tmp_path}/root", f"{tmp_path}/run"))
    with pytest.raises(IntegrityError, match="decompression bomb"):
        client.pull(store, reference(registry.address, "bomb"), config=QUICK)
    assert not os.listdir(store.paths.ingest) and not store.db.read("SELECT * FROM layers")
    store.close()


@pytest.mark.parametrize("verify", [True, False])
def test_a_certificate_that_nobody_knows(registry, store, tmp_path, verify):
    key, certificate = f"{tmp_path}/key.pem", f"{tmp_path}/cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-subj", "/CN=other", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with Proxy(registry.address, tls=context) as proxy:
        settings = replace(QUICK, rules={proxy.address: Rule(verify=verify)})
        if verify:
            with pytest.raises(Unavailable, match="not trusted"):
                client.pull(store, reference(proxy.address), config=settings)
            assert not proxy.seen  # no fallback to http, nor to anything else
        else:
            assert client.pull(store, reference(proxy.address), config=settings).id == sha256(IMAGE.config)


# ---- pulls beside each other, in processes of their own

SHARED = {f"shared{n}": os.urandom(35_000) for n in range(100)}
LEFT, RIGHT = tar_image([SHARED, {"left": b"l"}], "left"), tar_image([SHARED, {"right": b"r"}], "right")

PULL = """
import sys
from estiva.oci.reference import Reference
from estiva.paths import Paths
from estiva.registry import client
from estiva.registry.http.settings import Settings
from estiva.store import Store
store = Store(Paths(sys.argv[1] + "/root", sys.argv[1] + "/run"))
print(client.pull(store, Reference.parse(sys.argv[2]), config=Settings(connect=60, stall=120)).id)
"""


def puller(folder, name):
    environment = {**os.environ, "PYTHONPATH": SOURCE, "ESTIVA_STORAGE_DRIVER": "dir"}
    return subprocess.Popen(
        [sys.executable, "-c", PULL, str(folder), name], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_images_that_share_a_layer_fetch_it_once_and_a_killed_one_leaves_its_part(tmp_path):
    shared = sha256(LEFT.layers[0])
    assert shared == sha256(RIGHT.layers[0])
    with server_process(tmp_path / "registry") as served:
        upload(served.found, "left", "1", LEFT)
        upload(served.found, "right", "1", RIGHT)
        with Proxy(served.found, [Fault(shared, "stall", 3_000_000)]) as proxy:
            first = puller(tmp_path, f"{proxy.address}/left:1")
            part = f"{tmp_path}/root/ingest/{shared}.part"
            wait_for(lambda: os.path.exists(part) and os.stat(part).st_size >= 1 << 20)
            second = puller(tmp_path, f"{proxy.address}/right:1")
            wait_for(lambda: any("/right/manifests/" in path for _, path, *_ in proxy.seen))
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            assert second.communicate(timeout=300)[0].strip() == sha256(RIGHT.config)
            third = puller(tmp_path, f"{proxy.address}/left:1")
            assert third.communicate(timeout=300)[0].strip() == sha256(LEFT.config)
            asked = proxy.ranges(shared)
        assert len(asked) == 2 and asked[0] is None
        assert int(asked[1].removeprefix("bytes=").removesuffix("-")) >= 1 << 20
        first.stdout.close()


# ---- what helpers and other answers may say


def helper(tmp_path, monkeypatch, script):
    path = tmp_path / "docker-credential-odd"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    config = tmp_path / "config.json"
    config.write_text('{"credsStore": "odd"}')
    return str(config)


def test_a_helper_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "HELPER_TIMEOUT", 0.5)
    config = helper(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    with pytest.raises(Unavailable, match="did not answer"):
        credentials.lookup("r.example", auth_file=config)
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '[1]'", "something else"),
        ("""echo '{"Username": ["x"], "Secret": "y"}'""", "something else"),
        ("""echo '{"Username": "x"}'""", "something else"),
        ("""printf '{"Username": "x\\\\u0000", "Secret": "y"}'""", "something else"),
        ("yes '{\"Username\":'", "more than"),
        ("exit 3", "failed"),
    ],
)
def test_a_helper_that_babbles(tmp_path, monkeypatch, script, said):
    config = helper(tmp_path, monkeypatch, script)
    with pytest.raises(EngineError, match=said):
        credentials.lookup("r.example", auth_file=config)


def test_search_where_there_is_no_list(registry):
    with (
        Proxy(registry.address, [Fault("_catalog", "status", 404, times=9)]) as proxy,
        pytest.raises(Unsupported, match="has no list of its repositories"),
    ):
        lookup.search(f"{proxy.address}/a", config=QUICK)
    with (
        Proxy(registry.address, [Fault("_catalog", "answer_with", b"<html>")]) as proxy,
        pytest.raises(InvalidInput, match="not valid json"),
    ):
        lookup.search(f"{proxy.address}/a", config=QUICK)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"tags": "latest"}',
        b'{"tags": [1]}',
        b'{"tags": ["../x"]}',
        b'{"tags": ["a\\n"]}',
        b'{"name": "a"}',
        b"<html>",
    ],
)
def test_a_list_of_tags_that_is_none(registry, body):
    """What is in it becomes part of a path and of a name: only tags are taken. None at all is an empty list."""
    with Proxy(registry.address, [Fault("/tags/list", "answer_with", body)]) as proxy:
        if body == b'{"name": "a"}':
            assert lookup.tags(reference(proxy.address), config=QUICK) == []
            return
        with pytest.raises((IntegrityError, InvalidInput)) as caught:
            lookup.tags(reference(proxy.address), config=QUICK)
    assert "\n" not in str(caught.value)


def test_a_list_of_tags_in_pages_and_one_without_end(registry):
    more = {"Link": '</v2/a/b/tags/list?n=1&last=x>; rel="next"'}
    page = Fault("/tags/list", "answer_with", b'{"tags": ["x"]}', headers=more)
    with Proxy(registry.address, [page]) as proxy:
        assert lookup.tags(reference(proxy.address), config=QUICK)[0] == "x"
    page = Fault("/tags/list", "answer_with", b'{"tags": ["x"]}', headers=more, times=10_000)
    with Proxy(registry.address, [page]) as proxy, pytest.raises(EngineError, match="more than 100 pages"):
        lookup.tags(reference(proxy.address), config=QUICK)


def test_a_list_of_referrers_does_not_lead_to_another_host(registry):
    page = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    ).encode()
    from estiva.errors import Denied

    link = {"Link": '<http://127.0.0.1:1/v2/x>; rel="next"', "Content-Type": "application/json"}
    with (
        Proxy(registry.address, [Fault("/referrers/", "answer_with", page, headers=link)]) as proxy,
        pytest.raises(Denied),
    ):
        lookup.referrers(reference(proxy.address), config=QUICK)


def test_referrers_by_api_and_by_tag(registry):
    from registry_support import OCI_INDEX, OCI_MANIFEST, ask, push_blob

    empty = push_blob(registry.address, "a/b", b"{}")
    subject = {"mediaType": OCI_MANIFEST, "digest": IMAGE.digest, "size": len(IMAGE.manifest)}
    blob = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}
    body = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/sbom",
        "config": blob, "layers": [blob], "subject": subject,
    }).encode()  # fmt: skip
    assert (
        ask(
            registry.address, "PUT", f"/v2/a/b/manifests/{sha256(body)}", body, {"Content-Type": OCI_MANIFEST}
        )[0]
        == 201
    )
    digest, found = lookup.referrers(reference(registry.address), config=QUICK)
    assert digest == IMAGE.digest and [item["digest"] for item in found] == [sha256(body)]
    assert lookup.referrers(reference(registry.address), "text/none", config=QUICK)[1] == []
    entry = {"mediaType": OCI_MANIFEST, "digest": sha256(body), "size": len(body), "artifactType": "x"}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    tag = IMAGE.digest.replace(":", "-")
    assert (
        ask(registry.address, "PUT", f"/v2/a/b/manifests/{tag}", index, {"Content-Type": OCI_INDEX})[0] == 201
    )
    with Proxy(registry.address, [Fault("/referrers/", "status", 404)]) as proxy:
        assert lookup.referrers(reference(proxy.address), "x", config=QUICK)[1] == [entry]
