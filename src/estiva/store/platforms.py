"""Images of several platforms under one name: a name whose manifest is an index.

`names.manifest` is the digest by which a name came: usually a manifest's, but an index's where all platforms
were pulled or loaded. The name's image is then the one for this machine; the others have no name of their
own, stay as long as the index has one, and go with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.errors import EstivaError
from estiva.oci import image as documents

if TYPE_CHECKING:
    from estiva.store import Store
    from estiva.store.database import Database, Transaction


def index_of(store: Store, digest: str | None) -> dict[str, Any] | None:
    """The parsed index of that digest, if it is one and here."""
    if not digest or not store.content.has(digest):
        return None
    try:
        document = documents.parse_document(store.content.read(digest))
    except EstivaError:
        return None
    return document if documents.is_index(document) else None


def index_digest(store: Store, digest: str | None) -> str:
    """`digest` when it is an index's that is here, else ""."""
    return digest or "" if index_of(store, digest) is not None else ""


def documents_of(store: Store, digest: str) -> set[str]:
    """The digests of the manifests that an index names, and of what attestations among them hold."""
    found: set[str] = set()
    for item in (index_of(store, digest) or {"manifests": []})["manifests"]:
        found.add(item["digest"])
        if documents.is_attestation(item) and store.content.has(item["digest"]):
            try:
                said = documents.parse_manifest(store.content.read(item["digest"]), artifact=True)
            except EstivaError:
                continue
            found.update(part["digest"] for part in [said["config"], *said["layers"]])
    return found


def members(store: Store, digest: str) -> list[tuple[str, str]]:
    """(manifest digest, image id) of the images of an index that are here, in its order."""
    index = index_of(store, digest)
    if index is None:
        return []
    found = []
    for item in index["manifests"]:
        if not store.content.has(item["digest"]):
            continue
        try:
            manifest = documents.parse_manifest(store.content.read(item["digest"]))
        except EstivaError:
            continue
        image = manifest["config"]["digest"]
        if store.db.read("SELECT 1 FROM images WHERE id = ?", (image,)):
            found.append((item["digest"], image))
    return found


def held(store: Store, source: Database | Transaction) -> set[str]:
    """The ids of all images that belong to an index which some name means."""
    rows = source.read("SELECT DISTINCT manifest FROM names WHERE manifest IS NOT NULL")
    return {image for (digest,) in rows for _, image in members(store, digest)}
