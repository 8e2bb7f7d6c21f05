"""Real layers through a real server process: push, pull, kill, resume, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from estiva import fastjson
from estiva.errors import IntegrityError
from estiva.oci import config as configs
from estiva.paths import Paths
from estiva.registry import client, lookup
from estiva.store import Store
from registry_support import (
    QUICK,
    SOURCE,
    Fault,
    Proxy,
    ask,
    push_blob,
    reference,
    server_process,
    sha256,
    tar_image,
    upload,
    wait_for,
)

FILES = [
    {f"usr/share/f{number}": os.urandom(40_000) for number in range(60)},
    {"etc/motd": b"hello\n", "etc/empty": b""},
]
IMAGE = tar_image(FILES)


@pytest.fixture(params=["erofs", "erofs-lz4", "dir"])
def driver(request, monkeypatch):
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", request.param)
    return request.param


@pytest.fixture
def stores(tmp_path):
    made = []

    def make(name):
        made.append(Store(Paths(f"{tmp_path}/{name}/root", f"{tmp_path}/{name}/run")))
        return made[-1]

    yield make
    for store in made:
        store.layers.unmount_all()
        store.close()


@pytest.fixture
def served(tmp_path):
    with server_process(tmp_path / "registry") as running:
        yield running


def check(store, image):
    assert image.id == sha256(IMAGE.config)
    for tar in IMAGE.tars:
        with store.layers.tar(sha256(tar)) as stream:
            assert stream.read() == tar


def test_round_trip(served, stores, driver, tmp_path):
    upload(served.found, "a/b", "1", IMAGE)
    first = stores("first")
    image = client.pull(first, reference(served.found), config=QUICK)
    check(first, image)
    assert client.push(first, image, reference(served.found, "copy"), config=QUICK) == IMAGE.digest
    second = stores("second")
    check(second, client.pull(second, reference(served.found, "copy"), config=QUICK))


def test_a_config_is_fetched_without_layers(served):
    """What a Dockerfile's check wants of a base image; what is not what its digest says is refused."""
    upload(served.found, "a/b", "1", IMAGE)
    with Proxy(served.found, []) as proxy:
        found = lookup.config_of(reference(proxy.address), config=QUICK)
        assert fastjson.dumps(found, sort_keys=True) == fastjson.dumps(
            fastjson.loads(IMAGE.config), sort_keys=True
        )
        assert not any(proxy.ranges(sha256(layer)) for layer in IMAGE.layers)
    broken = pytest.raises(IntegrityError, match="is not what its digest says")
    with Proxy(served.found, [Fault(sha256(IMAGE.config), "flip", 3, times=10)]) as proxy, broken:
        lookup.config_of(reference(proxy.address), config=QUICK)


def test_what_was_built_here_goes_out_and_comes_back(served, stores, tmp_path):
    first = stores("first")
    (tmp_path / "layer.tar").write_bytes(IMAGE.tars[0])
    layer = first.layers.apply_tar(str(tmp_path / "layer.tar"))
    document = configs.derive(configs.new("amd64"), layer.diff_id, created_by="test", created=1.0)
    from estiva.oci.image import encode

    image = first.images.add(encode(document))
    digest = client.push(first, image, reference(served.found), config=QUICK)
    assert client.push(first, image, reference(served.found), config=QUICK) == digest
    second = stores("second")
    assert client.pull(second, reference(served.found), config=QUICK).id == image.id
    with second.layers.tar(layer.diff_id) as stream:
        assert stream.read() == IMAGE.tars[0]


def test_only_the_broken_layer_is_fetched_again(served, stores, driver):
    upload(served.found, "a/b", "1", IMAGE)
    store = stores("one")
    broken, whole = (sha256(layer) for layer in IMAGE.layers)
    faults = [Fault(broken, "cut", 1_500_000), Fault(broken, "flip", 400_000)]
    with Proxy(served.found, faults) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(broken) == [None, "bytes=1500000-", None]
        assert proxy.ranges(whole) == [None]


PULL = """
import sys
from estiva.oci.reference import Reference
from estiva.paths import Paths
from estiva.registry import client
from estiva.store import Store
client.pull(Store(Paths(sys.argv[1], sys.argv[2])), Reference.parse(sys.argv[3]))
"""


def test_a_pull_that_was_killed_goes_on_in_the_next(served, stores, tmp_path):
    upload(served.found, "a/b", "1", IMAGE)
    store = stores("one")
    digest = sha256(IMAGE.layers[0])
    with Proxy(served.found, [Fault(digest, "stall", 2_000_000)]) as proxy:
        arguments = [store.paths.root, store.paths.run_root, str(reference(proxy.address))]
        killed = subprocess.Popen(
            [sys.executable, "-c", PULL, *arguments],
            env={**os.environ, "PYTHONPATH": SOURCE, "ESTIVA_REGISTRY_STALL": "3600"},
        )
        part = f"{store.paths.ingest}/{digest}.part"
        wait_for(lambda: os.path.exists(part) and os.path.getsize(part) >= 1 << 20)
        killed.kill()
        killed.wait()
        have = os.path.getsize(part)
        proxy.seen.clear()
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(digest) == [f"bytes={have}-"]


def test_many_pulls_at_once(served, stores):
    upload(served.found, "a/b", "1", IMAGE)
    made = [stores(f"store{number}") for number in range(4)]
    results = {}

    def one(store, number):
        results[number] = client.pull(store, reference(served.found), config=QUICK)

    threads = [threading.Thread(target=one, args=(store, n)) for n, store in enumerate([*made, *made[:2]])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(results) == 6
    for number, store in enumerate(made):
        check(store, results[number])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_stops_at_once_when_idle(tmp_path, number):
    with server_process(tmp_path, stop_timeout=3600) as running:
        ask(running.found, "GET", "/v2/")
        running.send_signal(number)
        assert running.wait(300) == 0


def test_a_running_download_ends_before_the_server_does(tmp_path):
    import http.client

    blob = os.urandom(20_000_000)
    with server_process(tmp_path, stop_timeout=300) as running:
        digest = push_blob(running.found, "a", blob)
        connection = http.client.HTTPConnection(running.found)
        connection.request("GET", f"/v2/a/blobs/{digest}")
        response = connection.getresponse()
        start = response.read(1000)
        running.terminate()
        time.sleep(0.3)
        assert running.poll() is None
        assert sha256(start + response.read()) == digest
        connection.close()
        assert running.wait(60) == 0


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    with server_process(tmp_path) as running:
        upload(running.found, "a/b", "1", IMAGE)
        running.kill()
        running.wait()
    with server_process(tmp_path) as running:
        assert ask(running.found, "GET", "/v2/a/b/manifests/1")[2] == IMAGE.manifest
        for layer in IMAGE.layers:
            assert ask(running.found, "GET", f"/v2/a/b/blobs/{sha256(layer)}")[2] == layer
