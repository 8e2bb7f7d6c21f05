"""Our server with skopeo and podman as clients, our client with Debian's docker-registry as server."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile

import pytest

from estiva.registry import client
from registry_support import (
    QUICK,
    ask,
    fake_store,
    fill,
    process,
    reference,
    sample,
    server_process,
    sha256,
    tar_image,
    upload,
)

IMAGE = tar_image([{"etc/motd": b"hello\n", "big": bytes(range(256)) * 8000}, {"etc/other": b"2"}])


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    with server_process(tmp_path_factory.mktemp("ours")) as running:
        upload(running.found, "a/b", "1", IMAGE)
        yield running.found


@pytest.fixture(scope="module")
def debians(tmp_path_factory):
    """docker-registry (distribution 2.8) on a free port."""
    directory = tmp_path_factory.mktemp("debians")
    (directory / "config.yml").write_text(
        f"""version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {directory}/data}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:0"}}
"""
    )

    def ready(line):
        _, found, rest = line.partition("listening on 127.0.0.1:")
        return found and "127.0.0.1:" + rest.partition('"')[0].split()[0]

    with process(["docker-registry", "serve", str(directory / "config.yml")], ready) as running:
        yield running.found


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def skopeo(verb, *arguments):
    return run("skopeo", "--insecure-policy", verb, *arguments)


@pytest.fixture
def podman():
    folder = tempfile.mkdtemp(prefix="podman-", dir="/var/tmp")  # podman 4 refuses a long run root

    def call(*arguments):
        return run(
            "podman",
            f"--root={folder}/root",
            f"--runroot={folder}/run",
            f"--tmpdir={folder}/tmp",
            "--storage-driver=vfs",
            *arguments,
        )

    yield call
    shutil.rmtree(folder)


def test_skopeo_reads_us(ours, tmp_path):
    seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{ours}/a/b:1"))
    assert seen["Digest"] == IMAGE.digest
    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{ours}/a/b"))["Tags"] == ["1"]
    skopeo("copy", "--src-tls-verify=false", f"docker://{ours}/a/b:1", f"dir:{tmp_path}/out")
    for blob in [IMAGE.config, *IMAGE.layers]:
        assert (tmp_path / "out" / sha256(blob)[7:]).read_bytes() == blob


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_skopeo_writes_to_us(ours, tmp_path, form):
    skopeo("copy", "--src-tls-verify=false", f"docker://{ours}/a/b:1", f"dir:{tmp_path}/x")
    target = f"docker://{ours}/skopeo/{form}:new"
    skopeo("copy", "--dest-tls-verify=false", f"--format={form}", f"dir:{tmp_path}/x", target)
    image = client.pull(fake_store(tmp_path), reference(ours, f"skopeo/{form}", "new"), config=QUICK)
    assert image.diff_ids == [sha256(tar) for tar in IMAGE.tars]
    skopeo("delete", "--tls-verify=false", target)
    assert ask(ours, "GET", f"/v2/skopeo/{form}/manifests/new")[0] == 404


def test_skopeo_copies_within_us(ours):
    source = f"docker://{ours}/a/b:1"
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", source, f"docker://{ours}/copied:1")
    assert ask(ours, "GET", "/v2/copied/manifests/1")[2] == IMAGE.manifest


def test_podman_pulls_from_us_and_pushes_to_us(ours, podman, tmp_path):
    podman("pull", "-q", "--tls-verify=false", f"{ours}/a/b:1")
    podman("push", "-q", "--tls-verify=false", f"{ours}/a/b:1", f"{ours}/podman:1")
    image = client.pull(fake_store(tmp_path), reference(ours, "podman", "1"), config=QUICK)
    assert image.id == sha256(IMAGE.config)


def test_podman_pulls_what_we_pushed(ours, podman, tmp_path):
    store = fake_store(tmp_path)
    client.push(store, fill(store, IMAGE), reference(ours, "pushed"), config=QUICK)
    (image,) = podman("pull", "-q", "--tls-verify=false", f"{ours}/pushed:1").split()
    assert f"sha256:{image}" == sha256(IMAGE.config)


def test_our_client_with_docker_registry(debians, tmp_path):
    store = fake_store(tmp_path / "one")
    image = fill(store, sample(31, sizes=(2_500_000, 700)))
    digest = client.push(store, image, reference(debians), config=QUICK)
    assert client.push(store, image, reference(debians, "x", "2"), config=QUICK) == digest
    other = fake_store(tmp_path / "two")
    pulled = client.pull(other, reference(debians), config=QUICK)
    assert pulled.id == image.id
    assert other.images.resolve(f"{debians}/a/b@{digest}").id == image.id
    skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{debians}/a/b:1")


def test_our_client_resumes_an_upload_at_docker_registry(debians, tmp_path):
    from registry_support import Fault, Proxy

    store = fake_store(tmp_path)
    big = sample(32, sizes=(3_000_000,))
    with Proxy(debians, [Fault("/uploads/", "break_upload", 1_000_000, method="PATCH")]) as proxy:
        client.push(store, fill(store, big), reference(proxy.address, "resumed"), config=QUICK)
    assert ask(debians, "GET", f"/v2/resumed/blobs/{sha256(big.layers[0])}")[2] == big.layers[0]


def test_our_client_resumes_a_pull_from_docker_registry(debians, tmp_path):
    from registry_support import Fault, Proxy

    big = sample(33, sizes=(3_000_000,))
    push_sample(debians, tmp_path, big)
    digest = sha256(big.layers[0])
    with Proxy(debians, [Fault(digest, "cut", 1_200_000)]) as proxy:
        client.pull(fake_store(tmp_path / "to"), reference(proxy.address, "whole"), config=QUICK)
        assert proxy.ranges(digest) == [None, "bytes=1200000-"]


def push_sample(address, tmp_path, image):
    store = fake_store(tmp_path / "from")
    client.push(store, fill(store, image), reference(address, "whole"), config=QUICK)
