"""Pull against a registry that misbehaves: only the broken layer is fetched again, from where it broke."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from dataclasses import replace

import pytest

from estiva.errors import IntegrityError, NotFound, Unavailable, Unsupported
from estiva.registry import client
from registry_support import (
    IMPATIENT,
    OCI_INDEX,
    OCI_MANIFEST,
    QUICK,
    Fault,
    Proxy,
    Server,
    ask,
    fake_store,
    reference,
    sample,
    sha256,
    upload,
    wait_for,
)

BIG = sample(7, sizes=(3_000_000, 400_000, 1_000))
BIG_DIGEST = sha256(BIG.layers[0])


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as server:
        upload(server.address, "a/b", "1", BIG)
        yield server


@pytest.fixture
def store(tmp_path):
    return fake_store(tmp_path)


def check(store, image):
    assert image.id == sha256(BIG.config)
    for layer in BIG.layers:
        assert store.content.read(sha256(layer), 1 << 30) == layer


def test_a_pull_brings_the_image_its_name_and_its_digest(registry, store):
    events = []
    image = client.pull(store, reference(registry.address), progress=events.append, config=QUICK)
    check(store, image)
    name = f"{registry.address}/a/b"
    assert store.images.resolve(f"{name}:1").id == image.id
    assert store.images.resolve(f"{name}@{BIG.digest}").id == image.id
    assert image.manifest == BIG.digest
    assert {event["status"] for event in events} >= {"downloading", "done"}
    assert store.content.read(BIG.digest) == BIG.manifest


def test_a_second_pull_asks_only_whether_anything_changed(registry, store):
    with Proxy(registry.address) as proxy:
        first = client.pull(store, reference(proxy.address), config=QUICK)
        proxy.seen.clear()
        assert client.pull(store, reference(proxy.address), config=QUICK).id == first.id
        assert [(method, path) for method, path, _, _ in proxy.seen if path != "/v2/"] == [
            ("HEAD", "/v2/a/b/manifests/1")
        ]


def test_layers_that_are_here_are_not_fetched(registry, store, tmp_path):
    client.pull(store, reference(registry.address), config=QUICK)
    other = sample(7, sizes=(3_000_000, 400_000), config_extra={"author": "another"})
    upload(registry.address, "other", "1", other)
    with Proxy(registry.address) as proxy:
        image = client.pull(store, reference(proxy.address, "other"), config=QUICK)
        assert image.id == sha256(other.config)
        assert not proxy.ranges(f"/blobs/{BIG_DIGEST}")


@pytest.mark.parametrize("where", [1, 100_000, 2_500_000])
def test_a_cut_layer_goes_on_at_the_byte_where_it_broke(registry, store, where):
    with Proxy(registry.address, [Fault(BIG_DIGEST, "cut", where)]) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(BIG_DIGEST) == [None, f"bytes={where}-"]
        for layer in BIG.layers[1:]:
            assert proxy.ranges(sha256(layer)) == [None]


def test_progress_resets_the_count_of_attempts(registry, store):
    faults = [Fault(BIG_DIGEST, "cut", 100_000, times=8)]
    with Proxy(registry.address, faults) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(BIG_DIGEST) == [None] + [f"bytes={n}00000-" for n in range(1, 9)]


def test_a_stalled_layer_is_resumed(registry, store):
    with Proxy(registry.address, [Fault(BIG_DIGEST, "stall", 50_000)]) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=IMPATIENT))
        assert proxy.ranges(BIG_DIGEST) == [None, "bytes=50000-"]


def test_a_registry_without_ranges_is_skipped_through(registry, store):
    faults = [Fault(BIG_DIGEST, "cut", 70_000), Fault(BIG_DIGEST, "whole")]
    with Proxy(registry.address, faults) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
    sink = next(sink for sink in store.layers.sinks if sink.blob.digest == BIG_DIGEST)
    assert sink.fed == len(BIG.layers[0])


def test_wrong_bytes_are_thrown_away_and_fetched_once_more(registry, store):
    with Proxy(registry.address, [Fault(BIG_DIGEST, "flip", 1_000_000)]) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(BIG_DIGEST) == [None, None]


def test_wrong_bytes_twice_name_both_digests(registry, store):
    with Proxy(registry.address, [Fault(BIG_DIGEST, "flip", 5, times=9)]) as proxy:
        with pytest.raises(IntegrityError) as caught:
            client.pull(store, reference(proxy.address), config=QUICK)
        assert len(proxy.ranges(BIG_DIGEST)) == 2
    wrong = bytearray(BIG.layers[0])
    wrong[5] ^= 1
    assert BIG_DIGEST in str(caught.value) and sha256(bytes(wrong)) in str(caught.value)
    assert not store.content.has(BIG_DIGEST)
    assert store.images.list() == []


def test_a_longer_body_is_refused(registry, store):
    with (
        Proxy(registry.address, [Fault(BIG_DIGEST, "longer", 10, times=9)]) as proxy,
        pytest.raises(IntegrityError),
    ):
        client.pull(store, reference(proxy.address), config=QUICK)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_registry_is_asked_again(registry, store, status):
    faults = [Fault(BIG_DIGEST, "status", status), Fault("/manifests/1", "status", status)]
    with Proxy(registry.address, faults) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(BIG_DIGEST) == [None, None]


def test_retry_after_is_obeyed_and_bounded(registry, store):
    settings = replace(QUICK, retry_after_limit=0.4)
    faults = [Fault("/manifests/1", "status", 429, headers={"Retry-After": "3600"})]
    with Proxy(registry.address, faults) as proxy:
        before = time.monotonic()
        client.pull(store, reference(proxy.address), config=settings)
        assert 0.4 <= time.monotonic() - before < 3600


def test_it_gives_up_after_its_attempts(registry, store):
    with Proxy(registry.address, [Fault(BIG_DIGEST, "status", 503, times=99)]) as proxy:
        with pytest.raises(Unavailable):
            client.pull(store, reference(proxy.address), config=QUICK)
        assert len(proxy.ranges(BIG_DIGEST)) == QUICK.attempts


def test_a_range_past_the_end_starts_over(registry, store):
    faults = [Fault(BIG_DIGEST, "cut", 1000), Fault(BIG_DIGEST, "status", 416)]
    with Proxy(registry.address, faults) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(BIG_DIGEST) == [None, "bytes=1000-", None]


def test_another_range_than_asked_for_starts_over(registry, store):
    wrong = {"Content-Range": f"bytes 0-9/{len(BIG.layers[0])}"}
    faults = [Fault(BIG_DIGEST, "cut", 1000), Fault(BIG_DIGEST, "flip", 0, headers=wrong)]
    with Proxy(registry.address, faults) as proxy:
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(BIG_DIGEST) == [None, "bytes=1000-", None]


def test_the_next_pull_goes_on_from_the_part_on_the_disk(registry, store):
    faults = [Fault(BIG_DIGEST, "cut", 600_000), Fault(BIG_DIGEST, "status", 503, times=2)]
    with Proxy(registry.address, faults) as proxy:
        with pytest.raises(Unavailable):
            client.pull(store, reference(proxy.address), config=QUICK)
        proxy.seen.clear()
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        assert proxy.ranges(BIG_DIGEST) == ["bytes=600000-"]


def test_not_found_names_the_reference(registry, store):
    with pytest.raises(NotFound, match=f"{registry.address}/a/b:nope"):
        client.pull(store, reference(registry.address, tag="nope"), config=QUICK)


def test_a_missing_layer_makes_the_image_incomplete(registry, store):
    with (
        Proxy(registry.address, [Fault(BIG_DIGEST, "status", 404)]) as proxy,
        pytest.raises(IntegrityError, match="incomplete"),
    ):
        client.pull(store, reference(proxy.address), config=QUICK)


def test_a_refused_connection_is_one_line_at_once(store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable) as caught:
            client.pull(store, reference(address), config=QUICK)
    assert str(caught.value) == f"can't reach {address}: connection refused"


def test_an_unknown_host_is_one_line(store):
    with pytest.raises(Unavailable, match="name can't be resolved"):
        client.pull(store, reference("registry.invalid"), config=QUICK)


def test_the_platform_chooses_from_an_index(registry, store):
    mine, theirs = sample(21), sample(22, architecture="arm64")
    upload(registry.address, "multi", "amd64", mine)
    upload(registry.address, "multi", "arm64", theirs)
    entries = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": image.digest,
            "size": len(image.manifest),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for image, architecture in ((theirs, "arm64"), (mine, "amd64"))
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    status, _, _ = ask(registry.address, "PUT", "/v2/multi/manifests/all", index, {"Content-Type": OCI_INDEX})
    assert status == 201
    ref = reference(registry.address, "multi", "all")
    assert client.pull(store, ref, platform="linux/amd64", config=QUICK).id == sha256(mine.config)
    other = client.pull(store, ref, platform="linux/arm64", config=QUICK)
    assert other.id == sha256(theirs.config)
    assert other.manifest == theirs.digest
    name = f"{registry.address}/multi"
    assert store.images.resolve(f"{name}@{sha256(index)}").id == other.id
    with pytest.raises(NotFound, match="riscv64"):
        client.pull(store, ref, platform="linux/riscv64", config=QUICK)


def test_foreign_layers_are_never_fetched(registry, store):
    manifest = json.loads(BIG.manifest)
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    manifest["layers"][0] |= {"mediaType": kind, "urls": ["http://127.0.0.1:1/x"]}
    body = json.dumps(manifest).encode()
    headers = {"Content-Type": OCI_MANIFEST}
    assert ask(registry.address, "PUT", "/v2/a/b/manifests/foreign", body, headers)[0] == 201
    with pytest.raises(Unsupported, match="foreign"):
        client.pull(store, reference(registry.address, tag="foreign"), config=QUICK)


def test_two_pulls_at_once_fetch_each_layer_once(registry, store, tmp_path):
    with Proxy(registry.address, [Fault(BIG_DIGEST, "stall", 1000)]) as proxy:
        results = []

        def one():
            results.append(client.pull(store, reference(proxy.address), config=IMPATIENT))

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(results) == 2
        check(store, results[0])
        assert proxy.ranges(BIG_DIGEST) == [None, "bytes=1000-"]


def test_ctrl_c_keeps_the_part(registry, store):
    with Proxy(registry.address, [Fault(BIG_DIGEST, "stall", 2_500_000)]) as proxy:

        def interrupt():
            wait_for(lambda: any(sink.offset >= 1 << 20 for sink in list(store.layers.sinks)))
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.pull(store, reference(proxy.address), config=QUICK)
        thread.join()
        proxy.seen.clear()
        check(store, client.pull(store, reference(proxy.address), config=QUICK))
        (asked,) = proxy.ranges(BIG_DIGEST)
        assert int(asked.removeprefix("bytes=").removesuffix("-")) >= 1 << 20
