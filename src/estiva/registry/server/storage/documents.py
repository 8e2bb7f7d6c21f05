"""What a registry has to know of a manifest before it accepts it: type, what it refers to, subject."""

from __future__ import annotations

from dataclasses import dataclass, field

from estiva import fastjson
from estiva.errors import IntegrityError, InvalidInput
from estiva.oci import digest as digests
from estiva.oci import image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass
class Document:
    """`blobs` and `manifests` map a digest to the size that the document claims.

    `elsewhere` has the blobs that need not be here.
    """

    media_type: str
    blobs: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[str, int] = field(default_factory=dict)
    subject: str | None = None
    artifact_type: str | None = None
    annotations: str | None = None

    def references(self) -> set[str]:
        """Every digest that the document refers to, but for its subject."""
        return {*self.blobs, *self.manifests, *self.elsewhere}


def inspect(body: bytes, content_type: str) -> Document:
    """Read a manifest, an index or an artifact's manifest, strictly (K10).

    Raises InvalidInput, IntegrityError or Unsupported for what no client should be served.
    """
    media_type = content_type or _declared(body)
    if media_type in image.INDEX_TYPES:
        value = image.parse_index(body, media_type)
        document = Document(media_type)
        for descriptor in value["manifests"]:
            _add(document.manifests, descriptor)
    else:
        value = image.parse_manifest(body, media_type, artifact=True)
        document = Document(media_type)
        _add(document.blobs, value["config"])
        for descriptor in value["layers"]:
            # What may not be distributed is elsewhere (image-spec, "non-distributable layers").
            kind = descriptor["mediaType"]
            away = "nondistributable" in kind or "foreign" in kind
            _add(document.elsewhere if away else document.blobs, descriptor)
    _add_referrer(document, value)
    return document


def _declared(body: bytes) -> str:
    """The type that a document without Content-Type gives itself."""
    value = fastjson.loads(body, what="the manifest", strict=True)
    declared = value.get("mediaType") if isinstance(value, dict) else None
    if not isinstance(declared, str) or not declared:
        raise InvalidInput("the manifest has no media type")
    return declared


def _add_referrer(document: Document, value: dict[str, Any]) -> None:
    """The fields that a referrers list shows (distribution-spec, "Listing Referrers")."""
    subject = value.get("subject")
    if subject is not None:
        if not isinstance(subject, dict) or not digests.valid(subject.get("digest")):
            raise InvalidInput("the manifest's subject is not a descriptor")
        document.subject = subject["digest"]
    artifact_type = value.get("artifactType")
    if artifact_type is not None and not isinstance(artifact_type, str):
        raise InvalidInput("the manifest's artifactType is not text")
    if artifact_type:
        document.artifact_type = artifact_type
    elif "config" in value:
        document.artifact_type = value["config"]["mediaType"]
    if value.get("annotations"):
        document.annotations = fastjson.dumps(value["annotations"])


def _add(found: dict[str, int], descriptor: dict[str, Any]) -> None:
    digest, size = descriptor["digest"], descriptor["size"]
    if found.setdefault(digest, size) != size:
        raise IntegrityError(f"the manifest gives {digest} two sizes")
