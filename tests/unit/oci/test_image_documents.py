import json

import pytest

from estiva.errors import EstivaError, IntegrityError, InvalidInput, NotFound, Unsupported
from estiva.oci import image
from estiva.oci.platform import Platform, select

D1, D2 = "sha256:" + "11" * 32, "sha256:" + "22" * 32


def manifest(**changes):
    document = {
        "schemaVersion": 2,
        "mediaType": image.OCI_MANIFEST,
        "config": {"mediaType": image.OCI_CONFIG, "digest": D1, "size": 3},
        "layers": [{"mediaType": image.OCI_LAYER_GZIP, "digest": D2, "size": 5}],
        **changes,
    }
    return json.dumps({k: v for k, v in document.items() if v is not None}).encode()


def index(*manifests, **changes):
    return json.dumps({"schemaVersion": 2, "manifests": list(manifests), **changes}).encode()


def entry(os, architecture, variant=None, digest=D1):
    platform = {"os": os, "architecture": architecture, **({"variant": variant} if variant else {})}
    return {"mediaType": image.OCI_MANIFEST, "digest": digest, "size": 1, "platform": platform}


def test_reads_a_manifest():
    document = image.parse_manifest(manifest(), image.OCI_MANIFEST)
    assert document["layers"][0]["digest"] == D2
    assert image.parse_manifest(manifest(mediaType=None))["config"]["size"] == 3
    assert image.parse_document(manifest(), "application/json; charset=utf-8")["layers"]


def test_urls_and_data_are_dropped():
    layers = [
        {"mediaType": image.OCI_LAYER, "digest": D2, "size": 5, "urls": ["http://evil/"], "data": "AAAA"}
    ]
    found = image.parse_manifest(manifest(layers=layers))["layers"][0]
    assert set(found) == {"mediaType", "digest", "size"}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", InvalidInput),
        (b"[]", InvalidInput),
        (b"{} x", InvalidInput),
        (b'{"schemaVersion":2,"schemaVersion":2}', InvalidInput),
        (b"\xff", InvalidInput),
        (b'{"a":NaN}', InvalidInput),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", InvalidInput),
        (b'{"a":' + b"[" * 200000 + b"]" * 200000 + b"}", InvalidInput),
        (b" " * (image.DOCUMENT_LIMIT + 1), InvalidInput),
        (manifest(schemaVersion=1), Unsupported),
        (manifest(schemaVersion=True), InvalidInput),
        (manifest(schemaVersion=2.0), InvalidInput),
        (manifest(manifests=[]), IntegrityError),
        (manifest(fsLayers=[]), IntegrityError),
        (manifest(mediaType=image.OCI_INDEX), IntegrityError),
        (manifest(mediaType=5), IntegrityError),
        (manifest(config=None), InvalidInput),
        (manifest(config={"mediaType": image.OCI_EMPTY, "digest": D1, "size": 2}), Unsupported),
        (manifest(layers={}), InvalidInput),
        (manifest(layers=[{"mediaType": image.OCI_LAYER, "digest": D2.upper(), "size": 5}]), InvalidInput),
        (manifest(layers=[{"mediaType": image.OCI_LAYER, "digest": D2, "size": -1}]), InvalidInput),
        (manifest(layers=[{"mediaType": image.OCI_LAYER, "digest": D2, "size": True}]), InvalidInput),
        (manifest(layers=[{"mediaType": image.OCI_LAYER, "digest": D2, "size": 1e3}]), InvalidInput),
        (manifest(layers=[{"mediaType": image.OCI_LAYER, "digest": D2}]), InvalidInput),
        (manifest(layers=[{"digest": D2, "size": 5}]), InvalidInput),
        (
            manifest(layers=[{"mediaType": image.OCI_LAYER, "digest": D2, "size": 1}] * 1001),
            InvalidInput,
        ),
        (manifest(annotations={"a": 1}), InvalidInput),
        (manifest(annotations={"a": "\ud800"}), InvalidInput),
    ],
)
def test_refuses_a_manifest(data, kind):
    with pytest.raises(kind):
        image.parse_manifest(data)


def test_media_type_outside_must_equal_the_one_inside():
    with pytest.raises(IntegrityError):
        image.parse_manifest(manifest(), image.DOCKER_MANIFEST)
    with pytest.raises(IntegrityError):
        image.parse_document(manifest(), image.OCI_INDEX)
    with pytest.raises(IntegrityError):
        image.parse_document(index(layers=[]))
    with pytest.raises(IntegrityError):
        image.parse_index(index(config={}))


def test_artifacts_only_on_request():
    data = manifest(config={"mediaType": image.OCI_EMPTY, "digest": D1, "size": 2})
    assert image.parse_manifest(data, artifact=True)["config"]["mediaType"] == image.OCI_EMPTY


def test_compression_of_layers():
    assert image.compression(image.OCI_LAYER_ZSTD) == "zstd"
    assert image.compression(image.DOCKER_LAYER_GZIP) == "gzip"
    assert image.compression(image.OCI_LAYER) == ""
    for kind in ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "text/plain"):
        with pytest.raises(Unsupported):
            image.compression(kind)


def test_what_is_made_reads_back():
    config = image.descriptor(image.OCI_CONFIG, D1, 3)
    data = image.make_manifest(config, [image.descriptor(image.OCI_LAYER, D2, 4)])
    assert image.parse_manifest(data, image.OCI_MANIFEST)["layers"][0]["size"] == 4
    assert data == image.encode(json.loads(data))
    listed = image.make_index([entry("linux", "amd64")], docker=True)
    assert image.parse_index(listed, image.DOCKER_LIST)["manifests"]


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [
        ("linux/amd64", "amd64"),
        ("linux/x86_64", "amd64"),
        ("amd64", "amd64"),
        ("linux/arm64", "arm64"),
        ("linux/arm64/v8", "arm64"),
        ("linux/aarch64", "arm64"),
        ("linux/arm/v7", "arm7"),
        ("linux/arm", "arm7"),
        ("linux/armhf", "arm7"),
        ("linux/arm/v6", "arm6"),
        ("linux/arm/v8", "arm7"),
        ("linux/386", "386"),
    ],
)
def test_selects_by_platform(machine, wanted):
    digests = {
        name: "sha256:" + f"{n:02x}" * 32 for n, name in enumerate(["arm6", "arm7", "arm64", "386", "amd64"])
    }
    document = image.parse_index(
        index(
            entry("unknown", "unknown", digest=D1),
            entry("linux", "arm", "v6", digests["arm6"]),
            entry("linux", "arm", "v7", digests["arm7"]),
            entry("linux", "arm64", "v8", digests["arm64"]),
            entry("linux", "386", None, digests["386"]),
            entry("linux", "amd64", None, digests["amd64"]),
            entry("linux", "amd64", None, D2),
        )
    )
    assert select(document, Platform.parse(machine))["digest"] == digests[wanted]


def test_no_platform_fits():
    document = image.parse_index(index(entry("linux", "arm64"), entry("windows", "amd64")))
    with pytest.raises(NotFound) as caught:
        select(document, Platform.parse("linux/amd64"))
    assert "linux/arm64" in caught.value.hint
    alone = {"mediaType": image.OCI_MANIFEST, "digest": D2, "size": 1}
    assert select(image.parse_index(index(alone)), Platform.host())["digest"] == D2
    with pytest.raises(NotFound):
        select(image.parse_index(index(alone, alone)), Platform.host())


def test_platform_text():
    assert str(Platform.parse("Linux/X86_64")) == "linux/amd64"
    assert str(Platform.parse("linux/arm64")) == "linux/arm64/v8"
    assert Platform.parse("linux/amd64/v3").accepts(Platform.parse("linux/amd64"))
    assert not Platform.parse("linux/amd64").accepts(Platform.parse("linux/amd64/v3"))
    for text in ("", "a/b/c/d", "linux/", "linux/am d64", "x" * 200, "linux/../etc"):
        with pytest.raises(EstivaError):
            Platform.parse(text)
