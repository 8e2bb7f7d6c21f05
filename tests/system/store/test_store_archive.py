"""Archives against the peers that read and write them: skopeo and podman's library, and Estiva itself."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile

import pytest

from estiva.builder.steps.changes import apply_changes
from estiva.errors import IntegrityError, LayerError, NotFound
from estiva.oci import config as configs
from estiva.oci import image as documents
from estiva.oci.digest import sha256
from estiva.paths import Paths
from estiva.store import Store
from estiva.store.archive import load, save
from estiva.store.upkeep import fsck, image_removal

skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")


def layer_tar(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in sorted(files.items()):
            member = tarfile.TarInfo(f"etc/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture
def new_store(tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "dir")
    made = []

    def make(name):
        store = Store(Paths(f"{tmp_path}/{name}/root", f"{tmp_path}/{name}/run"))
        made.append(store)
        return store

    yield make
    for store in made:
        store.layers.unmount_all()
        store.close()


def add_image(store, name, *layers):
    document = configs.new("amd64")
    document["config"] = {"Env": ["A=b"], "Cmd": ["sh"]}
    for data in layers:
        path = store.paths.ingest + "/input"
        with open(path, "wb") as file:
            file.write(data)
        document = configs.derive(document, store.layers.apply_tar(path).diff_id, created=1.0)
        os.unlink(path)
    image = store.images.add(documents.encode(document))
    if name:
        store.images.tag(image.id, name)
    return image


@pytest.fixture
def saved(new_store, tmp_path):
    """(store, image, path of an archive with two images that share a layer)."""
    store = new_store("from")
    base = layer_tar(base="1")
    image = add_image(store, "app:1", base, layer_tar(app="2" * 5000))
    store.images.tag(image.id, "localhost:5000/app:x")
    add_image(store, "other", base)
    path = str(tmp_path / "saved.tar")
    with open(path, "wb") as out:
        save.save(store, ["app:1", "localhost:5000/app:x", "other"], out)
    return store, image, path


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def content(store, image):
    return [store.layers.tar(d).read() for d in image.diff_ids]


def check_loaded(store, image, source):
    loaded = store.images.resolve(image.id)
    assert content(store, loaded) == content(source, image)
    assert fsck.check(store, deep=True) == []


def test_save_is_deterministic_and_holds_each_blob_once(saved):
    store, image, path = saved
    again = io.BytesIO()
    save.save(store, ["app:1", "localhost:5000/app:x", "other"], again)
    with open(path, "rb") as file:
        assert file.read() == again.getvalue()
    with tarfile.open(path) as tar:
        names = tar.getnames()
        assert len(names) == len(set(names))
        listed = json.load(tar.extractfile("manifest.json"))
    assert [entry["RepoTags"] for entry in listed] == [
        ["app:1", "localhost:5000/app:x"],
        ["other:latest"],
    ]


def test_a_repository_without_tag_means_all_its_tags(new_store):
    store = new_store("from")
    image = add_image(store, "app:1", layer_tar(a="1"))
    store.images.tag(image.id, "app:2")
    out = io.BytesIO()
    save.save(store, ["app"], out)
    out.seek(0)
    assert load.load(new_store("to"), out) == ["app:1", "app:2"]
    with pytest.raises(NotFound):
        save.save(store, ["nothing"], io.BytesIO())


@pytest.mark.parametrize("packed", ["file", "pipe", "gzip", "zstd", "bzip2", "xz", "file of xz"])
def test_load_what_was_saved(saved, new_store, packed, tmp_path):
    source, image, path = saved
    store = new_store("to")
    if packed == "file":
        with open(path, "rb") as stream:
            names = load.load(store, stream)
    elif packed == "pipe":
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
            names = load.load(store, cat.stdout)
    elif packed == "gzip":
        with open(path, "rb") as file:
            names = load.load(store, io.BytesIO(gzip.compress(file.read())))
    elif packed in ("bzip2", "xz"):
        compress = {"bzip2": bz2.compress, "xz": lzma.compress}[packed]
        with open(path, "rb") as file:
            names = load.load(store, io.BytesIO(compress(file.read())))
    elif packed == "file of xz":
        (tmp_path / "packed").write_bytes(lzma.compress(open(path, "rb").read()))
        with open(tmp_path / "packed", "rb") as file:
            names = load.load(store, file)
    else:
        import zstandard

        with open(path, "rb") as file:
            names = load.load(store, io.BytesIO(zstandard.compress(file.read())))
    assert names == ["app:1", "localhost:5000/app:x", "other:latest"]
    assert store.images.names(image.id) == ["app:1", "localhost:5000/app:x"]
    check_loaded(store, image, source)
    assert os.listdir(store.paths.ingest) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (bz2.compress(bytes(1 << 20))[:-9], "bzip2 stream is truncated"),
        (lzma.compress(bytes(1 << 20))[:-9], "xz stream is truncated"),
        (lzma.compress(bytes(1 << 20))[:20] + bytes(99), "xz stream is damaged"),
    ],
    ids=range(3),
)
def test_damage_in_what_is_compressed(new_store, data, told):
    store = new_store("to")
    with pytest.raises(LayerError, match=told):
        load.load(store, io.BytesIO(data))
    assert os.listdir(store.paths.ingest) == []


def test_an_id_is_saved_without_names(saved, new_store):
    source, image, _ = saved
    out = io.BytesIO()
    save.save(source, [image.id[7:19]], out)
    out.seek(0)
    store = new_store("to")
    assert load.load(store, out) == [image.id]
    check_loaded(store, image, source)


def test_a_damaged_layer_is_not_saved(saved):
    store, image, _ = saved
    path = store.content.path(image.diff_ids[0])
    with open(path, "r+b") as file:
        file.seek(600)
        file.write(b"evil")
    with pytest.raises(IntegrityError, match="damaged"):
        save.save(store, ["app:1"], io.BytesIO())


@skopeo
def test_skopeo_reads_what_is_saved(saved, tmp_path):
    _, image, path = saved
    for source in (f"docker-archive:{path}:docker.io/library/app:1", f"oci-archive:{path}:1"):
        seen = json.loads(run("skopeo", "inspect", source))
        assert seen["Layers"] == image.diff_ids
        assert seen["Env"] == ["A=b"]
        target = tmp_path / source.partition(":")[0]
        run("skopeo", "copy", "--insecure-policy", source, f"dir:{target}")
        manifest = json.loads((target / "manifest.json").read_text())
        assert manifest["config"]["digest"] == image.id


@skopeo
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_load_what_skopeo_writes(saved, new_store, tmp_path, form):
    source, image, path = saved
    out = tmp_path / "skopeo.tar"
    run(
        "skopeo", "copy", "--insecure-policy",
        f"docker-archive:{path}:docker.io/library/app:1", f"{form}:{out}:example.org/app:2",
    )  # fmt: skip
    store = new_store("to")
    with open(out, "rb") as stream:
        names = load.load(store, stream)
    assert names == ["example.org/app:2"]
    loaded = store.images.resolve("example.org/app:2")
    assert loaded.diff_ids == image.diff_ids
    assert content(store, loaded) == content(source, image)
    assert fsck.check(store, deep=True) == []


def old_archive(image_layers, *, compressed=False):
    """As docker before 25 wrote it: HEX.json, HEX/layer.tar, a repeated layer as a symlink."""
    out = io.BytesIO()
    diff_ids = [sha256(data) for data in image_layers]
    config = documents.encode(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    )
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        def link(name, target):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)

        places = []
        for number, data in enumerate(image_layers):
            place = f"{number:064x}/layer.tar"
            if data in image_layers[:number]:
                link(place, f"../{image_layers.index(data):064x}/layer.tar")
            else:
                add(place, gzip.compress(data) if compressed else data)
            places.append(place)
        add(sha256(config)[7:] + ".json", config)
        entry = {"Config": sha256(config)[7:] + ".json", "RepoTags": ["old:1"], "Layers": places}
        add("manifest.json", json.dumps([entry]).encode())
        add("repositories", b"{}")
    out.seek(0)
    return out, sha256(config)


@pytest.mark.parametrize("compressed", [False, True])
def test_load_an_old_docker_archive(new_store, compressed):
    layers = [layer_tar(a="1"), layer_tar(b="2"), layer_tar(a="1")]
    stream, image_id = old_archive(layers, compressed=compressed)
    store = new_store("to")
    assert load.load(store, stream) == ["old:1"]
    assert store.images.resolve("old:1").id == image_id
    assert content(store, store.images.resolve("old:1")) == layers
    assert fsck.check(store, deep=True) == []


@pytest.mark.parametrize("driver", ["dir", "erofs"])
def test_layers_that_came_compressed_are_saved_as_tars(new_store, monkeypatch, driver):
    if driver == "erofs" and not shutil.which("mkfs.erofs"):
        pytest.skip("mkfs.erofs is not installed")
    store, other = new_store("to"), new_store("other")
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", driver)
    layers = [layer_tar(a="1" * 40_000), layer_tar(b="2")]
    load.load(store, old_archive(layers, compressed=True)[0])
    out = io.BytesIO()
    save.save(store, ["old:1"], out)
    out.seek(0)
    assert load.load(other, out) == ["old:1"]
    assert content(other, other.images.resolve("old:1")) == layers
    assert fsck.check(other, deep=True) == []


def test_load_selects_the_platform_of_an_index(new_store):
    store = new_store("to")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        def blob(data):
            add(f"blobs/sha256/{sha256(data)[7:]}", data)
            return sha256(data), len(data)

        manifests = []
        for architecture in ("s390x", "amd64"):
            data = layer_tar(arch=architecture)
            packed = gzip.compress(data)
            document = {
                **configs.new(architecture),
                "rootfs": {"type": "layers", "diff_ids": [sha256(data)]},
            }
            manifest = documents.make_manifest(
                documents.descriptor(documents.OCI_CONFIG, *blob(documents.encode(document))),
                [documents.descriptor(documents.OCI_LAYER_GZIP, *blob(packed))],
            )
            platform = {"os": "linux", "architecture": architecture}
            manifests.append(documents.descriptor(documents.OCI_MANIFEST, *blob(manifest), platform=platform))
        inner = documents.make_index(manifests)
        name = {"io.containerd.image.name": "docker.io/library/multi:1"}
        outer = documents.make_index(
            [documents.descriptor(documents.OCI_INDEX, *blob(inner), annotations=name)]
        )
        add("index.json", outer)
        add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    out.seek(0)
    from estiva.oci.platform import Platform

    assert load.load(store, out, platform=Platform.parse("linux/amd64")) == ["multi:1"]
    image = store.images.resolve("multi:1")
    assert image.config["architecture"] == "amd64"
    assert documents.parse_manifest(store.content.read(image.manifest))["config"]["digest"] == image.id


def test_import_a_root_filesystem(new_store):
    store = new_store("to")
    data = layer_tar(hostname="x")
    image = save.import_tar(
        store,
        io.BytesIO(gzip.compress(data)),
        "from a test",
        change=lambda config: apply_changes(config, ['CMD ["sh"]', "ENV A=b"]),
    )
    assert image.diff_ids == [sha256(data)]
    assert image.config["config"] == {"Cmd": ["sh"], "Env": ["A=b"]}
    assert image.config["history"][0]["comment"] == "from a test"
    assert content(store, image) == [data]
    assert fsck.check(store, deep=True) == []
    assert image_removal.delete(store, image.id) == [f"Deleted: {image.id}", f"Deleted: {sha256(data)}"]
    assert store.db.read("SELECT * FROM blobs") == []
    assert os.listdir(store.paths.layers) == []
