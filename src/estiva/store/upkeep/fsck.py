"""The store checked against itself: every row against what is on the disk, and the other way round."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING

from estiva import fastjson, files
from estiva.errors import EstivaError, NotFound, StateError
from estiva.oci import digest as digests
from estiva.store import containers
from estiva.store.layers import soundness
from estiva.store.layers.layer import Damaged, Layer
from estiva.store.upkeep import leftovers

if TYPE_CHECKING:
    from estiva.store import Store


def check(store: Store, *, deep: bool = False) -> list[str]:
    """One line per finding, none for a sound store. `deep` reads every blob and proves its digest, and
    compares all files of layers; what it finds damaged of a layer is remembered, so that a pull fetches it
    again.

    What a process stores at this moment is no finding: see store/upkeep/leftovers.py.
    """
    try:
        findings = [text for (text,) in store.db.read("PRAGMA integrity_check(20)") if text != "ok"]
    except StateError as error:
        return [str(error)]
    findings = [f"database: {text}" for text in findings]
    broken = dict(blobs(store, deep))
    for part in (
        _blobs(store, broken),
        _layers(store, deep, broken),
        _images(store),
        _strays(store),
        _volumes(store),
    ):
        findings.extend(part)
    return findings


def blobs(store: Store, deep: bool) -> Iterator[tuple[str, str]]:
    """(digest, what is wrong) of each blob that is not as its row says."""
    for digest, size in store.db.read("SELECT digest, size FROM blobs"):
        if not digests.valid(digest):
            yield repr(digest), "is the row of a blob, but no digest"
            continue
        try:
            there = os.stat(store.content.path(digest), follow_symlinks=False)
        except OSError:
            yield digest, "has no file"
            continue
        if not stat.S_ISREG(there.st_mode):
            yield digest, "is no file"
        elif there.st_size != size:
            yield digest, f"is {there.st_size} bytes long instead of {size}"
        elif deep and not _proven(store, digest):
            yield digest, "is damaged"


def layers(store: Store, deep: bool, broken: Container[str]) -> Iterator[Damaged]:
    """Each layer whose files are not what they have to be; `broken` are the digests that `blobs` gave. `deep`
    marks those that only it can tell.
    """
    for row in store.db.read(f"SELECT diff_id, size, driver, {soundness.SQL} FROM layers"):
        layer = Layer(*row)
        marked = layer.sum.startswith(soundness.DAMAGED)
        layer.sum = layer.sum.removeprefix(soundness.DAMAGED)
        wrong = soundness.finding(store.paths, layer)
        if not wrong and (deep or marked):
            wrong = _deep_finding(store, layer, broken, marked and not deep)
            if wrong and not marked:
                soundness.mark(store.db, layer)
        if marked and not wrong:  # somebody has put it right
            soundness.set_sum(store.db, layer.diff_id, layer.sum)
        if wrong:
            yield Damaged(layer.diff_id, wrong)


def _deep_finding(store: Store, layer: Layer, broken: Container[str], alone: bool) -> str:
    """`alone`: `broken` tells nothing of its tar."""
    try:
        wrong = soundness.finding(store.paths, layer, deep=True)
        if (
            not wrong
            and layer.driver == "erofs"
            and (layer.diff_id in broken or (alone and not _proven(store, layer.diff_id)))
        ):
            wrong = "its tar is damaged"
        if not wrong and layer.driver == "dir":
            path = store.layers.differs(layer.diff_id)
            wrong = f"its file {path} is not as it was" if path else ""
    except NotFound:
        return ""  # nothing to compare it with: that is told of the blob, or was never here
    except (EstivaError, OSError) as error:
        wrong = f"it can't be compared: {error}"
    return wrong


def _blobs(store: Store, broken: Mapping[str, str]) -> Iterator[str]:
    known = {digest for (digest,) in store.db.read("SELECT digest FROM blobs")}
    for digest, wrong in broken.items():
        yield f"blob {digest} {wrong}{_needed_by(store, digest)}"
    for algorithm in digests.LENGTHS:
        for name in _names(f"{store.paths.blobs}/{algorithm}"):
            if f"{algorithm}:{name}" not in known and _lost(
                store, "blobs", f"{algorithm}:{name}", f"{store.paths.blobs}/{algorithm}/{name}"
            ):
                yield f"file blobs/{algorithm}/{name} has no row"


def _needed_by(store: Store, digest: str) -> str:
    """Which images need a blob or layer that could not be mended, and what can be done."""
    diff_ids = {digest}
    rows = store.db.read("SELECT diff_id FROM layer_blobs WHERE digest = ?", (digest,))
    diff_ids.update(diff_id for (diff_id,) in rows)
    needing: list[str] = []
    for image in store.images.list(all=True):
        try:
            if digest == image.manifest or not diff_ids.isdisjoint(image.diff_ids):
                needing += store.images.names(image.id) or [image.id[7:19]]
        except EstivaError:
            continue  # named by itself
    if not needing:
        return ""
    more = f" and {len(needing) - 3} more" if len(needing) > 3 else ""
    which = ", ".join(needing[:3]) + more
    verb, them = ("needs", "it") if len(needing) == 1 else ("need", "them")
    return f"; {which} {verb} it: pull, load or build that again, or remove {them} with `estiva rmi -f`"


def _proven(store: Store, digest: str) -> bool:
    from estiva.store.content import hash_fd

    fd = store.content.open(digest)
    try:
        algorithm, encoded = digests.parse(digest)
        return hash_fd(fd, algorithm)[1] == encoded
    finally:
        os.close(fd)


def _layers(store: Store, deep: bool, broken: Container[str]) -> Iterator[str]:
    known = {diff_id for (diff_id,) in store.db.read("SELECT diff_id FROM layers")}
    for damage in layers(store, deep, broken):
        yield f"{damage}{_needed_by(store, damage.diff_id)}"
    for name in _names(store.paths.layers):
        if f"sha256:{name}" not in known and _lost(
            store, "layers", f"sha256:{name}", f"{store.paths.layers}/{name}"
        ):
            yield f"directory layers/{name} has no row"
    for digest, diff_id in store.db.read("SELECT digest, diff_id FROM layer_blobs"):
        if diff_id not in known:
            yield f"compressed layer {digest} belongs to {diff_id}, which is not here"


def _images(store: Store) -> Iterator[str]:
    layers = {diff_id for (diff_id,) in store.db.read("SELECT diff_id FROM layers")}
    known = set()
    for image_id, text, manifest in store.db.read("SELECT id, config, manifest FROM images"):
        known.add(image_id)
        if digests.sha256(text.encode()) != image_id:
            yield f"image {image_id} has a config of another digest"
            continue
        try:
            diff_ids = (fastjson.loads(text, what="config").get("rootfs") or {}).get("diff_ids") or []
        except EstivaError as error:
            yield f"image {image_id}: {error}"
            continue
        for diff_id in diff_ids:
            if diff_id not in layers:
                yield f"image {image_id} lacks layer {diff_id}"
        if manifest and not store.content.has(manifest):
            yield f"image {image_id} lacks its manifest {manifest}"
    for table, what in (("names", "name"), ("repo_digests", "name"), ("build_cache", "key")):
        for name, image_id in store.db.read(f"SELECT {what}, image FROM {table}"):
            if image_id not in known:
                yield f"{table} {name} points to image {image_id}, which is not here"
    for container, image_id in containers.image_of_each(store.db):
        if image_id not in known:
            yield f"container {container} is made from image {image_id}, which is not here"


def _lost(store: Store, table: str, digest: str, path: str) -> bool:
    """Whether what has no row has lost its maker too, who holds its flock until the row is there."""
    column = "digest" if table == "blobs" else "diff_id"
    return leftovers.abandoned(path) and not leftovers.row(store.db, table, column, digest)


def _strays(store: Store) -> Iterator[str]:
    for name, path in leftovers.entries(store.paths.ingest):
        if not leftovers.resumable(name, path) and leftovers.abandoned(path):
            yield f"file ingest/{name} is left from an unfinished write"
    for name, path in leftovers.entries(store.paths.containers):
        # in this order: while a container is made or removed, it has a folder in the run root
        if (
            not os.path.exists(store.paths.run_container(name))
            and not leftovers.row(store.db, "containers", "id", name)
            and os.path.exists(path)
        ):
            yield f"directory containers/{name} has no row"


def _volumes(store: Store) -> Iterator[str]:
    with files.Lock(store.paths.lock("volumes")):  # nobody makes or removes one meanwhile
        yield from _volumes_alone(store)


def _volumes_alone(store: Store) -> Iterator[str]:
    known = {name for (name,) in store.db.read("SELECT name FROM volumes")}
    for name in known:
        if not os.path.isdir(store.volumes.path(name)):
            yield f"volume {name} has no directory"
    for name in _names(store.paths.volumes):
        if name not in known and not name.endswith(".gone"):
            yield f"directory volumes/{name} has no row"
    for container, name in containers.volume_of_each(store.db):
        if name not in known:
            yield f"container {container} has volume {name}, which is not here"


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
