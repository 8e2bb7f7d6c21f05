"""Image documents: index, manifest and config of OCI image-spec v1 and of Docker's schema 2, read strictly.

A document counts only after its digest was proven; then K10 applies: one reading only (no key twice, not
manifest and index at once, the media type inside equals the one outside), canonical digests, sizes that are
sizes, bounded length, depth and counts. `urls` of a descriptor is dropped: nothing is ever fetched from where
a document points.
"""

from __future__ import annotations

from estiva import fastjson
from estiva.errors import IntegrityError, InvalidInput, Unsupported
from estiva.oci import digest as digests
from estiva.oci.config import check as check_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


DOCUMENT_LIMIT = 4 << 20
DEPTH_LIMIT = 32
LAYERS_LIMIT = 1000
MANIFESTS_LIMIT = 1000
SIZE_LIMIT = 1 << 50

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIG_TYPES = (OCI_CONFIG, DOCKER_CONFIG)
COMPRESSION = {
    OCI_LAYER: "",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
}


def compression(media_type: str) -> str:
    """How a layer's media type says it is compressed: "", "gzip" or "zstd". Raises Unsupported for others."""
    try:
        return COMPRESSION[media_type]
    except KeyError:
        if "foreign" in media_type or "nondistributable" in media_type:
            raise Unsupported(
                f"a layer is of the foreign type {media_type[:200]}, which is not fetched"
            ) from None
        raise Unsupported(f"a layer is of the unknown type {media_type[:200]!r}") from None


def is_attestation(descriptor: dict[str, Any]) -> bool:
    """Whether an index's descriptor is of what BuildKit says about an image, which is none itself."""
    return "vnd.docker.reference.type" in (descriptor.get("annotations") or {})


def is_index(document: dict[str, Any]) -> bool:
    """True if a parsed document is an index (manifest list)."""
    return "manifests" in document


def encode(document: Any) -> bytes:
    """The canonical bytes of a document that this program makes: sorted keys, no spaces, UTF-8."""
    return fastjson.dumps(document, sort_keys=True).encode()


def parse_document(data: bytes, media_type: str = "", *, artifact: bool = False) -> dict[str, Any]:
    """Parse a manifest or an index: whichever `media_type` (a Content-Type) or else the document says."""
    kind = media_type.partition(";")[0].strip()
    if kind in INDEX_TYPES:
        return parse_index(data, kind)
    if kind in MANIFEST_TYPES:
        return parse_manifest(data, kind, artifact=artifact)
    document = _document(data, "the manifest")
    return _index(document, "") if is_index(document) else _manifest(document, "", artifact)


def parse_manifest(data: bytes, media_type: str = "", *, artifact: bool = False) -> dict[str, Any]:
    """Parse one image's manifest; `artifact` allows config and layers of any type.

    Raises InvalidInput for a malformed document, IntegrityError for one that is not what `media_type` says.
    """
    return _manifest(_document(data, "the manifest"), media_type, artifact)


def parse_index(data: bytes, media_type: str = "") -> dict[str, Any]:
    """Parse an index (manifest list). Raises as `parse_manifest`."""
    return _index(_document(data, "the index"), media_type)


def parse_config(data: bytes) -> dict[str, Any]:
    """Parse an image config; every field that the engine will use has its type checked.

    Raises InvalidInput.
    """
    document = _document(data, "the image config")
    check_config(document)
    return document


def check_layers(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    """A manifest must list one layer per diffID of its config. Raises IntegrityError."""
    layers, diff_ids = len(manifest["layers"]), len(config["rootfs"]["diff_ids"])
    if layers != diff_ids:
        raise IntegrityError(f"the manifest lists {layers} layers, its config {diff_ids}")


def descriptor(media_type: str, digest: str, size: int, **extra: Any) -> dict[str, Any]:
    """A descriptor; `extra` may hold annotations, platform, artifactType."""
    return {"mediaType": media_type, "digest": digest, "size": size, **extra}


def make_manifest(
    config: dict[str, Any], layers: list[dict[str, Any]], *, docker: bool = False, **extra: Any
) -> bytes:
    """The bytes of a manifest over descriptors."""
    kind = DOCKER_MANIFEST if docker else OCI_MANIFEST
    return encode({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers, **extra})


def make_index(manifests: list[dict[str, Any]], *, docker: bool = False, **extra: Any) -> bytes:
    """The bytes of an index over descriptors."""
    kind = DOCKER_LIST if docker else OCI_INDEX
    return encode({"schemaVersion": 2, "mediaType": kind, "manifests": manifests, **extra})


def _document(data: bytes, what: str) -> dict[str, Any]:
    if len(data) > DOCUMENT_LIMIT:
        raise InvalidInput(f"{what} is larger than {DOCUMENT_LIMIT} bytes")
    document = fastjson.loads(data, what=what, strict=True)
    if not isinstance(document, dict):
        raise InvalidInput(f"{what} is not a json object")
    _check_depth(document, what)
    if b"\\ud" in data or b"\\uD" in data:
        try:
            fastjson.dumps(document).encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{what} holds half a surrogate pair") from None
    return document


def _check_depth(document: Any, what: str) -> None:
    level: list[Any] = [document]
    for _ in range(DEPTH_LIMIT):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = [value for value in below if isinstance(value, (dict, list))]
        if not level:
            return
    raise InvalidInput(f"{what} is nested deeper than {DEPTH_LIMIT} levels")


def _check_kind(document: dict[str, Any], media_type: str, known: tuple[str, ...], what: str) -> None:
    version = document.get("schemaVersion")
    if version == 1 and version is not True:
        raise Unsupported(
            f"{what} is of the obsolete schema 1", hint="push the image again with a current tool"
        )
    if version != 2 or isinstance(version, (bool, float)):
        raise InvalidInput(f"{what} has no schemaVersion 2")
    inside = document.get("mediaType", "")
    if not isinstance(inside, str) or (inside and inside not in known):
        raise IntegrityError(f"{what} says it is of the type {str(inside)[:200]!r}")
    if media_type and media_type not in known:
        raise IntegrityError(f"{what} came as the type {media_type[:200]!r}")
    if inside and media_type and inside != media_type:
        raise IntegrityError(f"{what} came as {media_type}, but says it is {inside}")


def _manifest(document: dict[str, Any], media_type: str, artifact: bool) -> dict[str, Any]:
    what = "the manifest"
    _check_kind(document, media_type, MANIFEST_TYPES, what)
    if "manifests" in document or "fsLayers" in document:
        raise IntegrityError(f"{what} is two kinds of document at once")
    config = _descriptor(document.get("config"), f"{what}'s config")
    if not artifact and config["mediaType"] not in CONFIG_TYPES:
        raise Unsupported(
            f"this is no image but an artifact, with a config of type {config['mediaType'][:200]!r}"
        )
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise InvalidInput(f"{what} has no list of layers")
    if len(layers) > LAYERS_LIMIT:
        raise InvalidInput(f"{what} lists more than {LAYERS_LIMIT} layers")
    document["config"] = config
    document["layers"] = [_descriptor(layer, f"{what}'s layer {n}") for n, layer in enumerate(layers)]
    _annotations(document, what)
    return document


def _index(document: dict[str, Any], media_type: str) -> dict[str, Any]:
    what = "the index"
    _check_kind(document, media_type, INDEX_TYPES, what)
    if any(key in document for key in ("config", "layers", "fsLayers")):
        raise IntegrityError(f"{what} is two kinds of document at once")
    manifests = document.get("manifests")
    if not isinstance(manifests, list):
        raise InvalidInput(f"{what} has no list of manifests")
    if len(manifests) > MANIFESTS_LIMIT:
        raise InvalidInput(f"{what} lists more than {MANIFESTS_LIMIT} manifests")
    document["manifests"] = [_descriptor(item, f"{what}'s manifest {n}") for n, item in enumerate(manifests)]
    _annotations(document, what)
    return document


def _descriptor(value: Any, what: str) -> dict[str, Any]:
    """A checked copy of a descriptor, without `urls` and `data`."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} is not a descriptor")
    digest, size, kind = value.get("digest"), value.get("size"), value.get("mediaType")
    if not isinstance(digest, str):
        raise InvalidInput(f"{what} has no digest")
    digests.parse(digest)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_LIMIT:
        raise InvalidInput(f"{what} has the size {str(size)[:40]!r}")
    if not isinstance(kind, str) or not kind:
        raise InvalidInput(f"{what} has no media type")
    platform = value.get("platform")
    if platform is not None:
        if not isinstance(platform, dict):
            raise InvalidInput(f"{what} has a platform that is not an object")
        for key in ("os", "architecture", "variant", "os.version"):
            if not isinstance(platform.get(key, ""), str):
                raise InvalidInput(f"{what} has a platform whose {key} is not text")
    _annotations(value, what)
    return {key: item for key, item in value.items() if key not in ("urls", "data")}


def _annotations(value: dict[str, Any], what: str) -> None:
    annotations = value.get("annotations")
    if annotations is None:
        return
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise InvalidInput(f"{what} has annotations that are not text")


MEDIA_TYPES = {
    "tar": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


def instruction(created_by: str) -> str:
    """The instruction that made a layer, by its history, without what builders put around it."""
    text = created_by.removesuffix("# buildkit").replace("#(nop) ", "").strip()
    if text.startswith("/bin/sh -c "):
        text = text.removeprefix("/bin/sh -c ").strip()
        return text if text.partition(" ")[0] in ("ADD", "COPY", "WORKDIR") else f"RUN {text}"
    return text.replace("RUN /bin/sh -c ", "RUN ", 1)
