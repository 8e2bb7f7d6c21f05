"""K9, K10, K13, K19: a loaded archive is hostile.

Nothing outside the store changes and nothing half-true stays.
"""

import io
import json
import os
import tarfile

import pytest

from estiva.errors import EstivaError, IntegrityError, InvalidInput, LayerError, Unsupported
from estiva.oci import image as documents
from estiva.oci.digest import sha256
from estiva.paths import Paths
from estiva.store import Store
from estiva.store.archive import load as loading
from estiva.store.upkeep import fsck


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "dir")
    store = Store(Paths(f"{tmp_path}/root", f"{tmp_path}/run"))
    yield store
    store.layers.unmount_all()
    store.close()


def layer(name="etc/file", data=b"x"):
    return build({name: data})


def build(members, links=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items() if isinstance(members, dict) else members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, kind, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    return out.getvalue()


def config(*diff_ids):
    return documents.encode(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}
    )


def docker(entry, **members):
    return {"manifest.json": json.dumps([entry]).encode(), **members}


def load(store, data):
    return loading.load(store, io.BytesIO(data))


def refused(store, data, kind=EstivaError, match=None):
    before = set(os.listdir(os.path.dirname(store.paths.root)))
    with pytest.raises(kind, match=match):
        load(store, data)
    assert store.images.list(all=True) == []
    assert store.db.read("SELECT * FROM names") == []
    assert set(os.listdir(os.path.dirname(store.paths.root))) == before
    assert [f for f in fsck.check(store, deep=True) if "ingest/" not in f] == []


@pytest.mark.parametrize("data", [b"", b"x" * 5000, b"\x1f\x8b\x08garbage", b"\0" * 10240])
def test_what_is_no_archive(store, data):
    refused(store, data)


def test_members_never_become_paths(store, tmp_path):
    good = layer()
    for name in ("../../evil", "/etc/estiva-evil", "a/../../evil", "x" * 300):
        entry = {"Config": "c.json", "Layers": ["l"], "RepoTags": []}
        data = build(docker(entry, **{"c.json": config(sha256(good)), "l": good, name: b"evil"}))
        try:
            load(store, data)
        except LayerError:
            pass
    for directory, _, names in os.walk(tmp_path):
        assert not [name for name in names if "evil" in name], directory
    assert not os.path.exists("/etc/estiva-evil")


@pytest.mark.parametrize("wanted", ["/etc/passwd", "../../../../etc/passwd", "no/such", "", "."])
def test_config_and_layers_come_from_the_archive_only(store, wanted):
    good = layer()
    refused(
        store, build(docker({"Config": wanted, "Layers": [], "RepoTags": []})), (InvalidInput, LayerError)
    )
    entry = {"Config": "c.json", "Layers": [wanted], "RepoTags": []}
    refused(store, build(docker(entry, **{"c.json": config(sha256(good))})), (InvalidInput, LayerError))


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../../../../etc/passwd"),
        (tarfile.SYMTYPE, "l"),
        (tarfile.SYMTYPE, "other"),
        (tarfile.LNKTYPE, "l"),
        (tarfile.LNKTYPE, "other"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_are_followed_inside_the_archive_only(store, kind, target):
    entry = {"Config": "c.json", "Layers": ["l"], "RepoTags": []}
    members = docker(entry, **{"c.json": config(sha256(b"x"))})
    refused(store, build(members, [("l", kind, target), ("other", tarfile.SYMTYPE, "l")]))


def test_a_layer_must_have_its_diff_id(store):
    entry = {"Config": "c.json", "Layers": ["l"], "RepoTags": ["app:1"]}
    refused(store, build(docker(entry, **{"c.json": config(sha256(b"x")), "l": layer()})), IntegrityError)


def test_a_hostile_layer_is_refused(store):
    evil = layer("../../../evil")
    entry = {"Config": "c.json", "Layers": ["l"], "RepoTags": ["app:1"]}
    refused(store, build(docker(entry, **{"c.json": config(sha256(evil)), "l": evil})), LayerError)


def test_layers_and_diff_ids_must_agree_in_number(store):
    good = layer()
    entry = {"Config": "c.json", "Layers": ["l", "l"], "RepoTags": []}
    refused(store, build(docker(entry, **{"c.json": config(sha256(good)), "l": good})), IntegrityError)


def test_a_config_named_by_its_digest_must_have_it(store):
    name = "0" * 64 + ".json"
    entry = {"Config": name, "Layers": [], "RepoTags": []}
    refused(store, build(docker(entry, **{name: config()})), IntegrityError, "another digest")


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"[1]",
        b'[{"Config":1}]',
        b'[{"Config":"c.json","Layers":"l"}]',
        b'[{"Config":"c.json","RepoTags":[1]}]',
        b'[{"Config":"c.json","Config":"d.json"}]',
        b"[" * 100_000,
        b" " * (5 << 20),
        json.dumps([{"Config": "c.json", "RepoTags": ["UPPER/../x"]}]).encode(),
        json.dumps([{}] * 1001).encode(),
    ],
)
def test_a_malformed_manifest_json(store, text):
    refused(store, build({"manifest.json": text, "c.json": config()}), InvalidInput)


def test_a_member_given_twice_is_refused(store):
    entry = {"Config": "c.json", "Layers": [], "RepoTags": []}
    members = [*docker(entry).items(), ("c.json", config()), ("c.json", b"{}")]
    refused(store, build(members), LayerError, "twice")


def test_an_archive_of_too_many_members_is_refused(store, monkeypatch):
    monkeypatch.setattr(loading, "MEMBERS_LIMIT", 10)
    refused(store, build({f"f{n}": b"" for n in range(11)}), LayerError, "more than 10")


def test_the_archive_before_docker_1_10(store):
    refused(store, build({"repositories": b"{}"}), Unsupported)


# ---- OCI


def oci(manifest, *blobs, media_type=documents.OCI_MANIFEST, **changes):
    descriptor = {"mediaType": media_type, "digest": sha256(manifest), "size": len(manifest), **changes}
    members = {"index.json": documents.make_index([descriptor]), "oci-layout": b"{}"}
    for blob in (manifest, *blobs):
        members[f"blobs/sha256/{sha256(blob)[7:]}"] = blob
    return members


def oci_image(**layer_changes):
    good = layer()
    text = config(sha256(good))
    descriptor = documents.descriptor(documents.OCI_LAYER, sha256(good), len(good)) | layer_changes
    manifest = documents.make_manifest(
        documents.descriptor(documents.OCI_CONFIG, sha256(text), len(text)), [descriptor]
    )
    return manifest, text, good


def test_a_sound_oci_archive_loads(store):
    manifest, text, good = oci_image()
    assert load(store, build(oci(manifest, text, good))) == [sha256(text)]


def test_blobs_must_have_their_digest_and_size(store):
    manifest, text, good = oci_image()
    members = oci(manifest, text, good)
    for blob in (manifest, text, good):
        place = f"blobs/sha256/{sha256(blob)[7:]}"
        evil = blob[:-1] + bytes([blob[-1] ^ 1])
        refused(store, build(members | {place: evil}))
        refused(store, build(members | {place: blob + b"\0" * 512}))
        refused(store, build({name: data for name, data in members.items() if name != place}))


def test_both_manifest_and_index(store):
    _, text, _ = oci_image()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": documents.descriptor(documents.OCI_CONFIG, sha256(text), len(text)),
            "layers": [],
            "manifests": [],
        }
    ).encode()
    for media_type in (documents.OCI_MANIFEST, documents.OCI_INDEX):
        refused(store, build(oci(manifest, text, media_type=media_type)), IntegrityError)


def test_foreign_layers_and_indexes_in_indexes(store):
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    manifest, text, good = oci_image(mediaType=kind, urls=["http://127.0.0.1:1/"])
    refused(store, build(oci(manifest, text, good)), Unsupported)
    inner = documents.make_index([])
    blobs = [inner]
    for _ in range(6):
        blobs.append(
            documents.make_index(
                [documents.descriptor(documents.OCI_INDEX, sha256(blobs[-1]), len(blobs[-1]))]
            )
        )
    refused(store, build(oci(blobs[-1], *blobs[:-1], media_type=documents.OCI_INDEX)))


@pytest.mark.parametrize("name", ["../../evil:1", "UP/x:1", "a:\x1b[31m"])
def test_names_in_annotations_are_checked(store, name):
    manifest, text, good = oci_image()
    members = oci(manifest, text, good, annotations={"io.containerd.image.name": name})
    with pytest.raises(InvalidInput):
        load(store, build(members))
    assert store.db.read("SELECT * FROM names") == []
