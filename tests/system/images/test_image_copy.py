"""`image copy` and `save --format` between registries, OCI layouts, archives and the store; manifest lists."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile

import pytest

from estiva.engine import Engine
from estiva.engine.images import archive as image_archive
from estiva.engine.images import copy, lookup, manifest_lists
from estiva.engine.images import registry as image_registry
from estiva.errors import Conflict, EstivaError, IntegrityError, InvalidInput, NotFound
from registry_support import (
    OCI_INDEX,
    OCI_MANIFEST,
    Fault,
    Proxy,
    Server,
    ask,
    sha256,
    tar_image,
    upload,
)

ONE = tar_image([{f"f{n}": os.urandom(3000) for n in range(60)}, {"etc/motd": b"hello\n"}], "one")
TWO = tar_image([{"etc/motd": b"arm\n"}], "two")
TWO.config = TWO.config.replace(b'"amd64"', b'"arm64"')
_manifest = json.loads(TWO.manifest)
_manifest["config"] |= {"digest": sha256(TWO.config), "size": len(TWO.config)}
TWO.manifest = json.dumps(_manifest).encode()
BIG = sha256(ONE.layers[0])


def entry(image, architecture):
    platform = {"os": "linux", "architecture": architecture}
    size = len(image.manifest)
    return {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": size, "platform": platform}


INDEX = json.dumps(
    {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(ONE, "amd64"), entry(TWO, "arm64")]}
).encode()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as server:
        upload(server.address, "app", "one", ONE)
        upload(server.address, "app", "two", TWO)
        kind = {"Content-Type": OCI_INDEX}
        assert ask(server.address, "PUT", "/v2/app/manifests/all", INDEX, kind)[0] == 201
        yield server


@pytest.fixture
def engine(tmp_path, monkeypatch):
    for name, value in {"CONNECT": "60", "STALL": "120", "ATTEMPTS": "3"}.items():
        monkeypatch.setenv(f"ESTIVA_REGISTRY_{name}", value)
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "dir")
    monkeypatch.setenv("ESTIVA_REGISTRIES", "/dev/null")
    made = Engine(f"{tmp_path}/root", f"{tmp_path}/run")
    yield made
    made.store.layers.unmount_all()
    made.store.close()


def at(registry, rest):
    return f"docker://{registry.address}/{rest}"


def blobs(folder):
    return {f"sha256:{name}" for name in os.listdir(f"{folder}/blobs/sha256")}


PARTS = {ONE.digest, sha256(ONE.config), *(sha256(layer) for layer in ONE.layers)}


def test_a_registry_into_a_folder_and_back(registry, engine, tmp_path):
    folder = f"{tmp_path}/layout"
    assert copy.copy(engine, at(registry, "app:one"), f"oci:{folder}:v1") == ONE.digest
    assert blobs(folder) == PARTS
    assert copy.copy(engine, f"oci:{folder}:v1", at(registry, "back/one:1")) == ONE.digest
    assert ask(registry.address, "GET", "/v2/back/one/manifests/1")[2] == ONE.manifest
    index = json.load(open(f"{folder}/index.json"))
    assert index["manifests"][0]["annotations"] == {"org.opencontainers.image.ref.name": "v1"}
    assert not engine.store.images.list()


def test_nothing_is_fetched_that_is_there(registry, engine, tmp_path):
    with Proxy(registry.address) as proxy:
        for tag in ("a", "b"):
            copy.copy(engine, at(proxy, "app:one"), f"oci:{tmp_path}/layout:{tag}")
        assert len(proxy.ranges(BIG)) == 1
    names = [
        item["annotations"]["org.opencontainers.image.ref.name"]
        for item in json.load(open(f"{tmp_path}/layout/index.json"))["manifests"]
    ]
    assert names == ["a", "b"]


def test_all_platforms_or_one(registry, engine, tmp_path):
    assert copy.copy(engine, at(registry, "app:all"), f"oci:{tmp_path}/all", every=True) == sha256(INDEX)
    assert blobs(f"{tmp_path}/all") >= {sha256(INDEX), ONE.digest, TWO.digest, sha256(TWO.layers[0])}
    given = copy.copy(engine, f"oci:{tmp_path}/all", f"oci:{tmp_path}/arm", platform="linux/arm64")
    assert given == TWO.digest and ONE.digest not in blobs(f"{tmp_path}/arm")
    copy.copy(engine, f"oci:{tmp_path}/all", "store:all:1", every=True)
    assert len(engine.store.images.list()) == 2
    assert engine.store.images.resolve("all:1").manifest == sha256(INDEX)
    assert copy.copy(engine, "store:all:1", at(registry, "again:1"), every=True) == sha256(INDEX)
    assert ask(registry.address, "GET", "/v2/again/manifests/1")[2] == INDEX
    assert lookup.remove(engine, "all:1") and not engine.store.images.list()


def test_within_a_registry_blobs_are_mounted(registry, engine):
    with Proxy(registry.address) as proxy:
        assert copy.copy(engine, at(proxy, "app:one"), at(proxy, "mounted/app:1")) == ONE.digest
        assert not proxy.ranges(BIG)
        assert not [path for method, path, *_ in proxy.seen if method == "PATCH"]


def test_between_registries_a_break_goes_on_and_wrong_bytes_come_again(registry, engine, tmp_path):
    with Server(tmp_path / "other") as other, Proxy(registry.address, [Fault(BIG, "cut", 50_000)]) as proxy:
        copy.copy(engine, at(proxy, "app:one"), at(other, "a:1"))
        assert ask(other.address, "GET", f"/v2/a/blobs/{BIG}")[2] == ONE.layers[0]
    with Server(tmp_path / "third") as third, Proxy(registry.address, [Fault(BIG, "flip", 70_000)]) as proxy:
        copy.copy(engine, at(proxy, "app:one"), at(third, "a:1"))
        assert ask(third.address, "GET", f"/v2/a/blobs/{BIG}")[2] == ONE.layers[0]
        assert len(proxy.ranges(BIG)) == 2
    faults = [Fault(BIG, "flip", 70_000, times=2)]
    with Server(tmp_path / "fourth") as fourth, Proxy(registry.address, faults) as proxy:
        with pytest.raises(IntegrityError, match=f"{BIG} has the digest sha256:"):
            copy.copy(engine, at(proxy, "app:one"), at(fourth, "a:1"))
        assert ask(fourth.address, "GET", "/v2/a/manifests/1")[0] == 404


def test_an_archive_keeps_the_bytes_and_resumes_by_range(registry, engine, tmp_path):
    path = f"{tmp_path}/one.tar"
    with Proxy(registry.address, [Fault(BIG, "cut", 50_000), Fault(BIG, "flip", 70_000)]) as proxy:
        assert copy.copy(engine, at(proxy, "app:one"), f"oci-archive:{path}:v1") == ONE.digest
    with tarfile.open(path) as archive:
        assert {n.rpartition("/")[2] for n in archive.getnames() if n.startswith("blobs/")} == {
            part[7:] for part in PARTS
        }
    assert copy.copy(engine, f"oci-archive:{path}:v1", f"oci:{tmp_path}/out") == ONE.digest
    assert image_archive.load(engine, open(path, "rb")) == [sha256(ONE.config)]


def test_an_archive_on_a_pipe_can_not_go_back(registry, engine, monkeypatch):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    from estiva.oci.reference import Reference
    from estiva.registry.transfer import copy as copying

    with Proxy(registry.address, [Fault(BIG, "flip", 70_000)]) as proxy:
        source = Reference.parse(f"{proxy.address}/app:one")
        with pytest.raises(IntegrityError, match="can't be taken back"):
            copying.copy([(source, (Pipe(), ""))])
        out = Pipe()
        copying.copy([(source, (out, ""))])
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert "index.json" in archive.getnames()


def test_a_docker_archive_goes_by_way_of_the_store_and_leaves_nothing(registry, engine, tmp_path):
    path = f"{tmp_path}/docker.tar"
    assert copy.copy(engine, at(registry, "app:one"), f"docker-archive:{path}:my/app:1") == sha256(ONE.config)
    assert not engine.store.images.list() and not engine.db.read("SELECT * FROM layers")
    manifest = json.load(tarfile.open(path).extractfile("manifest.json"))
    assert manifest[0]["RepoTags"] == ["my/app:1"]
    copy.copy(engine, f"docker-archive:{path}:my/app:1", at(registry, "from/docker:1"), compression="zstd")
    assert not engine.store.images.list()
    sent = json.loads(ask(registry.address, "GET", "/v2/from/docker/manifests/1")[2])
    assert {layer["mediaType"].rpartition("+")[2] for layer in sent["layers"]} == {"zstd"}
    assert sent["config"]["digest"] == sha256(ONE.config)


@pytest.mark.parametrize(("method", "level"), [("gzip", None), ("gzip", 9), ("zstd", 3), ("none", None)])
def test_compression_on_push(registry, engine, method, level):
    copy.copy(engine, at(registry, "app:one"), "store:mine:1")
    name = f"{registry.address}/packed:{method}{level or ''}"
    lookup.tag(engine, "mine:1", name)
    image_registry.push(engine, name, compression=method, level=level)
    lookup.remove(engine, name)
    lookup.remove(engine, "mine:1")
    again = image_registry.pull(engine, name)
    assert again.id == sha256(ONE.config)
    for tar in ONE.tars:
        assert engine.store.layers.tar(sha256(tar)).read() == tar


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("oci:", "store:a"), "names no folder"),
        (("store:a", "oci-archive:"), "names no file"),
        (("a b", "store:a"), "invalid reference"),
        (("oci:/nonexistent", "store:a"), "no such folder"),
        (("oci-archive:/nonexistent", "store:a"), "no such file"),
        (("oci-archive:/etc/passwd", "store:a"), "is no archive"),
        (("store:nosuch", "oci:x"), "no such image"),
    ],
)
def test_places_that_are_none(engine, words, said):
    with pytest.raises(EstivaError, match=said):
        copy.copy(engine, *words)


def test_a_folder_that_holds_something_else_is_left_alone(registry, engine, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter").write_text("x")
    with pytest.raises(InvalidInput, match="neither empty nor an OCI image layout"):
        copy.copy(engine, at(registry, "app:one"), f"oci:{tmp_path}/mine")
    assert os.listdir(tmp_path / "mine") == ["letter"]


def test_a_failed_copy_leaves_the_old_archive(registry, engine, tmp_path):
    path = tmp_path / "old.tar"
    path.write_bytes(b"old")
    with pytest.raises(NotFound):
        copy.copy(engine, at(registry, "no/such:1"), f"oci-archive:{path}")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path).count("old.tar") == 1
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_layout_may_hold_no_links_and_no_lies(registry, engine, tmp_path):
    folder = tmp_path / "layout"
    copy.copy(engine, at(registry, "app:one"), f"oci:{folder}")
    place = folder / "blobs/sha256" / BIG[7:]
    whole = place.read_bytes()
    place.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for goal in ("store:a", f"oci:{tmp_path}/out", f"oci-archive:{tmp_path}/out.tar", at(registry, "lie:1")):
        with pytest.raises(IntegrityError):
            copy.copy(engine, f"oci:{folder}", goal)
    (tmp_path / "secret").write_bytes(whole)
    place.unlink()
    place.symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput, match="no file"):
        copy.copy(engine, f"oci:{folder}", "store:a")
    assert not engine.store.images.list()
    assert ask(registry.address, "GET", "/v2/lie/manifests/1")[0] == 404


def test_save_and_load_every_form(registry, engine, tmp_path):
    image_registry.pull(engine, f"{registry.address}/app:all", every=True)
    name = f"{registry.address}/app:all"
    copy.save(engine, [name], "oci-dir", f"{tmp_path}/dir")
    copy.save(engine, [name], "oci-archive", f"{tmp_path}/all.tar")
    assert blobs(f"{tmp_path}/dir") >= {sha256(INDEX), *PARTS, TWO.digest}
    lookup.remove(engine, name)
    for source in (f"{tmp_path}/dir", open(f"{tmp_path}/all.tar", "rb")):
        assert image_archive.load(engine, source) == [name]
        assert lookup.resolve(engine, name).id == sha256(ONE.config)
        lookup.remove(engine, name)


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_reads_and_writes_the_same(registry, engine, tmp_path):
    copy.copy(engine, at(registry, "app:one"), f"oci:{tmp_path}/ours:v1")
    copy.copy(engine, at(registry, "app:one"), f"oci-archive:{tmp_path}/ours.tar:v1")
    skopeo = ["skopeo", "--insecure-policy"]
    for source in (f"oci:{tmp_path}/ours:v1", f"oci-archive:{tmp_path}/ours.tar:v1"):
        done = subprocess.run([*skopeo, "inspect", source], capture_output=True, text=True)
        assert done.returncode == 0 and json.loads(done.stdout)["Digest"] == ONE.digest, done.stderr
    source, goal = f"oci:{tmp_path}/ours:v1", f"oci:{tmp_path}/theirs:v2"
    subprocess.run([*skopeo, "copy", "-q", source, goal], check=True)
    assert copy.copy(engine, goal, f"oci:{tmp_path}/back") == ONE.digest


# ---- manifest lists


def test_a_list_is_made_described_and_pushed(registry, engine, tmp_path):
    copy.copy(engine, at(registry, "app:one"), "store:local:1")
    name = f"{registry.address}/list:1"
    manifest_lists.create(engine, name, ["local:1"])
    with pytest.raises(Conflict):
        manifest_lists.create(engine, name)
    manifest_lists.add(engine, name, at(registry, "app:two"), annotations={"a": "b"})
    manifest_lists.annotate(engine, name, at(registry, "app:two"), {"variant": "v9"}, {})
    shown = manifest_lists.inspect(engine, name)
    assert [item["platform"] for item in shown["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v9"},
    ]
    digest = manifest_lists.push(engine, name)
    body = ask(registry.address, "GET", "/v2/list/manifests/1")[2]
    assert sha256(body) == digest and json.loads(body) == shown
    assert ask(registry.address, "GET", f"/v2/list/blobs/{sha256(TWO.layers[0])}")[2] == TWO.layers[0]
    assert manifest_lists.take(engine, name, TWO.digest) == TWO.digest
    assert manifest_lists.names(engine) == [name]
    manifest_lists.remove(engine, name)
    with pytest.raises(NotFound):
        manifest_lists.remove(engine, name)


def test_an_index_is_one_member_or_all(registry, engine):
    manifest_lists.create(engine, "l:1", [at(registry, "app:all")])
    assert len(manifest_lists.inspect(engine, "l:1")["manifests"]) == 1
    manifest_lists.create(engine, "l:1", [at(registry, "app:all")], amend=True, every=True)
    assert len(manifest_lists.inspect(engine, "l:1")["manifests"]) == 2
    assert manifest_lists.inspect(engine, at(registry, "app:all")) == json.loads(INDEX)
    manifest_lists.remove(engine, "l:1")


def test_a_member_keeps_the_manifest_of_the_name_that_it_was_added_by(registry, engine):
    again = json.dumps(json.loads(ONE.manifest) | {"annotations": {"said": "differently"}}).encode()
    assert (
        ask(registry.address, "PUT", "/v2/app/manifests/again", again, {"Content-Type": OCI_MANIFEST})[0]
        == 201
    )
    copy.copy(engine, at(registry, "app:one"), "store:local:one")
    copy.copy(engine, at(registry, "app:again"), "store:local:again")
    for name in ("one", "again"):
        goal = f"{registry.address}/members:{name}"
        manifest_lists.create(engine, goal, [f"local:{name}"])
        manifest_lists.push(engine, goal)
        shown = json.loads(ask(registry.address, "GET", f"/v2/members/manifests/{name}")[2])
        assert shown["manifests"][0]["digest"] == (ONE.digest if name == "one" else sha256(again))


def test_an_image_for_another_platform_is_never_copied_in_silence(registry, engine, tmp_path):
    """One manifest, and no index that would say: its config does."""
    copy.copy(engine, at(registry, "app:two"), f"oci:{tmp_path}/arm:1", platform="linux/arm64")
    copy.copy(engine, at(registry, "app:one"), "store:here:1", platform="linux/amd64")
    sources = (at(registry, "app:two"), f"oci:{tmp_path}/arm:1")
    goals = ("store:mine:1", f"docker-archive:{tmp_path}/d.tar", f"oci:{tmp_path}/o", at(registry, "n:1"))
    for source in sources:
        for goal in goals:
            with pytest.raises(
                NotFound, match=r"linux/arm64.*linux/amd64|linux/amd64.*linux/arm64"
            ) as caught:
                copy.copy(engine, source, goal, platform="linux/amd64")
            assert "without --platform" in caught.value.hint
    with pytest.raises(NotFound, match="linux/arm64"):
        copy.copy(engine, "store:here:1", f"oci:{tmp_path}/o", platform="linux/arm64")
    assert ask(registry.address, "GET", "/v2/n/tags/list")[0] == 404
    assert [engine.store.images.names(image.id) for image in engine.store.images.list(all=True)] == [
        ["here:1"]
    ]
    assert lookup.remove(engine, "here:1")
