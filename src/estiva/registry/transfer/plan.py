"""What a push or copy of the store's images sends: documents and blobs, decided before a byte goes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from estiva.errors import EstivaError, NotFound
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.platform import Platform
from estiva.registry import grammar
from estiva.store import platforms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.store import Store
    from estiva.store.images import Image

METHODS = {"gzip": "gzip", "zstd": "zstd", "none": "tar"}
OCI_LAYERS = {
    "": documents.OCI_LAYER,
    "gzip": documents.OCI_LAYER_GZIP,
    "zstd": documents.OCI_LAYER_ZSTD,
}
DOCKER_LAYERS = {
    "": documents.DOCKER_LAYER,
    "gzip": documents.DOCKER_LAYER_GZIP,
    "zstd": documents.DOCKER_LAYER_ZSTD,
}


@dataclass(frozen=True)
class Packing:
    """How layers are to be compressed: `method` "gzip", "zstd", "tar", or "" for as they came, else gzip."""

    method: str = ""
    level: int | None = None


AS_IT_CAME = Packing()


@dataclass(frozen=True)
class Plan:
    """A manifest's or index's bytes and type, and what must be there before it.

    `blobs` has the size of every blob by digest, `data` the bytes of those that are not in the store, and
    `members` the manifests of an index.
    """

    manifest: bytes
    media_type: str
    digest: str
    blobs: dict[str, int]
    data: dict[str, bytes] = field(default_factory=dict)
    members: tuple[Plan, ...] = ()
    image: str = ""
    annotations: dict[str, str] | None = None  # of the descriptor in a layout's index.json

    def descriptor(self, **extra: Any) -> dict[str, Any]:
        return documents.descriptor(self.media_type, self.digest, len(self.manifest), **extra)


def plan(store: Store, image: Image, packing: Packing = AS_IT_CAME) -> Plan:
    """One image: the manifest that came with it if that fits and all its blobs are here, else one made now,
    the same each time."""
    came = _as_it_came(store, image, packing)
    if came is not None:
        return came
    layers = []
    for diff_id in image.diff_ids:
        digest, size, media_type = store.layers.compressed(diff_id, packing.method or "gzip", packing.level)
        # the same bytes; a manifest is of one family
        media_type = OCI_LAYERS[documents.compression(media_type)]
        layers.append(documents.descriptor(media_type, digest, size))
    config = documents.descriptor(documents.OCI_CONFIG, image.id, len(image.config_bytes))
    body = documents.make_manifest(config, layers)
    blobs = {part["digest"]: part["size"] for part in [config, *layers]}
    data = {image.id: image.config_bytes}
    return Plan(body, documents.OCI_MANIFEST, digests.sha256(body), blobs, data, image=image.id)


def _as_it_came(store: Store, image: Image, packing: Packing) -> Plan | None:
    digest = image.manifest
    for member, member_image in platforms.members(store, digest) if digest else ():
        if member_image == image.id:
            digest = member
    if not digest or not store.content.has(digest) or packing.level is not None:
        return None
    body = store.content.read(digest)
    try:
        document = documents.parse_manifest(body)
    except EstivaError:
        return None  # an index without this image
    if document["config"]["digest"] != image.id:
        return None
    blobs = {part["digest"]: part["size"] for part in [document["config"], *document["layers"]]}
    if not all(each == image.id or store.content.has(each) for each in blobs):
        return None
    wanted = {"": None, "tar": ""}.get(packing.method, packing.method)
    if wanted is not None and any(
        documents.compression(layer["mediaType"]) != wanted for layer in document["layers"]
    ):
        return None
    kind = document.get("mediaType") or grammar.OCI_MANIFEST
    return Plan(body, kind, digest, blobs, {image.id: image.config_bytes}, image=image.id)


def plan_index(store: Store, digest: str, packing: Packing = AS_IT_CAME) -> Plan:
    """All images of an index that are here: the index as it came if that is all of them and they go as they
    came, else one over those. Raises NotFound when none is here."""
    index = platforms.index_of(store, digest) or {"manifests": []}
    described = {item["digest"]: item for item in index["manifests"]}
    members, descriptors = [], []
    changed: dict[str, str] = {}
    for manifest, image_id in platforms.members(store, digest):
        image = store.images.resolve(image_id)
        image.manifest = manifest
        member = plan(store, image, packing)
        platform = described[manifest].get("platform") or Platform.of(image.config).document()
        members.append(member)
        changed[manifest] = member.digest
        extra = {k: v for k, v in described[manifest].items() if k in ("annotations", "artifactType")}
        descriptors.append(member.descriptor(platform=platform, **extra))
    if not members:
        raise NotFound(f"none of the images of the index {digest} is here")
    for item in index["manifests"]:
        said = _attestation(store, item, changed)
        if said is not None:
            members.append(said)
            descriptors.append(item)
    body, kind = store.content.read(digest), index.get("mediaType") or documents.OCI_INDEX
    if {member.digest for member in members} != set(described):
        extra = {key: index[key] for key in ("annotations",) if key in index}
        body, kind = documents.make_index(descriptors, **extra), documents.OCI_INDEX
    return Plan(body, kind, digests.sha256(body), {}, members=tuple(members))


def _attestation(store: Store, item: dict[str, Any], changed: dict[str, str]) -> Plan | None:
    """What is said of an image of an index, if it is here, whole, and the image goes as it came."""
    if not documents.is_attestation(item) or not store.content.has(item["digest"]):
        return None
    of = item["annotations"].get("vnd.docker.reference.digest", "")
    if changed.get(of) != of:
        return None  # another digest now: it would be of nothing
    body = store.content.read(item["digest"])
    document = documents.parse_manifest(body, item["mediaType"], artifact=True)
    parts = {part["digest"]: part["size"] for part in [document["config"], *document["layers"]]}
    if not all(store.content.has(digest) for digest in parts):
        return None
    return Plan(body, item["mediaType"], item["digest"], parts)


def descriptors(store: Store, image: Image) -> dict[str, dict[str, Any]]:
    """The layers of an image as its manifest has them, by diffID; none where that is not here, whole."""
    came = _as_it_came(store, image, AS_IT_CAME)
    if came is None:
        return {}
    return dict(zip(image.diff_ids, documents.parse_manifest(came.manifest)["layers"], strict=False))


def built(
    store: Store,
    image: Image,
    packing: Packing,
    *,
    came: dict[str, dict[str, Any]] | None = None,
    docker: bool = False,
    annotations: dict[str, str] | None = None,
) -> Plan:
    """What a build's image is under a manifest made now: its layers packed as asked, gzip without a method.

    `came`: the descriptors of layers that go as they came, by diffID. `docker`: Docker's media types.
    """
    layers = []
    for diff_id in image.diff_ids:
        known = (came or {}).get(diff_id)
        if known is not None and store.content.has(known["digest"]):
            digest, size, kind = known["digest"], known["size"], known["mediaType"]
        else:
            digest, size, kind = store.layers.compressed(diff_id, packing.method or "gzip", packing.level)
        kinds = DOCKER_LAYERS if docker else OCI_LAYERS
        layers.append(documents.descriptor(kinds[documents.compression(kind)], digest, size))
    kind = documents.DOCKER_CONFIG if docker else documents.OCI_CONFIG
    config = documents.descriptor(kind, image.id, len(image.config_bytes))
    extra = {"annotations": annotations} if annotations else {}
    body = documents.make_manifest(config, layers, docker=docker, **extra)
    blobs = {part["digest"]: part["size"] for part in [config, *layers]}
    kind = documents.DOCKER_MANIFEST if docker else documents.OCI_MANIFEST
    return Plan(body, kind, digests.sha256(body), blobs, {image.id: image.config_bytes}, image=image.id)


def index_over(
    members: list[tuple[Plan, dict[str, Any]]],
    *,
    docker: bool = False,
    annotations: dict[str, str] | None = None,
) -> Plan:
    """An index over planned manifests, each with what its descriptor has beside: platform, annotations."""
    extra = {"annotations": annotations} if annotations else {}
    descriptors = [plan.descriptor(**beside) for plan, beside in members]
    body = documents.make_index(descriptors, docker=docker, **extra)
    kind = documents.DOCKER_LIST if docker else documents.OCI_INDEX
    return Plan(body, kind, digests.sha256(body), {}, members=tuple(plan for plan, _ in members))
