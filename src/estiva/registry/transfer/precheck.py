"""Whether a pull has anything to do: one HEAD, by hand, before the HTTP client is loaded.

Most pulls of scripts find the image unchanged, and loading the client takes longer than all of their work.
Whatever is not a plain "it is the same" is left to the client (registry/transfer/pull.py), which asks again.
"""

from __future__ import annotations

from estiva.registry.http import minimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.oci.reference import Reference
    from estiva.store import Store
    from estiva.store.images import Image

TYPES = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
)


def unchanged(store: Store, reference: Reference) -> Image | None:
    """The image that the reference means here, if its registry says that it still does; else None."""
    image = store.images.find(str(reference)) if reference.tag and not reference.digest else None
    if image is None or not minimal.may_ask(reference.registry):
        return None
    known = _digests(store, reference, image)
    if not known or not all(store.layers.has(diff_id) for diff_id in image.diff_ids):
        return None
    if image.manifest and not store.content.has(image.manifest):
        return None
    from estiva.oci.platform import Platform

    if not Platform.host().accepts(Platform.of(image.config)):
        return None
    connection = minimal.Connection(reference.registry)
    try:
        path = f"/v2/{reference.repository}/manifests/{reference.tag}"
        digest = connection.head(path, TYPES).get("docker-content-digest", "")
    except minimal.Declined:
        return None
    finally:
        connection.close()
    return image if digest in known else None


def _digests(store: Store, reference: Reference, image: Image) -> set[str]:
    rows = store.db.read(
        "SELECT digest FROM repo_digests WHERE name = ? AND image = ?", (reference.name, image.id)
    )
    return {digest for (digest,) in rows}
