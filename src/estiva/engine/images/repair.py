"""What is damaged of images is made again from what is here of it, or fetched again from where it came.

Where that was is in `repo_digests`: each repository that an image was pulled from or pushed to, by the digest
of its manifest, so that what comes is the very image. A layer is proven by its diffID, whoever gives it.
"""

from __future__ import annotations

from estiva.errors import Denied, EstivaError, NotFound
from estiva.oci.reference import Reference
from estiva.store.layers import soundness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.store.images import Image


def fetch_layer(engine: Engine, diff_id: str) -> str:
    """Have a damaged layer fetched again by an image that has it; from where. Raises NotFound, or what the
    last registry that was asked said.
    """
    store = engine.store
    layer = store.layers.find(diff_id)
    if layer is not None:
        soundness.mark(engine.db, layer)
    failed: EstivaError = NotFound("no image that has it came from a registry")
    for image in store.images.list(all=True):
        try:
            if diff_id in image.diff_ids:
                return fetch(engine, image)
        except EstivaError as error:
            failed = error
    raise failed


def fetch(engine: Engine, image: Image) -> str:
    """Pull what is not here of an image from where it came; from where. Raises as `fetch_layer` does."""
    from estiva.registry import client

    failed: EstivaError = NotFound(f"image {image.id[:19]} did not come from a registry")
    for name, digest in places(engine, image):
        try:
            client.pull(engine.store, Reference.parse(f"{name}@{digest}"))
            return Reference.parse_name(name).familiar_name
        except Denied as error:
            error.hint = error.hint or f"log in to {Reference.parse_name(name).registry}"
            failed = error
        except EstivaError as error:
            failed = error
    raise failed


def places(engine: Engine, image: Image) -> list[tuple[str, str]]:
    """(repository, digest) from which it can be had; the manifest's own digest first, as it needs no
    choice of a platform.
    """
    rows = engine.db.read("SELECT name, digest FROM repo_digests WHERE image = ? ORDER BY name", (image.id,))
    own = [(name, image.manifest) for name in dict.fromkeys(name for name, _ in rows) if image.manifest]
    return list(dict.fromkeys([*own, *((str(name), str(digest)) for name, digest in rows)]))


def repair(engine: Engine, *, deep: bool = False) -> list[str]:
    """Mend all layers and blobs that are damaged; what was done, in words. What can't be mended stays for the
    check to name. Layers are fetched again after `find.allow_refetch`.
    """
    from estiva.store.upkeep import fsck

    store = engine.store
    broken = dict(fsck.blobs(store, deep))
    done: list[str] = []
    for damage in list(fsck.layers(store, deep, broken)):
        try:
            done.append(store.layers.mend(damage))
        except EstivaError:
            continue
    for digest, wrong in dict(fsck.blobs(store, deep)).items():
        said = _blob(engine, digest)
        if said:
            done.append(f"blob {digest[:19]} {wrong}: {said}")
    return done


def _blob(engine: Engine, digest: str) -> str:
    """Mend one blob that no layer's mending has mended; how, "" if it could not be."""
    store = engine.store
    for (diff_id,) in store.db.read("SELECT diff_id FROM layer_blobs WHERE digest = ?", (digest,)):
        return _form(engine, diff_id, digest)
    for image in store.images.list(all=True):
        if image.manifest == digest:
            store.content.delete(digest)
            try:
                return f"fetched again from {fetch(engine, image)}"
            except EstivaError:
                with store.db.write() as transaction:  # it has none then, as an image that was built
                    transaction.execute("UPDATE images SET manifest = NULL WHERE id = ?", (image.id,))
                    transaction.execute("UPDATE names SET manifest = NULL WHERE manifest = ?", (digest,))
                return "removed; a push makes another manifest"
    return ""


def _form(engine: Engine, diff_id: str, digest: str) -> str:
    """A compressed form of a layer that is sound itself: fetched again, or else given up."""
    layers = engine.store.layers
    layer = layers.find(diff_id)
    if layer is None or not layers.has(diff_id):
        return ""
    try:
        return f"fetched again from {fetch_layer(engine, diff_id)}"
    except EstivaError:
        soundness.set_sum(engine.db, diff_id, layer.sum)
    try:
        layers.rebuild(diff_id)
    except EstivaError:
        return ""  # its files are sound, but nothing that it could be sent as
    engine.store.content.delete(digest)
    with engine.db.write() as transaction:
        transaction.execute("DELETE FROM layer_blobs WHERE digest = ?", (digest,))
    return "removed; a push compresses the layer anew"
