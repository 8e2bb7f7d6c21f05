"""Garbage collection of the registry server: what goes, what stays, and that it happens while it serves."""

from __future__ import annotations

import json
import os
import sqlite3
import threading

import pytest

from estiva.registry.server import maintenance
from estiva.registry.server.config import Collecting, Config
from estiva.registry.server.storage.gc import Collection
from estiva.registry.server.storage.storage import Storage
from estiva.registry.server.storage.uploads import Uploads
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

IMAGE, OTHER = sample(1, sizes=(3000,)), sample(2, sizes=(2000,))


def content(root):
    return {
        f"{algorithm}:{name}"
        for algorithm in ("sha256", "sha512")
        for name in os.listdir(f"{root}/blobs/{algorithm}")
    }


def of(image):
    return {image.digest, sha256(image.config), *map(sha256, image.layers)}


def collect(root, **options):
    storage = Storage(str(root))
    try:
        return Collection(storage, **{"grace": -1, **options}).run(Uploads(storage))
    finally:
        storage.close()


def put(server, repository, which, body, kind=OCI_MANIFEST):
    path = f"/v2/{repository}/manifests/{which}"
    status, _, answer = ask(server.address, "PUT", path, body, {"Content-Type": kind})
    assert status == 201, answer


def test_blobs_that_nothing_refers_to_go_after_their_time(tmp_path):
    with Server(tmp_path) as server:
        upload(server.address, "a", "1", IMAGE)
        stray = push_blob(server.address, "a", b"never used")
        shared = push_blob(server.address, "b", IMAGE.layers[0])
        sha512 = push_blob(server.address, "a", b"never used either", "sha512")
    (tmp_path / "blobs/sha256" / ("0" * 64)).write_bytes(b"left by a kill")
    before = content(tmp_path)
    assert collect(tmp_path, grace=3600).values() == {
        "sessions": 0, "manifests": 0, "blobs": 0, "content": 0, "bytes": 0,
    }  # fmt: skip
    report = collect(tmp_path, dry_run=True)
    assert (report.blobs, report.content, content(tmp_path)) == (3, 1, before)
    dry, report = report, collect(tmp_path)
    assert dry.bytes == report.bytes
    assert (report.blobs, report.content) == (3, 1)
    assert report.bytes == len(b"never used" + b"never used either" + b"left by a kill")
    assert content(tmp_path) == of(IMAGE) and {stray, sha512} <= before and shared in of(IMAGE)
    with Server(tmp_path) as server:
        assert ask(server.address, "GET", f"/v2/a/blobs/{shared}")[2] == IMAGE.layers[0]
        assert ask(server.address, "GET", f"/v2/b/blobs/{shared}")[0] == 404


def test_untagged_manifests_go_only_when_asked_and_with_all_that_hangs_on_them(tmp_path):
    with Server(tmp_path) as server:
        for image in (IMAGE, OTHER):
            upload(server.address, "a", "t", image)  # the second takes the tag from the first
        child = {"mediaType": OCI_MANIFEST, "digest": OTHER.digest, "size": len(OTHER.manifest)}
        index = json.dumps({"schemaVersion": 2, "manifests": [child]}).encode()
        put(server, "a", "multi", index, OCI_INDEX)
        push_blob(server.address, "a", b"{}")
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}
        base = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": [empty]}
        signatures = []
        for subject in (IMAGE, OTHER):
            what = {"mediaType": OCI_MANIFEST, "digest": subject.digest, "size": len(subject.manifest)}
            body = json.dumps({**base, "artifactType": "application/x.sig", "subject": what}).encode()
            put(server, "a", sha256(body), body)
            signatures.append(sha256(body))
        ask(server.address, "DELETE", "/v2/a/manifests/t")
    kept = of(OTHER) | {sha256(index), sha256(b"{}"), signatures[1]}
    assert collect(tmp_path).manifests == 0
    assert collect(tmp_path, untagged=True, grace=3600).manifests == 0
    assert collect(tmp_path, untagged=True).manifests == 2, "the first image, then its signature"
    assert content(tmp_path) == kept
    with Server(tmp_path) as server:
        assert ask(server.address, "DELETE", "/v2/a/manifests/multi")[0] == 202
    assert collect(tmp_path, untagged=True).manifests == 3
    assert content(tmp_path) == set()


def test_a_client_that_was_told_of_a_blob_may_count_on_it(tmp_path):
    with Server(tmp_path) as server:
        digest = push_blob(server.address, "a", b"old")
    with sqlite3.connect(tmp_path / "registry.db") as db:
        db.execute("UPDATE links SET touched = 0")
    db.close()
    with Server(tmp_path) as server:
        assert ask(server.address, "HEAD", f"/v2/a/blobs/{digest}")[0] == 200
    assert collect(tmp_path, grace=3600).blobs == 0
    assert collect(tmp_path).blobs == 1


def test_a_database_of_before_learns_what_refers_to_what(tmp_path):
    with Server(tmp_path) as server:
        upload(server.address, "a", "1", IMAGE)
    db = sqlite3.connect(tmp_path / "registry.db")
    db.executescript(
        "DROP TABLE refs; ALTER TABLE links DROP COLUMN touched; ALTER TABLE manifests DROP COLUMN touched;"
        "PRAGMA user_version = 0;"
    )
    db.close()
    assert collect(tmp_path).values()["blobs"] == 0
    assert content(tmp_path) == of(IMAGE)


def test_it_collects_while_it_serves(tmp_path):
    """Pushes that go on beside collections without any grace but their own seconds: none is ever spoilt."""
    config = Config(gc=Collecting(interval=0))
    with Server(tmp_path, config=config) as server:
        stray = push_blob(server.address, "a", b"stray")
        over, errors = threading.Event(), []

        def push(number):
            try:
                while not over.is_set():
                    upload(server.address, f"r{number}", "1", IMAGE if number % 2 else OTHER)
                    assert ask(server.address, "DELETE", f"/v2/r{number}/manifests/1")[0] == 202
            except AssertionError as error:
                errors.append(error)

        threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        config.root = str(tmp_path)
        for _ in range(20):
            maintenance.collect_now(config, {"grace": 300, "untagged": True})
        over.set()
        for thread in threads:
            thread.join()
        assert not errors
        report = maintenance.collect_now(config, {"grace": -1, "untagged": True})
        assert report["manifests"] >= 2 and report["blobs"] >= 4
        assert ask(server.address, "GET", f"/v2/a/blobs/{stray}")[0] == 404
        text = ask(server.address, "GET", "/metrics")[2].decode()
        assert f'estiva_registry_collected_total{{what="blobs"}} {report["blobs"]}' in text
    assert content(tmp_path) == set()


def test_it_collects_by_itself(tmp_path):
    config = Config(gc=Collecting(interval=0.05, grace=-1))
    with Server(tmp_path, config=config) as server:
        push_blob(server.address, "a", b"stray")
        wait_for(lambda: not content(tmp_path))


def test_a_path_that_no_socket_fits(tmp_path):
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    os.makedirs(deep)
    config = Config(root=str(deep))
    with Server(deep) as server:
        push_blob(server.address, "a", b"stray")
        assert maintenance.collect_now(config, {"grace": -1})["blobs"] == 1
    with pytest.raises(Exception, match="no registry in"):
        maintenance.collect_now(Config(root=str(tmp_path)), {})
