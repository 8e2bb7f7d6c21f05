"""Pull-through caching of the registry server: what is kept, what is asked again, what is never believed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading

import pytest

from estiva.registry import client
from estiva.registry.server.config import Config
from estiva.registry.server.mirror import Upstream
from registry_support import (
    OCI_MANIFEST,
    QUICK,
    Fault,
    Proxy,
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

IMAGE, NEWER = sample(11, sizes=(400_000, 900)), sample(12, sizes=(5_000,))


@contextlib.contextmanager
def cached(tmp_path, faults=(), **options):
    """(a registry, a proxy before it, a cache of it below up/)"""
    with (
        Server(tmp_path / "origin") as origin,
        Proxy(origin.address, list(faults)) as proxy,
        Server(
            tmp_path / "cache",
            config=Config(upstreams=[Upstream("up", proxy.address, **options)]),
            upstream_settings=QUICK,
        ) as cache,
    ):
        upload(origin.address, "team/web", "1", IMAGE)
        yield origin, proxy, cache


def gets(proxy, part):
    return [path for method, path, _, _ in proxy.seen if method == "GET" and part in path]


def uploads(cache):
    return os.listdir(f"{cache.root}/uploads")


def test_a_pull_goes_through_and_the_next_one_does_not(tmp_path):
    with cached(tmp_path) as (origin, proxy, cache):
        for number in range(2):
            store = fake_store(tmp_path / f"store{number}")
            image = client.pull(store, reference(cache.address, "up/team/web"), config=QUICK)
            assert image.id == sha256(IMAGE.config)
        blobs = gets(proxy, "/blobs/")
        assert len(blobs) == len(set(blobs)) == 3
        assert len(gets(proxy, "/manifests/")) == 1
        assert uploads(cache) == []
        text = ask(cache.address, "GET", "/metrics")[2].decode()
        total = len(IMAGE.config) + sum(map(len, IMAGE.layers))
        assert f"estiva_registry_upstream_bytes_total {total}" in text


def test_what_is_kept_serves_when_upstream_is_gone(tmp_path):
    with cached(tmp_path, fresh=0) as (origin, proxy, cache):
        store = fake_store(tmp_path / "store")
        client.pull(store, reference(cache.address, "up/team/web"), config=QUICK)
        proxy.guard = lambda request: request.transport.abort() or None
        assert ask(cache.address, "GET", "/v2/up/team/web/manifests/1")[2] == IMAGE.manifest
        assert ask(cache.address, "GET", f"/v2/up/team/web/blobs/{sha256(IMAGE.config)}")[0] == 200
        assert ask(cache.address, "GET", "/v2/up/team/web/manifests/2")[0] in (502, 503)
        assert ask(cache.address, "GET", f"/v2/up/team/web/blobs/{sha256(b'x')}")[0] in (502, 503)


def test_a_tag_that_moved_is_followed_and_one_that_went_goes(tmp_path):
    with cached(tmp_path, fresh=0) as (origin, proxy, cache):
        assert ask(cache.address, "GET", "/v2/up/team/web/manifests/1")[2] == IMAGE.manifest
        upload(origin.address, "team/web", "1", NEWER)
        assert ask(cache.address, "GET", "/v2/up/team/web/manifests/1")[2] == NEWER.manifest
        assert ask(cache.address, "GET", f"/v2/up/team/web/manifests/{IMAGE.digest}")[2] == IMAGE.manifest
        ask(origin.address, "DELETE", "/v2/team/web/manifests/1")
        assert ask(cache.address, "GET", "/v2/up/team/web/manifests/1")[0] == 404
        assert json.loads(ask(cache.address, "GET", "/v2/up/team/web/tags/list")[2])["tags"] == []
        assert ask(cache.address, "GET", "/v2/up/team/nope/manifests/1")[0] == 404


def test_a_fresh_tag_is_not_asked_again(tmp_path):
    with cached(tmp_path, fresh=3600) as (origin, proxy, cache):
        for _ in range(3):
            assert ask(cache.address, "GET", "/v2/up/team/web/manifests/1")[2] == IMAGE.manifest
        assert len([path for _, path, _, _ in proxy.seen if "/manifests/" in path]) == 1


def test_many_at_once_fetch_once(tmp_path):
    blob = os.urandom(5_000_000)
    with cached(tmp_path) as (origin, proxy, cache):
        digest = push_blob(origin.address, "team/web", blob)
        results = []

        def pull():
            results.append(ask(cache.address, "GET", f"/v2/up/team/web/blobs/{digest}"))

        threads = [threading.Thread(target=pull) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(status, body == blob) for status, _, body in results] == [(200, True)] * 8
        assert len(gets(proxy, digest)) == 1
        status, _, body = ask(
            cache.address, "GET", f"/v2/up/team/web/blobs/{digest}", headers={"Range": "bytes=5-9"}
        )
        assert (status, body) == (206, blob[5:10])


def test_wrong_bytes_are_neither_kept_nor_whole(tmp_path):
    blob = os.urandom(2_000_000)
    digest = sha256(blob)
    with cached(tmp_path, [Fault(digest, "flip", 1_000, times=1)]) as (origin, proxy, cache):
        push_blob(origin.address, "team/web", blob)
        connection = http.client.HTTPConnection(cache.address, timeout=120)
        connection.request("GET", f"/v2/up/team/web/blobs/{digest}")
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse().read()
        connection.close()
        wait_for(lambda: uploads(cache) == [])
        assert not os.path.exists(f"{cache.root}/blobs/{digest.replace(':', '/')}")
        assert ask(cache.address, "GET", f"/v2/up/team/web/blobs/{digest}")[2] == blob


def test_a_manifest_of_another_digest_is_refused(tmp_path):
    other = json.dumps({**json.loads(IMAGE.manifest), "annotations": {"a": "b"}}).encode()
    answer = Fault(IMAGE.digest, "answer_with", other, headers={"Content-Type": OCI_MANIFEST})
    with cached(tmp_path, [answer]) as (origin, proxy, cache):
        assert ask(cache.address, "GET", f"/v2/up/team/web/manifests/{IMAGE.digest}")[0] == 502
        assert ask(cache.address, "GET", f"/v2/up/team/web/manifests/{sha256(other)}")[0] == 404
        assert ask(cache.address, "GET", f"/v2/up/team/web/manifests/{IMAGE.digest}")[2] == IMAGE.manifest


def test_a_broken_download_goes_on_where_it_broke(tmp_path):
    blob = os.urandom(3_000_000)
    digest = sha256(blob)
    with cached(tmp_path, [Fault(digest, "cut", 1_200_000)]) as (origin, proxy, cache):
        push_blob(origin.address, "team/web", blob)
        assert ask(cache.address, "GET", f"/v2/up/team/web/blobs/{digest}")[2] == blob
        assert proxy.ranges(digest) == [None, "bytes=1200000-"]


def test_a_head_fetches_nothing(tmp_path):
    with cached(tmp_path) as (origin, proxy, cache):
        digest = sha256(IMAGE.layers[0])
        status, headers, _ = ask(cache.address, "HEAD", f"/v2/up/team/web/blobs/{digest}")
        assert (status, headers["Content-Length"]) == (200, str(len(IMAGE.layers[0])))
        assert gets(proxy, digest) == []


def test_a_cache_can_be_pushed_to_elsewhere_only(tmp_path):
    with cached(tmp_path) as (origin, proxy, cache):
        upload(cache.address, "mine", "1", IMAGE)
        assert ask(cache.address, "GET", "/v2/mine/manifests/1")[2] == IMAGE.manifest
        assert ask(cache.address, "POST", "/v2/up/mine/blobs/uploads/")[0] == 405
        assert ask(cache.address, "PUT", "/v2/up/team/web/manifests/1", IMAGE.manifest)[0] == 405
        ask(cache.address, "GET", "/v2/up/team/web/manifests/1")
        assert ask(cache.address, "DELETE", "/v2/up/team/web/manifests/1")[0] == 202


def test_a_server_that_stops_in_a_download_leaves_nothing(tmp_path):
    blob = os.urandom(4_000_000)
    digest = sha256(blob)
    with cached(tmp_path, [Fault(digest, "stall", 3_000_000)]) as (origin, proxy, cache):
        push_blob(origin.address, "team/web", blob)
        connection = http.client.HTTPConnection(cache.address, timeout=120)
        connection.request("GET", f"/v2/up/team/web/blobs/{digest}")
        assert len(connection.getresponse().read(1000)) == 1000
        root = cache.root
        connection.close()
    assert os.listdir(f"{root}/uploads") == []


def test_docker_hub_names():
    hub = Upstream("docker.io", "docker.io")
    assert hub.repository("docker.io/alpine") == "library/alpine"
    assert hub.repository("docker.io/library/alpine") == "library/alpine"
    assert hub.repository("docker.iox/alpine") is None
    assert Upstream("q", "quay.io").repository("q/a") == "a"
