"""Garbage collection: layers and blobs that no image needs, found and removed.

An image, by name or only by id, keeps its layers and manifests; so does an image that only a container or the
build cache still needs. All else may go, except what is younger than GRACE: another process may have stored
it and not made its image yet. Processes that store things hold the store's shared lock meanwhile; `reclaim`
needs it alone, and does nothing when it can't have it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from estiva import fastjson, files
from estiva.errors import EstivaError
from estiva.store import containers
from estiva.store.upkeep.usage import disk

if TYPE_CHECKING:
    from estiva.store import Store
    from estiva.store.database import Database, Transaction

GRACE = 3600.0  # seconds that a blob or layer may wait for its image


class Marks:
    """What is needed: layers by diffID, and blobs by digest."""

    def __init__(self) -> None:
        self.diff_ids: set[str] = set()
        self.blobs: set[str] = set()


def mark(store: Store, source: Database | Transaction) -> Marks:
    """All that the images of the store need."""
    marks = Marks()
    for (text,) in source.read("SELECT config FROM images"):
        rootfs = fastjson.loads(text, what="an image config").get("rootfs") or {}
        marks.diff_ids.update(rootfs.get("diff_ids") or [])
    marks.blobs |= marks.diff_ids  # an uncompressed tar is a blob under its diffID
    for digest, diff_id in source.read("SELECT digest, diff_id FROM layer_blobs"):
        if diff_id in marks.diff_ids:
            marks.blobs.add(digest)
    rows = source.read(
        "SELECT manifest FROM images WHERE manifest IS NOT NULL UNION"
        " SELECT manifest FROM names WHERE manifest IS NOT NULL UNION SELECT digest FROM repo_digests"
    )
    for (digest,) in rows:
        _mark_document(store, digest, marks, 0)
    return marks


def _mark_document(store: Store, digest: str, marks: Marks, depth: int) -> None:
    """A manifest or index and the blobs it names, as far as they are here."""
    if digest in marks.blobs or depth > 3:
        return
    marks.blobs.add(digest)
    from estiva.oci import image

    try:
        document = image.parse_document(store.content.read(digest), artifact=True)
    except EstivaError:
        return  # not here, or damaged: fsck tells
    if image.is_index(document):
        for item in document["manifests"]:
            _mark_document(store, item["digest"], marks, depth + 1)
    else:
        marks.blobs.add(document["config"]["digest"])
        marks.blobs.update(layer["digest"] for layer in document["layers"])


def reclaim(store: Store, *, only: set[str] | None = None, grace: float = GRACE) -> dict[str, Any]:
    """Delete layers and blobs that nothing needs.

    With `only`, no others than these, and these however young. Returns {"layers": [diffIDs], "blobs":
    [digests], "bytes": freed, "busy": True if another process is storing things and nothing was done}.
    """
    result: dict[str, Any] = {"layers": [], "blobs": [], "bytes": 0, "busy": False}
    try:
        with files.Lock(store.paths.root + "/writing.lock", blocking=False):
            _reclaim(store, only, grace, result)
    except BlockingIOError:
        result["busy"] = True
    return result


def _reclaim(store: Store, only: set[str] | None, grace: float, result: dict[str, Any]) -> None:
    before = time.time() - grace
    with store.db.write(freeing=True) as transaction:
        transaction.execute(
            "DELETE FROM images WHERE hidden = 1 AND id NOT IN (SELECT image FROM names)"
            f" AND id NOT IN ({containers.IMAGES_IN_USE})"
            " AND id NOT IN (SELECT image FROM build_cache)"
        )
        marks = mark(store, transaction)
        layers = [
            (diff_id, size)
            for diff_id, size, created in transaction.read("SELECT diff_id, size, created FROM layers")
            if diff_id not in marks.diff_ids and (created < before if only is None else diff_id in only)
        ]
        gone = dict.fromkeys(diff_id for diff_id, _ in layers)
        rows = transaction.read("SELECT digest, diff_id FROM layer_blobs")
        going = {digest for digest, diff_id in rows if diff_id in gone} | gone.keys()
        blobs = [
            digest
            for digest, created in transaction.read("SELECT digest, created FROM blobs")
            if digest not in marks.blobs
            and (digest in going or (created < before if only is None else digest in only))
        ]
        for diff_id, _ in layers:
            transaction.execute("DELETE FROM layers WHERE diff_id = ?", (diff_id,))
            transaction.execute("DELETE FROM layer_blobs WHERE diff_id = ?", (diff_id,))
        transaction.execute("DELETE FROM layer_blobs WHERE digest NOT IN (SELECT digest FROM blobs)")
    paths = store.paths
    for diff_id, _ in layers:
        name = diff_id.rpartition(":")[2]
        result["bytes"] += disk(f"{paths.layers}/{name}") + disk(f"{paths.fixups}/{name}")
    result["bytes"] += sum(disk(store.content.path(digest)) for digest in {*blobs, *gone})
    for diff_id in gone:
        store.layers.delete(diff_id)
        result["layers"].append(diff_id)
    for digest in blobs:
        store.content.delete(digest)
        result["blobs"].append(digest)
